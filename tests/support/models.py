"""Small captioners for tests, with any decoder."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tfcaption.backbones.settings import EncoderSettings
from tfcaption.config import ModelConfig
from tfcaption.models.captioner import Captioner
from tfcaption.models.encoder import ImportedEncoder, open_encoder
from tfcaption.records.vocabulary import END, START

WORDS = 11  # size of the vocabulary

DECODERS = {
    "gru": {"decoder": "gru"},
    "bahdanau": {"decoder": "attention", "attention_score": "bahdanau"},
    "luong": {"decoder": "attention", "attention_score": "luong"},
    "sentinel": {"decoder": "attention", "attention_sentinel": True},
    "transformer": {"decoder": "transformer"},
}


def captioner(
    variant="frozen",
    seed=0,
    encoder_weights="random",
    compiled=False,
    image_size=32,
    words=WORDS,
    max_tokens=40,
    **options,
):
    """A captioner with ResNet50, or, where `encoder_weights` is None, one of ResNet50's features alone."""
    keras.utils.set_random_seed(seed)
    sizes = {"gru_units": 16, "dense_units": 12, "attention_units": 8, "transformer_units": 16, "transformer_heads": 2}
    config = ModelConfig(variant=variant, weights="random", **sizes, **options)
    embedding = np.random.default_rng(seed).normal(0, 1, (words, 6)).astype(np.float32)
    finetuned = variant == "finetuned"
    # Building ResNet50 takes a second and everything else a few milliseconds, so captioners of features go without it.
    # The decoder's initial weights do not depend on it.
    if finetuned or encoder_weights is not None:
        encoder = new_encoder(image_size, encoder_weights, finetuned=finetuned)
    else:
        encoder = ImportedEncoder(shape=(image_size // 32, image_size // 32, 2048), varying=False, fingerprint="0")
    return Captioner(config, encoder=encoder, embedding=embedding, max_tokens=max_tokens, compiled=compiled)


def new_encoder(image_size=32, weights="random", *, finetuned=False):
    return open_encoder(EncoderSettings(weights=weights), image_size=image_size, finetuned=finetuned)


@functools.cache
def shared_resnet50():
    """ResNet50 with random weights for photos of 32 pixels; no test changes it."""
    return new_encoder()


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
