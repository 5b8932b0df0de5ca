"""Several captioners that speak with one voice: the next word's probability is the mean of theirs."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfcaption.models.captioner import Captioner
from tfcaption.models.decoder import Predicted
from tfcaption.models.loss import TokenSums, token_sums
from tfcaption.records.examples import Stage


class Ensemble:
    """To be searched and scored as a `Captioner` is; its features, memories and states are tuples, one a captioner.

    Args:
        captioners: of the same vocabulary, with any decoders.
    """

    def __init__(self, captioners: Sequence[Captioner]) -> None:
        self._captioners = captioners
        self.decoder = _Decoders([captioner.decoder for captioner in captioners])

    def encode(self, inputs: tf.Tensor, stage: Stage = "photo") -> tuple[tf.Tensor, ...]:
        """See `Captioner.encode`."""
        return tuple(captioner.encode(inputs, stage) for captioner in self._captioners)

    def predict(self, features: tuple[tf.Tensor, ...], tokens: tf.Tensor) -> Predicted:
        """See `Captioner.predict`; no attention, since each captioner has its own."""
        together = zip(self._captioners, features, strict=True)
        return Predicted(_mean([captioner.predict(each, tokens).logits for captioner, each in together]), None)

    def token_sums(self, features: tuple[tf.Tensor, ...], tokens: tf.Tensor) -> TokenSums:
        """See `Captioner.token_sums`."""
        return token_sums(self.predict(features, tokens).logits, tokens[..., 1:])


CaptionModel = Captioner | Ensemble
"""What can be searched and scored."""


class _Decoders:
    """The passes of `Decoder` that a search needs."""

    def __init__(self, decoders: Sequence[Any]) -> None:
        self._decoders, self.logits = decoders, decoders[0].logits

    def start(self, features: tuple[tf.Tensor, ...]) -> tuple[Any, Any]:
        started = [decoder.start(each) for decoder, each in zip(self._decoders, features, strict=True)]
        return tuple(memory for memory, _ in started), tuple(state for _, state in started)

    def step(self, tokens: tf.Tensor, state: Any, memory: Any, photos: tf.Tensor) -> tuple[tf.Tensor, Any]:
        together = zip(self._decoders, state, memory, strict=True)
        steps = [decoder.step(tokens, before, known, photos) for decoder, before, known in together]
        return _mean([logits for logits, _ in steps]), tuple(after for _, after in steps)


def _mean(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Logarithm of the mean of the probabilities."""
    log_p = tf.stack([tf.nn.log_softmax(each) for each in logits])
    return tf.reduce_logsumexp(log_p, 0) - math.log(len(logits))
