"""Photos and small encoders for tests of backbones."""

import functools
import random

import numpy as np


@functools.cache
def drawn_photos(count, side):
    """Photos of the synthetic data set: (count, side, side, 3) uint8."""
    from tfcaption.sample.drawing import draw_scene
    from tfcaption.sample.scenes import random_scene

    generator = random.Random(0)
    scenes = [draw_scene(random_scene(generator), generator) for _ in range(count)]
    return np.stack([np.asarray(scene.convert("RGB").resize((side, side))) for scene in scenes])


def keras_file(path, *, rescaling=True, side=64, strides=2, seed=0):
    """A small convolutional encoder with its classifier; its map has side / 8 / strides regions a side, 24 channels.

    Its weights are random from a seed, the statistics of its BatchNorm are not the initial ones.
    """
    import keras

    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((side, side, 3)),
        *([keras.layers.Rescaling(1 / 128, -1, name="rescaling")] if rescaling else []),
        keras.layers.Conv2D(8, 4, strides=4, name="stem_conv"),
        keras.layers.BatchNormalization(name="stem_bn"),
        keras.layers.Conv2D(16, strides, strides=strides, activation="relu", name="block1_conv"),
        keras.layers.BatchNormalization(name="block1_bn"),
        keras.layers.Conv2D(24, 2, strides=2, activation="relu", name="top_conv"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    for name, width in (("stem_bn", 8), ("block1_bn", 16)):
        values = np.random.default_rng(1)
        kept = [values.uniform(0.5, 1.5, width), values.normal(0, 0.2, width)]
        model.get_layer(name).set_weights([*kept, values.normal(0, 0.2, width), values.uniform(0.5, 1.5, width)])
    model.save(path)
    return path


def vit_file(path, *, side=64):
    """A tiny vision transformer: its map has 16 tokens of 12 channels."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 3))
    patches = keras.layers.Conv2D(12, side // 4, strides=side // 4, name="patches")(
        keras.layers.Rescaling(1 / 255)(inputs)
    )
    tokens = keras.layers.Reshape((16, 12), name="tokens")(patches)
    for block in ("block1", "block2"):
        normal = keras.layers.LayerNormalization(name=f"{block}_norm1")(tokens)
        attended = keras.layers.MultiHeadAttention(2, 6, name=f"{block}_attention")(normal, normal)
        tokens = keras.layers.Add(name=f"{block}_add1")([tokens, attended])
        normal = keras.layers.LayerNormalization(name=f"{block}_norm2")(tokens)
        wide = keras.layers.Dense(24, activation="gelu", name=f"{block}_dense1")(normal)
        tokens = keras.layers.Add(name=f"{block}_add2")([tokens, keras.layers.Dense(12, name=f"{block}_dense2")(wide)])
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization(name="norm")(tokens))
    keras.Model(inputs, keras.layers.Dense(5)(pooled)).save(path)
    return path


def saved_model(folder, *, side=64):
    """A SavedModel from pixels of 0 to 255 to a map of 4 x 4 regions of 5 channels."""
    import tensorflow as tf

    module = tf.Module()
    module.mix = tf.Variable(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, side, side, 3), tf.uint8, name="pixels")])
    def serve(pixels):
        means = tf.nn.avg_pool2d(tf.cast(pixels, tf.float32) / 255, side // 4, side // 4, "VALID")
        return {"map": means @ module.mix}

    tf.saved_model.save(module, str(folder), {"serving_default": serve})
    return folder
