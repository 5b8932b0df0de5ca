"""Scores of captions against references, by the published protocol. Imports no TensorFlow."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

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
    """Tokens of a raw caption as the scores see them: Penn Treebank, lower case, no punctuation."""
    from nltk.tokenize import TreebankWordTokenizer

    tokens = TreebankWordTokenizer().tokenize(caption.lower().replace("\n", " "))
    return [token for token in tokens if token not in _PUNCTUATION]


def corpus_scores(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Corpus BLEU-1 to 4 of one caption per photo against all its references.

    Args:
        hypotheses: photo id -> raw caption; tokenized here.
        references: photo id -> raw captions; the same photos.

    Returns:
        `bleu_1` .. `bleu_4`, from 0 to 1 (Papineni et al. 2002, as NLTK computes it, no smoothing).

    Raises:
        ScoreError: a caption is not a string, references are a string or none, or the photos differ.
    """
    from nltk.translate.bleu_score import corpus_bleu

    check_captions(hypotheses, references)
    ids = sorted(hypotheses)
    spoken = [score_tokens(hypotheses[photo]) for photo in ids]
    expected = [[score_tokens(caption) for caption in references[photo]] for photo in ids]
    weights = [tuple([1 / n] * n) for n in range(1, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of n-grams that no caption has; the score is 0 then
        scores = corpus_bleu(expected, spoken, weights=weights)
    return {f"bleu_{n}": 0.0 if score < 1e-50 else float(score) for n, score in enumerate(scores, start=1)}


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
            tokens = tuple(score_tokens(caption))
            captions.setdefault(tokens, caption)
            counts.update(_ngrams(tokens))
    median = sorted(map(len, captions))[len(captions) // 2]

    def typicality(tokens: tuple[str, ...]) -> float:
        return sum(math.log(counts[ngram]) for ngram in _ngrams(tokens)) / max(len(_ngrams(tokens)), 1)

    candidates = sorted((t for t in captions if len(t) >= median), key=lambda t: (-typicality(t), t))[:20]
    sample = {str(index): photo for index, photo in enumerate(references[:: max(1, len(references) // 200)])}

    def bleu(tokens: tuple[str, ...]) -> float:
        return corpus_scores(dict.fromkeys(sample, captions[tokens]), sample)["bleu_4"]

    return captions[max(candidates, key=bleu)]


def _ngrams(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for n in range(1, 5) for i in range(len(tokens) - n + 1)]


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
            found = [vectors[token] for token in score_tokens(caption) if token in vectors]
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
