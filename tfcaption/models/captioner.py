"""Encoder and decoder as one Keras model, and its loss."""

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.attention_decoder import AttentionDecoder
from tfcaption.models.decoder import Decoder, Predicted
from tfcaption.models.encoder import Encoder
from tfcaption.models.gru_decoder import GruDecoder
from tfcaption.models.loss import TokenSums, attention_penalty, token_sums
from tfcaption.models.token_layout import PackedTokens, PaddedTokens, TokenLayout, uses_packed_tokens
from tfcaption.models.transformer_decoder import TransformerDecoder
from tfcaption.records.examples import Stage
from tfcaption.records.vocabulary import OOV, PAD, START

DECODERS: dict[str, type[Decoder]] = {
    "gru": GruDecoder,
    "attention": AttentionDecoder,
    "transformer": TransformerDecoder,
}

BANNED = (PAD, OOV, START)  # in what the captioner says; never in the logits that reach a reference's loss


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
        self._packs = uses_packed_tokens(compiled)
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
        predicted = self._predict(features, PaddedTokens(tf.reshape(tokens, (-1, time))), count, None, None)

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
        captions = PackedTokens(rows) if self._packs else PaddedTokens(rows)
        # Drawn captions are those of the captioner that drew them, which drops from photos, not from words.
        word_seed = dropout_seed if weights is None else None
        predicted = self._predict(features, captions, tf.shape(tokens)[1], dropout_seed, word_seed)
        if weights is None:
            sums = token_sums(predicted.logits, captions.targets, label_smoothing)
            if dropout_seed is not None and self._attention_penalty and predicted.attention is not None:
                penalty = self._attention_penalty * attention_penalty(predicted.attention, rows[:, 1:])
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
        captions: TokenLayout,
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
