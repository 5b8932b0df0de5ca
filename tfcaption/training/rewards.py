"""Rewards of sampled captions, for all photos of a batch at once: CIDEr-D and smoothed BLEU of token ids.

They are those of `metrics.cider.Cider` and `metrics.bleu.sentence_bleu`, up to rounding. Here n-grams are numbers, and
counts are arrays with a column for each caption of a photo, which is several times as fast.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.cider import SCALE, SIGMA
from tfcaption.metrics.tokens import LONGEST_NGRAM
from tfcaption.records.vocabulary import END, PAD

_BASE = 1 << 24  # more than there are token ids: the number of an n-gram is that of its start, times this, plus a token


class _Ngrams(NamedTuple):
    """The different n-grams of each photo, for one n, ordered by photo."""

    photo: np.ndarray  # (n-grams,) int64
    start: np.ndarray  # (n-grams,) int64, place of the n-gram without its last token in the previous `_Ngrams`
    token: np.ndarray  # (n-grams,) int64, the last token
    counts: np.ndarray  # (n-grams, captions of a photo) int64, how often each caption has it


class CaptionRewards:
    """CIDEr-D, plus a multiple of the mean of BLEU-1 to BLEU-4 if there is a weight for it.

    Args:
        photos: token ids of each photo's references, without <start>, for CIDEr-D's document frequencies.
        bleu_weight: of BLEU; CIDEr-D has weight 1.
    """

    def __init__(self, photos: Iterable[Sequence[Sequence[int]]], *, bleu_weight: float) -> None:
        self._bleu_weight = bleu_weight
        photos = list(photos)
        longest = max((len(tokens) for captions in photos for tokens in captions), default=0)
        most = max(map(len, photos), default=0)
        padded = np.full((len(photos), most, longest), PAD, np.int32)
        for photo, captions in enumerate(photos):
            for caption, tokens in enumerate(captions):
                padded[photo, caption, : len(tokens)] = tokens
        self._documents = len(photos)
        # For each n: the numbers of the n-grams that occur, sorted, and the number of photos that have them.
        self._known: list[tuple[np.ndarray, np.ndarray]] = []
        places = np.zeros(1, np.int64)
        for ngrams in _ngrams(padded):
            numbers, places, frequencies = np.unique(
                places[ngrams.start] * _BASE + ngrams.token, return_inverse=True, return_counts=True
            )
            self._known.append((numbers, frequencies))

    def __call__(self, sampled: np.ndarray, references: np.ndarray) -> np.ndarray:
        """The reward of each sampled caption. <end> counts as a token, or captions would learn to end badly.

        Args:
            sampled: (photos, samples, time) token ids without <start>; what follows <end> does not count.
            references: (photos, captions, time) token ids without <start>; captions of padding do not count, and a
                photo without any other gets the reward 0.

        Returns:
            (photos, samples) float64.
        """
        samples = sampled.shape[1]
        tokens = _aligned(sampled, references)
        lengths = (tokens != PAD).sum(-1)  # (photos, samples + captions)
        real = (lengths[:, samples:] > 0)[:, None]  # (photos, 1, captions)
        shape = (len(tokens), samples, references.shape[1])
        cosines, matches = np.zeros(shape), np.zeros((*shape[:2], LONGEST_NGRAM))
        places = np.zeros(1, np.int64)
        for n, ngrams in enumerate(_ngrams(tokens)):
            frequencies, places = self._frequencies(
                n, places[ngrams.start] * _BASE + ngrams.token, places[ngrams.start]
            )
            weights = ngrams.counts * np.log(self._documents / np.maximum(frequencies, 1))[:, None]
            of_samples, of_references = ngrams.counts[:, :samples], ngrams.counts[:, samples:]
            shared = np.flatnonzero(of_samples.any(1) & of_references.any(1))  # few: others add nothing
            photo = ngrams.photo[shared]
            clipped = np.minimum(of_samples[shared], of_references[shared].max(1, keepdims=True))
            matches[..., n] = _sum_by_photo(clipped, photo, len(tokens))
            hypotheses, others = weights[shared, :samples, None], weights[shared, None, samples:]
            products = _sum_by_photo(np.minimum(hypotheses, others) * others, photo, len(tokens))
            norms = np.sqrt(_sum_by_photo(weights * weights, ngrams.photo, len(tokens)))
            scales = norms[:, :samples, None] * norms[:, None, samples:]
            cosines += np.divide(products, scales, out=np.zeros(shape), where=scales > 0)
        bigrams = np.maximum(lengths - 1, 0)  # how coco-caption measures length
        difference = bigrams[:, :samples, None] - bigrams[:, None, samples:]
        similarities = cosines / LONGEST_NGRAM * np.exp(-(difference**2) / (2 * SIGMA**2))
        rewards: np.ndarray = SCALE * (similarities * real).sum(-1) / np.maximum(real.sum(-1), 1)
        if self._bleu_weight:
            rewards += self._bleu_weight * _smoothed_bleu(matches, lengths[:, :samples], lengths[:, samples:])
        return rewards

    def _frequencies(self, n: int, numbers: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many photos have some n-grams, and their places among those of that length that occur; -1: none."""
        known, frequencies = self._known[n]
        if not len(known):
            return np.zeros_like(numbers), np.full_like(numbers, -1)
        places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        found = (known[places] == numbers) & (starts >= 0)
        return np.where(found, frequencies[places], 0), np.where(found, places, -1)


