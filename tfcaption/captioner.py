"""Encoder and decoder as one Keras model, and its loss."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfcaption.attention import AttentionDecoder
from tfcaption.caption_layout import Captions, PackedCaptions, PaddedCaptions
from tfcaption.config import ModelConfig
from tfcaption.decoder import Decoder, GruDecoder, Predicted
from tfcaption.encoder import Encoder
from tfcaption.records.examples import Stage
from tfcaption.records.vocabulary import OOV, PAD, START
from tfcaption.transformer import TransformerDecoder

DECODERS: dict[str, type[Decoder]] = {
    "gru": GruDecoder,
    "attention": AttentionDecoder,
    "transformer": TransformerDecoder,
}

BANNED = (PAD, OOV, START)  # in what the captioner says; never in the logits that reach a reference's loss


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
        config: decoder, sizes and variant.
        image_size: side of the photos in pixels.
        embedding: initial embedding matrix, (vocabulary, units) float32.
        encoder_weights: as `Encoder` takes them.
        max_tokens: of a caption, with <start> and <end>.
        compiled: whether the train step is compiled with XLA.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_size: int,
        embedding: np.ndarray,
        encoder_weights: str | None,
        max_tokens: int,
        compiled: bool,
    ) -> None:
        super().__init__(name="captioner")
        finetuned = config.variant == "finetuned"
        self.encoder = Encoder(image_size=image_size, weights=encoder_weights, finetuned=finetuned)
        self.decoder = DECODERS[config.decoder](
            config, embedding, use_cudnn=False if compiled else "auto", max_tokens=max_tokens
        )
        self._attention_penalty = config.attention_penalty
        self._packs = packs(compiled)
        self.built = True

    def encode(self, inputs: tf.Tensor, stage: Stage = "photo") -> tf.Tensor:
        """What the decoder takes of photos that are at `stage`: (photos, 2048), or (photos, height, width, 2048)."""
        return self.encoder(inputs, start=stage, end=self.decoder.stage)

    def predict(self, features: tf.Tensor, tokens: tf.Tensor) -> Predicted:
        """Teacher-forced logits and attention; each photo's features serve all its captions.

        Args:
            features: (photos, ...), as `encode` gives them.
            tokens: (photos, captions, time) int, beginning with <start>, with the last target at the end.

        Returns:
            (photos, captions, time - 1, vocabulary) float32 logits of the targets, and the attention (photos, captions,
            time - 1, regions) float32, None if the decoder has none.
        """
        photos, count, time = tf.unstack(tf.shape(tokens))
        predicted = self._predict(features, PaddedCaptions(tf.reshape(tokens, (-1, time))), count, None, None)

        def by_photo(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.reshape(values, (photos, count, time - 1, values.shape[-1]))

        return Predicted(by_photo(predicted.logits), by_photo(predicted.attention))

    def token_sums(
        self,
        features: tf.Tensor,
        tokens: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        label_smoothing: float = 0.0,
        weights: tf.Tensor | None = None,
    ) -> TokenSums:
        """Loss and accuracy of whole captions; in training the loss includes the penalty on attention.

        Args:
            features: (photos, ...), as `encode` gives them.
            tokens: (photos, captions, time) int, from <start> to <end>, padded at the end.
            dropout_seed: (2,) int32 in training, None otherwise.
            label_smoothing: see `token_sums`; of references, not of drawn captions.
            weights: (photos, captions) float32, of each caption in the loss, which the captioner has drawn itself with
                this seed (see `sample`); None: they are references, of weight 1.
        """
        rows = tf.reshape(tokens, (-1, tf.shape(tokens)[2]))
        captions = PackedCaptions(rows) if self._packs else PaddedCaptions(rows)
        # Drawn captions are those of the captioner that drew them, which drops from photos, not from words.
        word_seed = dropout_seed if weights is None else None
        predicted = self._predict(features, captions, tf.shape(tokens)[1], dropout_seed, word_seed)
        if weights is None:
            sums = token_sums(predicted.logits, captions.targets, label_smoothing)
            if dropout_seed is not None and self._attention_penalty and predicted.attention is not None:
                penalty = self._attention_penalty * unevenness(predicted.attention, rows[:, 1:])
                sums = sums._replace(loss=sums.loss + penalty)
        else:
            # Of what they were drawn from: what is never drawn would rise unseen, until nothing else moved.
            # Finite, since padding is a target too, and infinity times nothing is no number.
            logits = predicted.logits + banned(predicted.logits.shape[-1], -1e9)
            by_position = captions.for_positions(tf.reshape(weights, (-1,)))
            sums = token_sums(logits, captions.targets, weights=by_position)
        return sums

    def _predict(
        self,
        features: tf.Tensor,
        captions: Captions,
        per_photo: tf.Tensor,
        photo_seed: tf.Tensor | None,
        word_seed: tf.Tensor | None,
    ) -> Predicted:
        memory, state = self.decoder.start(features, photo_seed)
        state = tf.nest.map_structure(lambda values: tf.repeat(values, per_photo, axis=0), state)
        return self.decoder.teacher_forced(captions, memory, state, word_seed)


def banned(vocabulary: int, value: float = float("-inf"), tokens: tuple[int, ...] = BANNED) -> tf.Tensor:
    """(vocabulary,) float32: `value` for these tokens, 0 for all others."""
    return tf.where(tf.reduce_any(tf.range(vocabulary)[:, None] == tf.constant(tokens), 1), value, 0.0)


def unevenness(attention: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """How far captions are from looking at all regions alike, summed: the doubly stochastic regulariser of Xu et al.
    2015 (arXiv:1502.03044, equation 14), a scalar.

    Args:
        attention: (rows, time, regions) float32.
        targets: (rows, time) int; padding does not count.
    """
    real = tf.cast(targets != PAD, tf.float32)[..., None]
    looked = tf.reduce_sum(attention * real, 1)
    return tf.reduce_sum((1 - looked) ** 2 * tf.reduce_max(real, 1))


def token_sums(
    logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0, weights: tf.Tensor | float = 1.0
) -> TokenSums:
    """Cross entropy and accuracy summed over the real targets.

    The mask comes from the targets: <end> counts, <pad> does not, however much of it there is.

    Args:
        logits: (..., vocabulary) float32.
        targets: (...) int, the inputs shifted by one.
        label_smoothing: share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016,
            arXiv:1512.00567).
        weights: of each target in the loss, broadcast to (...).
    """
    real = tf.cast(targets != PAD, tf.float32)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if label_smoothing:
        even = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
        loss += label_smoothing * (even - loss)
    correct = tf.cast(tf.argmax(logits, -1, targets.dtype) == targets, tf.float32)
    return TokenSums(tf.reduce_sum(loss * weights * real), tf.reduce_sum(correct * real), tf.reduce_sum(real))
