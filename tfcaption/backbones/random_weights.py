"""Random weights whose features still tell photos apart; the same ones on every call and in every precision.

Many random layers in a row lose their input, or overflow. BatchNorm statistics are therefore measured on random images
(after Krähenbühl et al. 2016, arXiv:1511.06856).
"""

import functools
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfcaption.backbones.building import building
from tfcaption.backbones.families import Family
from tfcaption.backbones.preprocessing import preprocess

_LAYER_SCALE = 0.1  # of ConvNeXt's branches, which starts from 1e-6: nothing but the shortcuts would count


@functools.lru_cache(maxsize=1)  # measuring takes longer than everything else in building a model
def random_weights(
    family: Family, image_size: int, build: Callable[[Family, int], keras.Model]
) -> tuple[np.ndarray, ...]:
    """Weights of the model that `build` makes in float32."""
    # A GPU rounds in another way in each process, and features belong to the very weights that made them.
    with building("float32"), tf.device("CPU:0"):
        model = build(family, image_size)
        fill = _fill_resnet50 if family.name == "resnet50" else _fill
        fill(model, family, image_size)
        return tuple(model.get_weights())


def _fill_resnet50(model: keras.Model, family: Family, image_size: int) -> None:
    """The residual branches are scaled down and the shortcuts shifted up before their ReLU, which lets the input
    through (after Zhang et al. 2019, arXiv:1901.09321).
    """
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))  # He initialisation
            layer.set_weights([generator.normal(0, deviation, kernel.shape), np.zeros_like(bias)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            if layer.name.endswith("_3_bn"):  # last of a residual branch
                layer.gamma.assign(0.1 * layer.gamma)
            elif layer.name.endswith(("_0_bn", "conv1_bn")):  # projection of a shortcut, or the first layer
                layer.beta.assign(layer.beta + 0.5)
    blocks = generator.integers(90, 166, (32, 4, 4, 3))  # soft contrasts, as in most photos
    _measure(model, preprocess(tf.image.resize(blocks, (image_size, image_size), "bicubic"), family.input))


def _fill(model: keras.Model, family: Family, image_size: int) -> None:
    generator = np.random.default_rng(0)
    for layer in _layers(model):
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.full(layer.gamma.shape, _LAYER_SCALE))
        for weight in layer.weights if not isinstance(layer, keras.layers.Normalization) else ():
            if len(weight.shape) > 1:  # kernels; scales and biases stay ones and zeros
                is_depthwise = (
                    isinstance(layer, keras.layers.DepthwiseConv2D) or "depthwise" in weight.path.split("/")[-1]
                )
                fan_in = np.prod(weight.shape[:2] if is_depthwise else weight.shape[:-1])
                weight.assign(generator.normal(0, np.sqrt(2 / fan_in), weight.shape))  # He initialisation
    # As different as photos are, from one colour to many details: features of photos unlike the measured images would
    # grow from layer to layer.
    sizes = [(1, "nearest"), (2, "bicubic"), (4, "nearest"), (8, "bicubic")]
    images = tf.concat([_blocks(generator, 8, side, image_size, method) for side, method in sizes], 0)
    _measure(model, preprocess(images, family.input))


def _blocks(generator: np.random.Generator, count: int, side: int, image_size: int, method: str) -> tf.Tensor:
    """Images of `side` times `side` blocks of random colours: (count, image_size, image_size, 3) float32."""
    colours = generator.integers(0, 256, (count, side, side, 3))
    return tf.cast(tf.image.resize(colours, (image_size, image_size), method), tf.float32)


def _measure(model: keras.Model, inputs: tf.Tensor) -> None:
    """Set the BatchNorm statistics to those of a batch."""
    normalizations = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(inputs, training=True)
    for layer, value in zip(normalizations, momentum, strict=True):
        layer.momentum = value


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Layers of a model, and of those inside it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