def _ngrams(tokens: np.ndarray) -> Iterator[_Ngrams]:
    """The n-grams of captions, for each n from 1.

    Args:
        tokens: (photos, captions, time) int, padded at the end.
    """
    photos, captions, time = tokens.shape
    rows = tokens.reshape(-1, time).astype(np.int64)
    caption = np.arange(len(rows)) % captions
    # The place of the shorter n-gram that starts at each position; that of no token is the photo's.
    places = np.repeat(np.arange(photos), captions)[:, None].repeat(time, 1)
    photo_of = np.arange(photos)
    for n in range(1, LONGEST_NGRAM + 1):
        last = rows[:, n - 1 :]
        exists = last != PAD
        keys = places[:, : last.shape[1]][exists] * _BASE + last[exists]
        unique, inverse = np.unique(keys, return_inverse=True)
        start, token = np.divmod(unique, _BASE)
        columns = np.broadcast_to(caption[:, None], exists.shape)[exists]
        counts = np.bincount(inverse * captions + columns, minlength=len(unique) * captions)
        photo_of = photo_of[start]
        places = np.zeros_like(last)
        places[exists] = inverse
        yield _Ngrams(photo_of, start if n > 1 else np.zeros_like(start), token, counts.reshape(-1, captions))


def _aligned(sampled: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Both side by side, (photos, samples + captions, time), with padding after each <end>."""
    time = max(sampled.shape[-1], references.shape[-1])
    padded = [np.pad(tokens, ((0, 0), (0, 0), (0, time - tokens.shape[-1]))) for tokens in (sampled, references)]
    tokens = np.concatenate(padded, 1)
    ended = np.cumsum(tokens == END, -1) - (tokens == END) > 0
    return np.where(ended, PAD, tokens)


def _sum_by_photo(values: np.ndarray, photo: np.ndarray, photos: int) -> np.ndarray:
    """Sums of the values (n-grams, ...) of each photo, (photos, ...); n-grams are ordered by photo."""
    sums = np.zeros((photos, *values.shape[1:]), values.dtype)
    if len(photo):
        first = np.flatnonzero(np.diff(photo, prepend=-1))
        sums[photo[first]] = np.add.reduceat(values, first)
    return sums


def _smoothed_bleu(matches: np.ndarray, lengths: np.ndarray, reference_lengths: np.ndarray) -> np.ndarray:
    """`metrics.bleu.sentence_bleu` of each caption, (photos, samples) float64; 0 for a photo without references.

    Args:
        matches: (photos, samples, n).
        lengths: (photos, samples), in tokens.
        reference_lengths: (photos, captions), 0 for those that do not count.
    """
    smoothing = np.arange(LONGEST_NGRAM) > 0
    totals = np.maximum(lengths[..., None] - np.arange(LONGEST_NGRAM), 1)
    precisions = (matches + smoothing) / (totals + smoothing)
    means = np.cumprod(precisions, -1) ** (1 / np.arange(1, LONGEST_NGRAM + 1))
    distances = np.abs(lengths[..., None] - reference_lengths[:, None]) * _BASE + reference_lengths[:, None]
    distances = np.where(reference_lengths[:, None] > 0, distances, np.iinfo(np.int64).max)
    closest = np.take_along_axis(reference_lengths, distances.argmin(-1), 1)  # the shorter of two equally close ones
    penalty = np.exp(np.minimum(0.0, 1 - closest / np.maximum(lengths, 1)))
    return np.where(matches[..., 0] > 0, penalty * means.mean(-1), 0.0)
