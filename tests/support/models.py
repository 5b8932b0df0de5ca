"""Small captioners for tests, with any decoder."""

import functools
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models import encoder
from tfcaption.models.captioner import Captioner
from tfcaption.records.vocabulary import END, START

WORDS = 11  # size of the vocabulary

DECODERS = {
    "gru": {"decoder": "gru"},
    "bahdanau": {"decoder": "attention", "attention_score": "bahdanau"},
    "luong": {"decoder": "attention", "attention_score": "luong"},
    "transformer": {"decoder": "transformer"},
}


def captioner(variant="frozen", seed=0, encoder_weights="random", compiled=False, image_size=32, **options):
    keras.utils.set_random_seed(seed)
    sizes = {"gru_units": 16, "dense_units": 12, "attention_units": 8, "transformer_units": 16, "transformer_heads": 2}
    config = ModelConfig(variant=variant, weights="random", **sizes, **options)
    embedding = np.random.default_rng(seed).normal(0, 1, (WORDS, 6)).astype(np.float32)
    build = functools.partial(
        Captioner,
        config,
        image_size=image_size,
        embedding=embedding,
        encoder_weights=encoder_weights,
        max_tokens=40,
        compiled=compiled,
    )
    if variant == "finetuned" or encoder_weights is not None or tf.distribute.has_strategy():
        return build()
    # Building ResNet50 takes a second and everything else a few milliseconds, so captioners that never change it share
    # one. The decoder's initial weights do not depend on it.
    with mock.patch.object(encoder, "_resnet50", _shared_resnet50):
        return build()


_new_resnet50 = encoder._resnet50


def _shared_resnet50(image_size, weights):
    return _resnet50_of_policy(image_size, keras.config.dtype_policy().name)


@functools.cache
def _resnet50_of_policy(image_size, policy):
    return _new_resnet50(image_size, None)


def features_of(model, photos=6):
    return tf.random.stateless_normal((photos, *model.encoder.feature_shape(model.decoder.stage)), [1, 2])


def captions(length=7):
    """(6 photos, 2 captions, length) int32: from <start> to <end>, then padding; photo 0 has one caption only."""
    generator = np.random.default_rng(2)
    tokens = np.zeros((6, 2, length), np.int32)
    for photo in range(6):
        for k in range(2 if photo else 1):
            words = generator.integers(4, WORDS, generator.integers(1, 5))
            tokens[photo, k, : len(words) + 2] = [START, *words, END]
    return tokens
