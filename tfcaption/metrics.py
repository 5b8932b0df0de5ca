"""Scores of captions against references, by the published protocol. Imports no TensorFlow."""

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tfcaption.bleu import Expected, corpus_bleu
from tfcaption.cider import cider_d, ngrams

ROUGE_BETA = 1.2  # how much more recall counts than precision (coco-caption, rouge.py)

# The tokens that the reference scorers' Penn Treebank tokenizer removes (coco-caption, ptbtokenizer.py), and the
# brackets as they are before it renames them.
_PUNCTUATION = frozenset(
    [
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        "-lrb-",
        "-rrb-",
        "-lcb-",
        "-rcb-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        '"',
    ]
)
Vectors = Mapping[str, np.ndarray]
"""word -> (dimension,) float32"""


class ScoreError(ValueError):
    """Captions that cannot be scored; the message names the photo."""


def score_tokens(caption: str) -> list[str]:
    """Tokens of a raw caption as the scores see them: Penn Treebank, lower case, no punctuation.

    The tokens of coco-caption (Stanford's PTBTokenizer, which needs Java), but for brackets: those stay in as `-lrb-`
    there, because its list of punctuation has them in upper case only.
    """
    return list(_tokens(caption))


@functools.lru_cache(maxsize=1 << 20)  # references are tokenized for every score and every run
def _tokens(caption: str) -> tuple[str, ...]:
    from nltk.tokenize import TreebankWordTokenizer

    text = re.sub(r"(?<!\S)((?:[a-z]\.){2,})\s*$", r"\1 .", caption.lower())  # a last "d.c." keeps its full stop
    tokens = TreebankWordTokenizer().tokenize(text.replace("\n", " "))
    return tuple(token for token in tokens if token not in _PUNCTUATION)


def corpus_scores(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Corpus BLEU-1 to 4, ROUGE-L and CIDEr-D of one caption per photo against all its references.

    Args:
        hypotheses: photo id -> raw caption; tokenized here.
        references: photo id -> raw captions; the same photos.

    Returns:
        `bleu_1` .. `bleu_4`, from 0 to 1 (`bleu.corpus_bleu`); `rouge_l`, from 0 to 1 (Lin 2004);
        `cider`, from 0 to 10 (`cider.cider_d`, mean over the photos); all as coco-caption computes them.

    Raises:
        ScoreError: a caption is not a string, references are a string or none, or the photos differ.
    """
    check_captions(hypotheses, references)
    ids = sorted(hypotheses)
    spoken = [_tokens(hypotheses[photo]) for photo in ids]
    expected = [[_tokens(caption) for caption in references[photo]] for photo in ids]
    return {
        **corpus_bleu(spoken, map(Expected.of, expected)),
        "rouge_l": float(np.mean([_rouge_l(*pair) for pair in zip(spoken, expected, strict=True)])),
        "cider": float(np.mean(cider_d(spoken, expected))),
    }


def _rouge_l(spoken: Sequence[str], expected: Sequence[Sequence[str]]) -> float:
    """F-measure of the longest common subsequence, with the best precision and the best recall of any reference."""
    common = [longest_common_subsequence(spoken, reference) for reference in expected]
    if not any(common):
        return 0.0
    precision = max(common) / len(spoken)
    recall = max(length / max(len(reference), 1) for length, reference in zip(common, expected, strict=True))
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of words that both have in this order, with any words between them."""
    lengths = [0] * (len(second) + 1)  # of `first` so far and each beginning of `second`
    for mine in first:
        before = 0
        for index, other in enumerate(second, start=1):
            before, lengths[index] = (
                lengths[index],
                before + 1 if mine == other else max(lengths[index], lengths[index - 1]),
            )
    return lengths[-1]


def check_captions(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Refuse what would be scored wrongly without an error.

    Raises:
        ScoreError: see `corpus_scores`.
    """
    if not hypotheses:
        raise ScoreError("no captions to score")
    for photo, caption in hypotheses.items():
        if not isinstance(caption, str):
            raise ScoreError(f"{photo}: the caption must be a string, not {type(caption).__name__}: {caption!r}")
        if photo not in references:
            raise ScoreError(f"{photo}: has a caption but no references")
    for photo, captions in references.items():
        if isinstance(captions, str) or not all(isinstance(caption, str) for caption in captions):
            raise ScoreError(f"{photo}: references must be a list of strings, not {captions!r}")
        if not captions:
            raise ScoreError(f"{photo}: its list of references is empty")
        if photo not in hypotheses:
            raise ScoreError(f"{photo}: has references but no caption")


def constant_caption(references: Sequence[Sequence[str]]) -> str:
    """The training caption that scores best when given to every photo: what a model must beat.

    The twenty captions of at least median length whose n-grams (1 to 4) are on average the most common, scored by
    BLEU-4 on up to 200 photos.

    Args:
        references: the captions of each training photo, raw.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    captions: dict[tuple[str, ...], str] = {}
    for photo in references:
        for caption in photo:
            tokens = _tokens(caption)
            captions.setdefault(tokens, caption)
            counts.update(ngrams(tokens))
    median = sorted(map(len, captions))[len(captions) // 2]

    def typicality(tokens: tuple[str, ...]) -> float:
        found = ngrams(tokens)
        return sum(math.log(counts[ngram]) for ngram in found) / max(len(found), 1)

    candidates = sorted((t for t in captions if len(t) >= median), key=lambda t: (-typicality(t), t))[:20]
    sample = [
        Expected.of([_tokens(caption) for caption in photo]) for photo in references[:: max(1, len(references) // 200)]
    ]
    best = max(candidates, key=lambda tokens: corpus_bleu([tokens] * len(sample), sample)["bleu_4"])
    return captions[best]


def embedding_cosine(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]], vectors: Vectors
) -> dict[str, float]:
    """Per photo, the cosine of the caption's mean word vector and each reference's, averaged over the references.

    High for any two captions in one language: read it beside `shuffled` pairs.

    Returns:
        photo id -> cosine, for photos whose captions have any word with a vector.
    """
    means: dict[str, np.ndarray | None] = {}

    def mean_vector(caption: str) -> np.ndarray | None:
        if caption not in means:
            found = [vectors[token] for token in _tokens(caption) if token in vectors]
            mean = np.mean(found, axis=0) if found else None
            means[caption] = None if mean is None or not mean.any() else mean / np.linalg.norm(mean)
        return means[caption]

    cosines = {}
    for photo, caption in hypotheses.items():
        mine = mean_vector(caption)
        others = [vector for text in references[photo] if (vector := mean_vector(text)) is not None]
        if mine is not None and others:
            cosines[photo] = float(np.mean([mine @ vector for vector in others]))
    return cosines


def shuffled(references: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Every photo with the references of another one: what a score says of unrelated pairs."""
    ids = sorted(references)
    return dict(zip(ids, [references[photo] for photo in [*ids[1:], ids[0]]], strict=True))
