"""Encoder and decoder as one Keras model, and its loss."""

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.attention_decoder import AttentionDecoder
from tfcaption.models.decoder import Decoder, DecoderOutput
from tfcaption.models.encoder import Encoder, ImportedEncoder
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

BANNED_TOKENS = (PAD, OOV, START)  # never in generated captions; the loss of references does not mask them


class Captioner(keras.Model):
    """Encoder and decoder: photo in, caption out.

    Args:
        config: decoder and sizes.
        encoder: built in the same precision, before the decoder.
        embedding: initial embedding matrix, (vocabulary, units) float32.
        max_tokens: of a caption, with <start> and <end>.
        compiled: whether the train step is compiled with XLA.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        encoder: Encoder | ImportedEncoder,
        embedding: np.ndarray,
        max_tokens: int,
        compiled: bool,
    ) -> None:
        super().__init__(name="captioner")
        self.encoder = encoder
        self.decoder = new_decoder(config, encoder, embedding, max_tokens=max_tokens, compiled=compiled)
        self._attention_penalty = config.attention_penalty
        self._packs_tokens = uses_packed_tokens(compiled)
        self.built = True

    def encode(self, inputs: tf.Tensor, stage: Stage = "photo") -> tf.Tensor:
        """Features of photos for the decoder.

        (photos, channels), (photos, height, width, channels) or (photos, regions, channels).

        Args:
            inputs: (photos, ...) at `stage`.
            stage: see `Encoder`.
        """
        return self.encoder(inputs, start=stage, end=self.decoder.stage)

    def predict(self, features: tf.Tensor, tokens: tf.Tensor) -> DecoderOutput:
        """Teacher-forced logits and attention; all captions of a photo share its features.

        Args:
            features: (photos, ...), as `encode` gives them.
            tokens: (photos, captions, time) int, from <start> to the last target.

        Returns:
            (photos, captions, time - 1, vocabulary) float32 logits of the targets, and (photos, captions, time - 1,
            regions) float32 attention, None if the decoder has none.
        """
        photos, count, time = tf.unstack(tf.shape(tokens))
        output = self._teacher_forced(features, PaddedTokens(tf.reshape(tokens, (-1, time))), count, None, None)

        def by_photo(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.reshape(values, (photos, count, time - 1, values.shape[-1]))

        return DecoderOutput(by_photo(output.logits), by_photo(output.attention))

    def token_sums(
        self,
        features: tf.Tensor,
        tokens: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
        label_smoothing: float = 0.0,
        weights: tf.Tensor | None = None,
    ) -> TokenSums:
        """Loss and accuracy of captions; in training the loss includes the attention penalty.

        Args:
            features: (photos, ...), as `encode` gives them.
            tokens: (photos, captions, time) int, from <start> to <end>, padded at the end.
            dropout_seed: (2,) int32 in training, None otherwise.
            label_smoothing: of references, see `token_sums`; sampled captions are not smoothed.
            weights: (photos, captions) float32, the weight in the loss of each caption that the captioner sampled with
                this dropout seed (see `sample`); None for references, of weight 1.
        """
        captions = tf.reshape(tokens, (-1, tf.shape(tokens)[2]))
        layout = PackedTokens(captions) if self._packs_tokens else PaddedTokens(captions)
        # Train sampled captions with the dropout they were sampled with: of the photo, not of the words.
        word_seed = dropout_seed if weights is None else None
        output = self._teacher_forced(features, layout, tf.shape(tokens)[1], dropout_seed, word_seed)
        if weights is None:
            sums = token_sums(output.logits, layout.targets, label_smoothing)
            if dropout_seed is not None and self._attention_penalty and output.attention is not None:
                penalty = self._attention_penalty * attention_penalty(output.attention, captions[:, 1:])
                sums = sums._replace(loss=sums.loss + penalty)
        else:
            # Mask banned tokens as sampling does; otherwise their logits, never sampled, drift upwards unpenalised.
            # -1e9 instead of -inf: padded targets have weight 0, and 0 * inf is NaN.
            logits = output.logits + banned_token_mask(output.logits.shape[-1], -1e9)
            per_position = layout.repeat_per_position(tf.reshape(weights, (-1,)))
            sums = token_sums(logits, layout.targets, weights=per_position)
        return sums

    def _teacher_forced(
        self,
        features: tf.Tensor,
        tokens: TokenLayout,
        captions_per_photo: tf.Tensor,
        photo_seed: tf.Tensor | None,
        word_seed: tf.Tensor | None,
    ) -> DecoderOutput:
        memory, state = self.decoder.start(features, photo_seed)
        state = tf.nest.map_structure(lambda values: tf.repeat(values, captions_per_photo, axis=0), state)
        return self.decoder.teacher_forced(tokens, memory, state, word_seed)


def new_decoder(
    config: ModelConfig,
    encoder: Encoder | ImportedEncoder,
    embedding: np.ndarray,
    *,
    max_tokens: int,
    compiled: bool,
) -> Decoder:
    """The decoder of a config for the features of an encoder; arguments as those of `Captioner`."""
    decoder = DECODERS[config.decoder]
    return decoder(
        config,
        embedding,
        shape=encoder.feature_shape(decoder.stage),
        masked=encoder.varying and decoder.stage == "map",
        use_cudnn=False if compiled else "auto",
        max_tokens=max_tokens,
    )


def banned_token_mask(
    vocabulary_size: int, value: float = float("-inf"), tokens: tuple[int, ...] = BANNED_TOKENS
) -> tf.Tensor:
    """(vocabulary,) float32 to add to logits: `value` for these tokens, 0 for all others."""
    return tf.where(tf.reduce_any(tf.range(vocabulary_size)[:, None] == tf.constant(tokens), 1), value, 0.0)
