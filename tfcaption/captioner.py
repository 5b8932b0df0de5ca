"""Encoder and decoder as one Keras model, and its loss."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.decoder import GruDecoder
from tfcaption.encoder import Encoder
from tfcaption.gru import pack
from tfcaption.records import PAD, Stage


class TokenSums(NamedTuple):
    """Sums over the real target tokens of a batch, float32 scalars; means are formed over a whole split or batch."""

    loss: tf.Tensor  # cross entropy, natural logarithm
    correct: tf.Tensor  # the most probable token is the right one
    tokens: tf.Tensor  # how many: words and <end>, no <pad>, no <start>


def packs(compiled: bool) -> bool:
    """Whether captions are packed instead of padded: not for XLA, which wants static shapes, nor on a GPU, which wants
    few steps; a CPU is as fast on few rows as on many."""
    return not compiled and not tf.config.list_physical_devices("GPU")


class Captioner(keras.Model):
    """A photo in, a caption out.

    Args:
        config: sizes and variant.
        image_size: side of the photos in pixels.
        embedding: initial embedding matrix, (vocabulary, units) float32.
        encoder_weights: as `Encoder` takes them.
        compiled: whether the train step is compiled with XLA.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_size: int,
        embedding: np.ndarray,
        encoder_weights: str | None,
        compiled: bool,
    ) -> None:
        super().__init__(name="captioner")
        finetuned = config.variant == "finetuned"
        self.encoder = Encoder(image_size=image_size, weights=encoder_weights, finetuned=finetuned)
        self.decoder = GruDecoder(
            vocabulary_size=len(embedding),
            embedding=embedding,
            train_embedding=config.train_embedding,
            gru_units=config.gru_units,
            dense_units=config.dense_units,
            dropout=config.dropout,
            use_cudnn=False if compiled else "auto",
        )
        self._packs = packs(compiled)
        self.built = True

    def encode(self, inputs: tf.Tensor, stage: Stage = "photo") -> tf.Tensor:
        """Pooled features (photos, 2048) of photos that are at `stage`, as `Encoder` takes them."""
        return self.encoder(inputs, start=stage, end="pooled")

    def logits(self, features: tf.Tensor, tokens: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Teacher-forced logits; each photo's features serve all its captions.

        Args:
            features: (photos, 2048), as `encode` gives them.
            tokens: (photos, captions, time) int, beginning with <start>.
            dropout_seed: (2,) int32 in training, None otherwise.

        Returns:
            (photos, captions, time, vocabulary) float32.
        """
        photos, captions, time = tf.unstack(tf.shape(tokens))
        captions = tokens.shape[1] or captions
        state = self.decoder.start(features, dropout_seed)
        logits = self.decoder(
            tf.reshape(tokens, (photos * captions, time)), tf.repeat(state, captions, axis=0), dropout_seed
        )
        return tf.reshape(logits, (photos, captions, time, self.decoder.logits.units))

    def token_sums(
        self,
        features: tf.Tensor,
        tokens: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> TokenSums:
        """Loss and accuracy of whole captions; arguments as `logits` and `token_sums`, tokens with <end>."""
        if self._packs:
            captions = tf.shape(tokens)[1]
            state = tf.repeat(self.decoder.start(features, dropout_seed), captions, axis=0)
            packed = pack(tf.reshape(tokens, (-1, tf.shape(tokens)[2])))
            return token_sums(self.decoder.packed(packed, state, dropout_seed), packed.targets, label_smoothing)
        logits = self.logits(features, tokens[..., :-1], dropout_seed)
        return token_sums(logits, tokens[..., 1:], label_smoothing)


def token_sums(logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0) -> TokenSums:
    """Cross entropy and accuracy summed over the real targets.

    The mask comes from the targets: <end> counts, <pad> does not, however much of it there is.

    Args:
        logits: (..., vocabulary) float32.
        targets: (...) int, the inputs shifted by one.
        label_smoothing: share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016,
            arXiv:1512.00567).
    """
    real = tf.cast(targets != PAD, tf.float32)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if label_smoothing:
        even = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
        loss += label_smoothing * (even - loss)
    correct = tf.cast(tf.argmax(logits, -1, targets.dtype) == targets, tf.float32)
    return TokenSums(tf.reduce_sum(loss * real), tf.reduce_sum(correct * real), tf.reduce_sum(real))
