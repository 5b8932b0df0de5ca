"""The backbones of `keras.applications`: ImageNet weights, weights from a file, random ones, or none yet."""

import math
import os
import re
import warnings
from pathlib import Path
from typing import Any

import keras

from tfcaption.backbones.building import building
from tfcaption.backbones.errors import EncoderError, first_line
from tfcaption.backbones.families import Family
from tfcaption.backbones.random_weights import random_weights
from tfcaption.backbones.rebuilding import number_names, rebuilt
from tfcaption.runtime.paths import as_path, local_copy

_EFFICIENTNET_DEVIATIONS = (0.229, 0.224, 0.225)


def load_family(family: Family, image_size: int, weights: str | None) -> keras.Model:
    """A backbone without its classifier, in the current dtype policy.

    Args:
        family: one of `FAMILIES`.
        image_size: side of the photos in pixels.
        weights: see `load_backbone`.

    Raises:
        EncoderError: the weights are missing, cannot be downloaded, or do not fit.
    """
    if weights == "random":
        values = random_weights(family, image_size, _with_pixel_layers)
        model = _with_pixel_layers(family, image_size)
        model.set_weights(list(values))
        return model
    return _with_pixel_layers(family, image_size, weights)


def _with_pixel_layers(family: Family, image_size: int, weights: str | None = None) -> keras.Model:
    """As Keras builds it; layers that normalize pixels stay in float32, and are the same whatever the weights."""
    if family.input != "inside":
        return _built(family, image_size, weights)
    with building("float32"):
        model = _built(family, image_size, weights)
    # Keras builds EfficientNet with this layer for `imagenet` only; a checkpoint of those weights needs it, too.
    lacks_scale = re.fullmatch(r"EfficientNetB\d", family.constructor) and weights != "imagenet"
    return rebuilt(model, image_size, call=_call_with_scale if lacks_scale else None)


def _call_with_scale(layer: keras.Operation, *arguments: Any, **options: Any) -> Any:
    outputs = layer(*arguments, **options)
    if isinstance(layer, keras.layers.Normalization):
        scale = [1 / math.sqrt(deviation) for deviation in _EFFICIENTNET_DEVIATIONS]
        return keras.layers.Rescaling(scale, dtype="float32", name="rescaling_1")(outputs)
    return outputs


def _built(family: Family, image_size: int, weights: str | None) -> keras.Model:
    constructor, shape = getattr(keras.applications, family.constructor), (image_size, image_size, 3)
    if weights == "imagenet":
        try:
            model = constructor(include_top=False, weights="imagenet", input_shape=shape)
        except Exception as error:
            raise EncoderError(_download_failed(error), "weights") from error
    else:
        model = constructor(include_top=False, weights=None, input_shape=shape)
        if weights is not None:
            _load_file(model, family, weights)
    number_names(model)
    _name_sums(model)
    return model


def _download_failed(error: Exception) -> str:
    reason = first_line(error)
    address = re.search(r"https?://\S+[^\s:.]", str(error))
    if not address:
        return f"imagenet: Keras could not download the weights ({reason}); try again, or name a file of them instead"
    cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
    return (
        f"imagenet: Keras could not download the weights ({reason}); fetch {address[0]} on another machine, then put "
        f"it into {cache}/ of this one, or name the file instead of imagenet"
    )


def _load_file(model: keras.Model, family: Family, weights: str) -> None:
    path = as_path(weights)
    if not path.is_file():
        raise EncoderError(f"{weights}: no such file; name a file, imagenet or random", "weights")
    try:
        with local_copy(path) as local_path, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # many about a wrong file, before the error
            model.load_weights(local_path)
    except Exception as error:
        reason = first_line(error)
        problem = f"{weights}: not weights of {family.constructor}(include_top=False): {reason}"
        raise EncoderError(problem, "weights") from error


def _name_sums(model: keras.Model) -> None:
    """Name the sums at the end of ConvNeXt's blocks for their block, `convnext_tiny_stage_3_block_0_add`."""
    for layer in model.layers:
        if layer.name.endswith("_identity"):
            for node in layer._outbound_nodes:  # no public way to what reads a layer
                node.operation.name = f"{layer.name.removesuffix('identity')}add"
