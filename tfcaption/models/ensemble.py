"""Several captioners as one: a token's probability is the mean of their probabilities."""

import math
from collections.abc import Sequence

import tensorflow as tf

from tfcaption.models.captioner import Captioner
from tfcaption.models.decoder import Decoder, DecoderOutput, Memory, State, StepCaptions
from tfcaption.models.loss import TokenSums, token_sums
from tfcaption.records.examples import Stage


class Ensemble:
    """Searched and scored like a `Captioner`; its features, memories and states are tuples with one per captioner.

    Args:
        captioners: of one vocabulary, with any decoders.
    """

    def __init__(self, captioners: Sequence[Captioner]) -> None:
        self._captioners = captioners
        self.decoder = _EnsembleDecoder([captioner.decoder for captioner in captioners])

    def encode(self, inputs: tf.Tensor, stage: Stage = "photo") -> tuple[tf.Tensor, ...]:
        """See `Captioner.encode`."""
        return tuple(captioner.encode(inputs, stage) for captioner in self._captioners)

    def predict(self, features: tuple[tf.Tensor, ...], tokens: tf.Tensor) -> DecoderOutput:
        """See `Captioner.predict`; no attention, since each captioner has its own."""
        pairs = zip(self._captioners, features, strict=True)
        return DecoderOutput(_mean([captioner.predict(each, tokens).logits for captioner, each in pairs]), None)

    def token_sums(self, features: tuple[tf.Tensor, ...], tokens: tf.Tensor) -> TokenSums:
        """See `Captioner.token_sums`."""
        return token_sums(self.predict(features, tokens).logits, tokens[..., 1:])


CaptionModel = Captioner | Ensemble
"""A model to search and to score."""


class _EnsembleDecoder:
    """The passes of `Decoder` that a search needs."""

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self.parts, self.logits = decoders, decoders[0].logits

    def start(
        self, features: tuple[tf.Tensor, ...], dropout_seed: tf.Tensor | None = None, *, static_shapes: bool = False
    ) -> tuple[Memory, State]:
        pairs = zip(self.parts, features, strict=True)
        started = [decoder.start(each, dropout_seed, static_shapes=static_shapes) for decoder, each in pairs]
        return tuple(memory for memory, _ in started), tuple(state for _, state in started)

    def step(self, tokens: tf.Tensor, state: State, memory: Memory, captions: StepCaptions) -> tuple[tf.Tensor, State]:
        parts = zip(self.parts, state, memory, strict=True)
        steps = [decoder.step(tokens, own_state, own_memory, captions) for decoder, own_state, own_memory in parts]
        return _mean([logits for logits, _ in steps]), tuple(next_state for _, next_state in steps)


def _mean(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Logarithm of the mean of the probabilities."""
    log_probs = tf.stack([tf.nn.log_softmax(each) for each in logits])
    return tf.reduce_logsumexp(log_probs, 0) - math.log(len(logits))
