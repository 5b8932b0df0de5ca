"""Backbones in `.keras` files: the layers up to the last map of regions, for photos of a size."""

import keras

from tfcaption.backbones.cutting import cuts, only_paths
from tfcaption.backbones.errors import EncoderError, first_line
from tfcaption.backbones.families import MEANINGS, EncoderInput
from tfcaption.backbones.rebuilding import rebuilt
from tfcaption.runtime.paths import as_path, local_copy


def load_keras_file(
    encoder: str, image_size: int, encoder_input: EncoderInput | None
) -> tuple[keras.Model, EncoderInput]:
    """A backbone and its input convention, in the current dtype policy.

    Layers above the last map of regions, such as a classifier, are cut off.

    Args:
        encoder: path of the file.
        image_size: side of the photos in pixels.
        encoder_input: see `load_backbone`.

    Raises:
        EncoderError: Keras cannot load the file, it is no image encoder, or its input convention is unknown.
    """
    try:
        with local_copy(as_path(encoder)) as path:
            loaded = keras.models.load_model(path, compile=False)
    except Exception as error:
        raise EncoderError(
            f"{encoder}: Keras cannot load it: {first_line(error)}; a .keras file must hold standard layers only, "
            "others can be exported as a SavedModel with model.export(FOLDER)"
        ) from error
    model = _with_one_path(encoder, loaded)
    check_fixed_size(encoder, model.inputs[0].shape, image_size)
    convention = encoder_input or _convention(encoder, model)
    model = keras.Model(model.inputs[0], _map_of_regions(encoder, model), name=model.name)
    if not cuts(model):
        raise EncoderError(f"{encoder}: has no weights below its last map of regions, {model.layers[-1].name}")
    return rebuilt(model, image_size), convention


def _with_one_path(encoder: str, model: keras.Model) -> keras.Model:
    """The model as a Functional one from one batch of photos to one tensor."""
    if not isinstance(model, keras.Sequential) and not hasattr(model, "operations"):
        raise EncoderError(
            f"{encoder}: is a {type(model).__name__}, whose layers Keras does not list; export it as a SavedModel with "
            "model.export(FOLDER)"
        )
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise EncoderError(f"{encoder}: has {len(inputs)} inputs and {len(outputs)} outputs instead of one of each")
    if len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
        shape = ", ".join(str(size or "any") for size in inputs[0].shape[1:])
        raise EncoderError(f"{encoder}: takes inputs of ({shape}) instead of photos of (height, width, 3)")
    return keras.Model(inputs[0], outputs[0], name=model.name)


def check_fixed_size(encoder: str, shape: tuple[int | None, ...], image_size: int) -> None:
    """Check that inputs of (photos, height, width, 3) may have a size.

    Raises:
        EncoderError: height or width is another one.
    """
    sides = {side for side in shape[1:3] if side is not None} - {image_size}
    if sides:
        taken = " x ".join(str(side or "any") for side in shape[1:3])
        cure = f"build records with build_records --image_size {sides.pop()}" if len(set(shape[1:3])) == 1 else ""
        raise EncoderError(
            f"{encoder}: takes photos of {taken} pixels, and these have {image_size} x {image_size}; "
            f"{cure or 'build records of that size, or choose another encoder'}"
        )


def _convention(encoder: str, model: keras.Model) -> EncoderInput:
    """`inside`, if the first layer normalizes pixels.

    Raises:
        EncoderError: it does not.
    """
    first = model.layers[1]
    while isinstance(first, keras.Model):
        first = next(layer for layer in first.layers if not isinstance(layer, keras.layers.InputLayer))
    if isinstance(first, keras.layers.Rescaling | keras.layers.Normalization):
        return "inside"
    raise EncoderError(unknown_convention(encoder))


def unknown_convention(encoder: str) -> str:
    """The error of a file that does not say which pixels it takes."""
    listed = "; ".join(f"{convention}: {meaning}" for convention, meaning in MEANINGS.items())
    return (
        f"{encoder}: does not say which pixels it takes; state it with --encoder_input (model.encoder_input in a "
        f"config), one of {listed}"
    )


def _map_of_regions(encoder: str, model: keras.Model) -> keras.KerasTensor:
    """The last output on the only path that has regions: (photos, height, width, channels) or (photos, n, channels)."""
    for tensor in reversed(only_paths(model).values()):
        if len(tensor.shape) in (3, 4) and any(side != 1 for side in tensor.shape[1:-1]):
            return tensor
    raise EncoderError(
        f"{encoder}: no layer on its only path has an output of (height, width, channels) or (tokens, channels); its "
        f"output is {tuple(model.outputs[0].shape[1:])}"
    )
