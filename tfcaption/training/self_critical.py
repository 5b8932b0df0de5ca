"""Self-critical training: captions that the captioner draws itself, weighted by how well they score (Rennie et al.
2017, arXiv:1612.00563, with the mean of a photo's other captions as the baseline, Luo 2020, arXiv:2003.09971).

The reward is CIDEr-D, and a multiple of BLEU where asked for: on Flickr8k unseen photos gain by it in BLEU, and lose
little or nothing in CIDEr-D."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from tfcaption.decoding.sampling import sample
from tfcaption.metrics.bleu import ReferenceNgrams, sentence_bleu
from tfcaption.metrics.cider import Cider, TfIdf
from tfcaption.metrics.tokens import Tokens
from tfcaption.models.captioner import Captioner
from tfcaption.records.examples import Stage
from tfcaption.records.vocabulary import END, PAD, START

_DRAWING = 1000  # apart from the places of `dropout`, which has the same seed


class SelfCritical:
    """Makes batches of drawn captions out of batches of references.

    Args:
        captioner: that draws.
        stage: at which the batches' inputs are.
        photos: token numbers of the training captions, photo by photo, from which n-grams have their weights.
        samples: captions drawn of each photo, two or more.
        bleu_weight: of the mean of a caption's BLEU-1 to BLEU-4 beside its CIDEr-D.
        max_tokens: of a drawn caption.
        compiled: whether the train step is compiled with XLA.
    """

    def __init__(
        self,
        captioner: Captioner,
        stage: Stage,
        photos: Iterable[Sequence[Tokens]],
        *,
        samples: int,
        bleu_weight: float,
        max_tokens: int,
        compiled: bool,
    ) -> None:
        self._captioner, self._stage, self._compiled = captioner, stage, compiled
        self._samples, self._bleu_weight, self._max_tokens = samples, bleu_weight, max_tokens
        self._cider = Cider(photos)
        self._known: dict[bytes, TfIdf] = {}  # references come back every epoch

    def __call__(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The batch to train on.

        Args:
            batch: `inputs` (photos, ...), and `tokens` (photos, captions, time), the references.
            seed: (2,) int32, also of the dropout with which the captions are drawn and shall be trained.

        Returns:
            The same inputs; `tokens` (photos, samples, max_tokens + 1) drawn captions; and `weights` (photos, samples)
            float32, the reward of each less the mean of the photo's others.
        """
        features = self._captioner.encode(batch["inputs"], self._stage)
        drawn = sample(
            self._captioner,
            features,
            max_tokens=self._max_tokens,
            seed=tf.random.experimental.stateless_fold_in(seed, _DRAWING),
            count=self._samples,
            dropout_seed=seed,
            compiled=self._compiled,
        ).tokens
        weights = tf.numpy_function(self.advantages, [drawn, batch["tokens"]], tf.float32)
        start = tf.fill(tf.shape(drawn[..., :1]), START)
        real = tf.reduce_any(batch["tokens"] != PAD, (1, 2))[:, None, None]  # not a row that fills up the batch
        tokens = tf.where(real, tf.concat([start, drawn], -1), PAD)
        return {
            "inputs": batch["inputs"],
            "tokens": tf.stop_gradient(tokens),
            "weights": tf.ensure_shape(weights, (None, self._samples)),
        }

    def advantages(self, drawn: np.ndarray, references: np.ndarray) -> np.ndarray:
        """By how much each caption is better than the photo's others: (photos, samples, time) drawn without <start>,
        (photos, captions, time) references with it -> (photos, samples) float32."""
        scores = np.zeros((len(drawn), self._samples))
        for photo, captions in enumerate(references):
            if captions.any():
                scores[photo] = self._scores([spoken(tokens) for tokens in drawn[photo]], captions[captions.any(1)])
        others = (scores.sum(1, keepdims=True) - scores) / (self._samples - 1)
        return (scores - others).astype(np.float32)

    def _scores(self, drawn: list[list[int]], references: np.ndarray) -> np.ndarray:
        """Rewards of one photo's captions."""
        weighted = [self._reference(tokens) for tokens in references]
        scores = np.array([self._cider.score(self._cider.tf_idf(tokens), weighted) for tokens in drawn])
        if self._bleu_weight:
            expected = ReferenceNgrams.of([spoken(tokens[1:]) for tokens in references])
            scores += self._bleu_weight * np.array([sentence_bleu(tokens, expected) for tokens in drawn])
        return scores

    def _reference(self, tokens: np.ndarray) -> TfIdf:
        key = tokens.tobytes().rstrip(b"\0")
        if key not in self._known:
            self._known[key] = self._cider.tf_idf(spoken(tokens[1:]))
        return self._known[key]


def spoken(tokens: np.ndarray) -> list[int]:
    """What counts of a caption's tokens: up to <end>, which counts, or captions would learn not to end well."""
    words = [token for token in tokens.tolist() if token != PAD]
    return words[: words.index(END) + 1] if END in words else words
