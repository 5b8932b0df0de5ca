"""Backbones in SavedModel folders: a signature from photos to a map, as one layer that never trains."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfcaption.backbones.errors import EncoderError, first_line
from tfcaption.backbones.families import EncoderInput
from tfcaption.backbones.keras_files import check_fixed_size, unknown_convention
from tfcaption.runtime.paths import as_path, local_copy

LAYER = "saved_model"
_SIGNATURES = ("serving_default", "serve")  # as TensorFlow and Keras call them


class SavedModelLayer(keras.layers.Layer):
    """A signature of a SavedModel as a layer; its variables are tracked, and saved with whatever holds the layer.

    Args:
        loaded: the SavedModel.
        signature: its function.
        pixels: the signature's only input.
        output: name of the output that is the map.
        shape: of one photo's map.
    """

    def __init__(self, loaded: Any, signature: Any, pixels: tf.TensorSpec, output: str, shape: tuple[int, ...]) -> None:
        super().__init__(name=LAYER, trainable=False)
        self.loaded, self._signature = loaded, signature
        self._pixels, self._output, self._shape = pixels, output, shape
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(photos, size, size, 3) any float -> (photos, ...shape) in the compute dtype."""
        outputs = _call(self._signature, self._pixels, inputs)[self._output]
        return tf.cast(tf.ensure_shape(outputs, (None, *self._shape)), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(photos, size, size, 3) -> (photos, ...shape)."""
        return (input_shape[0], *self._shape)


def load_saved_model(
    encoder: str, image_size: int, encoder_input: EncoderInput | None
) -> tuple[keras.Model, EncoderInput]:
    """A backbone and its input convention; it runs in its own precision.

    Args:
        encoder: path of the folder.
        image_size: side of the photos in pixels.
        encoder_input: see `load_backbone`.

    Raises:
        EncoderError: TensorFlow cannot load it, it has no signature from photos to a map, or its input convention is
            unknown.
    """
    folder = as_path(encoder)
    if not (folder / "saved_model.pb").is_file():
        raise EncoderError(f"{encoder}: neither a .keras file nor a SavedModel: it has no saved_model.pb")
    try:
        with local_copy(folder) as path:
            loaded = _without_strategy(lambda: tf.saved_model.load(str(path)))
    except Exception as error:
        raise EncoderError(f"{encoder}: TensorFlow cannot load it: {first_line(error)}") from error
    signature = _signature(encoder, loaded)
    pixels = _pixels(encoder, signature)
    check_fixed_size(encoder, _channels_last(pixels), image_size)
    convention = encoder_input or ("inside" if pixels.dtype.is_integer else None)
    if convention is None:
        raise EncoderError(unknown_convention(encoder))
    if pixels.dtype.is_integer and convention not in ("0..255", "inside"):
        raise EncoderError(f"{encoder}: takes {pixels.dtype.name}, so its input convention is 0..255 or inside")
    output, shape = _map(encoder, signature, pixels, image_size)
    inputs = keras.Input((image_size, image_size, 3), dtype="float32")
    return keras.Model(inputs, SavedModelLayer(loaded, signature, pixels, output, shape)(inputs)), convention


def _without_strategy(load: Callable[[], Any]) -> Any:
    """Load in a thread of its own, where no `tf.distribute` strategy is in scope.

    Within a strategy TensorFlow makes a SavedModel's functions run in replicas only, and a strategy cannot be left.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


def _signature(encoder: str, loaded: Any) -> Any:
    signatures = getattr(loaded, "signatures", {})
    for name in _SIGNATURES:
        if name in signatures:
            return signatures[name]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    found = f"has the signatures {', '.join(signatures)}" if signatures else "has no signature"
    raise EncoderError(
        f"{encoder}: {found}; export it with one named {_SIGNATURES[0]}, as Keras' model.export(FOLDER) does"
    )


def _pixels(encoder: str, signature: Any) -> tf.TensorSpec:
    """The only input of a signature: a batch of photos of any number."""
    _, inputs = signature.structured_input_signature
    if len(inputs) != 1:
        raise EncoderError(
            f"{encoder}: takes {', '.join(sorted(inputs))} instead of photos alone; export its image part"
        )
    (name, spec) = next(iter(inputs.items()))
    shape = spec.shape
    if shape.rank not in (None, 4) or (shape.rank == 4 and 3 not in (shape[1], shape[3], shape[3] or 3)):
        raise EncoderError(f"{encoder}: takes inputs of {shape} instead of photos of (photos, height, width, 3)")
    if shape.rank == 4 and shape[0] is not None:
        raise EncoderError(f"{encoder}: takes batches of {shape[0]} only; export it with a batch size of None")
    return tf.TensorSpec(shape, spec.dtype, name=name)


def _is_channels_first(pixels: tf.TensorSpec) -> bool:
    """Whether a model takes (photos, 3, height, width), as those of PyTorch and of Hugging Face do."""
    return pixels.shape.rank == 4 and pixels.shape[1] == 3 and pixels.shape[3] != 3


def _channels_last(pixels: tf.TensorSpec) -> tuple[int | None, ...]:
    if pixels.shape.rank is None:
        return (None,) * 4
    shape = tuple(pixels.shape)
    return (shape[0], shape[2], shape[3], shape[1]) if _is_channels_first(pixels) else shape


def _call(signature: Any, pixels: tf.TensorSpec, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    if _is_channels_first(pixels):
        inputs = tf.transpose(inputs, (0, 3, 1, 2))
    return signature(**{pixels.name: tf.cast(inputs, pixels.dtype)})


def _map(encoder: str, signature: Any, pixels: tf.TensorSpec, image_size: int) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the map of one photo: the only output of three or four dimensions."""
    try:
        outputs = _call(signature, pixels, tf.zeros((2, image_size, image_size, 3)))
    except Exception as error:
        raise EncoderError(
            f"{encoder}: does not run on photos of {image_size} x {image_size} pixels: {first_line(error)}"
        ) from error
    maps = {name: tuple(output.shape[1:]) for name, output in outputs.items() if output.shape.rank in (3, 4)}
    if len(maps) != 1:
        listed = ", ".join(f"{name} {tuple(output.shape[1:])}" for name, output in sorted(outputs.items()))
        raise EncoderError(
            f"{encoder}: {len(maps)} of its outputs are maps of (height, width, channels) or (tokens, channels), not "
            f"one; it has {listed}"
        )
    return next(iter(maps.items()))


def saved_model_files(folder: Path) -> list[Path]:
    """The files that make a SavedModel what it is; TensorFlow writes a random fingerprint beside them."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "fingerprint.pb")
