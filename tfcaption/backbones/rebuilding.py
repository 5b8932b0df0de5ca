"""Builds a Keras model again from its own layers: in another precision, for another size of photos, by stable names."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

_PIXEL_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)


class PixelNormalization(keras.layers.Normalization):
    """Keras' layer, but with its statistics read in each call: restored ones count, not those of when it was built."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(photos, height, width, channels) -> the same shape, less the mean, over the standard deviation."""
        if self.input_mean is not None:
            return super().call(inputs)
        deviation = tf.sqrt(tf.convert_to_tensor(self.adapt_variance))
        return (inputs - tf.convert_to_tensor(self.adapt_mean)) / tf.maximum(deviation, keras.config.epsilon())


def rebuilt(model: keras.Model, image_size: int, *, call: Callable[..., Any] | None = None) -> keras.Model:
    """A copy of a model with its weights, for photos of a size, in the current dtype policy.

    Layers that scale and shift pixels stay in float32: bfloat16 has 8 bits of precision, as many as the pixels.

    Args:
        model: with one input and one output.
        image_size: side of the photos in pixels.
        call: calls a layer in the copy, as `keras.models.clone_model` describes; None: as it is.
    """
    policy = keras.config.dtype_policy().name

    def copied(operation: keras.Operation) -> keras.Operation:
        config = _with_policy(operation.get_config(), policy)
        if not isinstance(operation, _PIXEL_LAYERS):
            return operation.__class__.from_config(config)
        is_normalization = isinstance(operation, keras.layers.Normalization)
        pixel_layer = PixelNormalization if is_normalization else operation.__class__
        return pixel_layer.from_config(config | {"dtype": "float32"})

    inputs = keras.Input((image_size, image_size, 3), dtype=model.inputs[0].dtype, name=model.layers[0].name)
    copy = keras.models.clone_model(model, inputs, clone_function=copied, call_function=call, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _with_policy(config: Any, policy: str) -> Any:
    """A layer's config, and those of layers inside it, in a dtype policy."""
    if isinstance(config, list | tuple):
        return type(config)(_with_policy(item, policy) for item in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") in ("Rescaling", "Normalization"):
        return config
    return {
        key: policy if key == "dtype" and _is_policy(value) else _with_policy(value, policy)
        for key, value in config.items()
    }


def _is_policy(dtype: Any) -> bool:
    if isinstance(dtype, dict):
        return dtype.get("class_name") == "DTypePolicy"
    return isinstance(dtype, str) and "float" in dtype


def number_names(model: keras.Model) -> None:
    """Number the layers without names of their own within the model; Keras numbers them within the process."""
    numbers: Counter[str] = Counter()
    for operation in model.operations:
        kind = _snake_case(type(operation).__name__)
        if re.fullmatch(rf"{kind}(_\d+)?", operation.name):
            operation.name = f"{kind}_{numbers[kind]}" if numbers[kind] else kind
            numbers[kind] += 1


def _snake_case(name: str) -> str:
    """As Keras makes a layer's name of its class."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
