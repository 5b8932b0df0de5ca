"""BLEU, ROUGE-L and CIDEr-D of captions against references, by coco-caption's protocol."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfcaption.metrics.bleu import ReferenceNgrams, corpus_bleu
from tfcaption.metrics.cider import cider_d
from tfcaption.metrics.rouge import rouge_l
from tfcaption.metrics.score_tokenizers import TREEBANK, Tokenize
from tfcaption.runtime.errors import TfcaptionError


class ScoreError(TfcaptionError, ValueError):
    """Captions that cannot be scored; the message names the photo."""


def corpus_scores(
    hypotheses: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    tokenize: Tokenize = TREEBANK.tokenize,
) -> dict[str, float]:
    """Corpus BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D of one caption per photo against all its references.

    Tables and the report show a new score when `evaluation.scores.METRICS` names it.

    Args:
        hypotheses: photo id -> raw caption.
        references: photo id -> raw captions, of the same photos.
        tokenize: divides captions into tokens.

    Returns:
        `bleu_1` .. `bleu_4`, from 0 to 1 (`bleu.corpus_bleu`); `rouge_l`, from 0 to 1 (mean of `rouge.rouge_l` over
        the photos); `cider`, from 0 to 10 (mean of `cider.cider_d` over the photos).

    Raises:
        ScoreError: a caption is not a string, references are a string or empty, or the photos differ.
    """
    check_captions(hypotheses, references)
    ids = sorted(hypotheses)
    hypothesis_tokens = [tokenize(hypotheses[photo]) for photo in ids]
    reference_tokens = [[tokenize(caption) for caption in references[photo]] for photo in ids]
    pairs = zip(hypothesis_tokens, reference_tokens, strict=True)
    return {
        **corpus_bleu(hypothesis_tokens, map(ReferenceNgrams.of, reference_tokens)),
        "rouge_l": float(np.mean([rouge_l(*pair) for pair in pairs])),
        "cider": float(np.mean(cider_d(hypothesis_tokens, reference_tokens))),
    }


def check_captions(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Refuse captions that would silently get wrong scores.

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
