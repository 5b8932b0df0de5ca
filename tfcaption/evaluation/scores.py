"""All scores of captions, beside those of a constant caption and of a person; the table of them."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfcaption.evaluation.references import References
from tfcaption.metrics.corpus import check_captions, corpus_scores
from tfcaption.metrics.diversity import caption_statistics
from tfcaption.metrics.similarity import Vectors, embedding_cosine, shuffled
from tfcaption.metrics.tokens import score_tokens
from tfcaption.runtime.paths import as_path

ROWS = {  # metric -> label and format
    "bleu_1": ("BLEU-1", ".4f"),
    "bleu_2": ("BLEU-2", ".4f"),
    "bleu_3": ("BLEU-3", ".4f"),
    "bleu_4": ("BLEU-4", ".4f"),
    "rouge_l": ("ROUGE-L", ".4f"),
    "cider": ("CIDEr-D", ".4f"),
    "cosine": ("GloVe cosine", ".4f"),
    "cosine_shuffled": ("  the same, shuffled pairs", ".4f"),
    "cosine_p10": ("  10th percentile", ".4f"),
    "cosine_p50": ("  median", ".4f"),
    "cosine_p90": ("  90th percentile", ".4f"),
    "perplexity": ("perplexity", ".2f"),
    "token_accuracy": ("token accuracy", ".4f"),
    "mean_words": ("words a caption", ".1f"),
    "vocabulary_used": ("different words", ",d"),
    "distinct_captions": ("distinct captions", ",d"),
    "novel_share": ("not in the training split", ".1%"),
    "repeated_trigram_share": ("three words repeated", ".1%"),
    "bad_ending_share": ("ending in a, the, with ...", ".1%"),
    "photos": ("photos", ",d"),
}


def score_captions(
    spoken: dict[str, str], expected: References, glove: str | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Score captions, and beside them the constant caption and a person.

    Args:
        spoken: photo id -> raw caption, of the photos that have references in `expected`.
        expected: what they are held against.
        glove: a file of word vectors for the cosine, or None.

    Returns:
        `metrics.corpus_scores`, `caption_statistics`, `photos` and (with word vectors) `cosine`, its percentiles and
        `cosine_shuffled`; the same under `constant`, and where every photo has two references under `human`, of each
        photo's first reference against its others. And the cosine of each photo.

    Raises:
        ScoreError: see `metrics.check_captions`.
        GloveError: the word vectors cannot be read.
    """
    references = expected.references
    check_captions(spoken, references)  # every photo once
    vectors = _vectors(glove, [*spoken.values(), expected.constant, *itertools.chain(*references.values())])
    scores, cosines = _scores(spoken, references, expected.training, vectors)
    constant, _ = _scores(dict.fromkeys(references, expected.constant), references, expected.training, vectors)
    result = {**scores, "constant": {"caption": expected.constant, **constant}}
    if all(len(captions) > 1 for captions in references.values()):
        first = {photo: captions[0] for photo, captions in references.items()}
        others = {photo: captions[1:] for photo, captions in references.items()}
        result["human"], _ = _scores(first, others, expected.training, vectors)
    return result, cosines


def _vectors(glove: str | None, captions: Sequence[str]) -> Vectors:
    """Word vectors of all words in the captions, where there is a file of them and it is still there."""
    if not glove or not as_path(glove).is_file():
        return {}
    from tfcaption.preprocessing.word_vectors import read_glove

    return read_glove(glove, sorted({token for caption in captions for token in score_tokens(caption)}))


def _scores(
    spoken: dict[str, str],
    references: Mapping[str, Sequence[str]],
    training: frozenset[tuple[str, ...]],
    vectors: Vectors,
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of the whole split, and the cosine of each photo."""
    scores = corpus_scores(spoken, references)
    cosines = embedding_cosine(spoken, references, vectors) if vectors else {}
    if cosines:
        unrelated = embedding_cosine(spoken, shuffled(references), vectors)
        scores["cosine"] = float(np.mean(list(cosines.values())))
        scores["cosine_shuffled"] = float(np.mean(list(unrelated.values())))
        for percent in (10, 50, 90):
            scores[f"cosine_p{percent}"] = float(np.percentile(list(cosines.values()), percent))
    return {**scores, **caption_statistics(spoken.values(), training), "photos": len(spoken)}, cosines


def score_table(columns: dict[str, dict[str, Any]]) -> str:
    """Metrics as rows, runs as columns; a dash where a run has none."""
    names = list(columns)
    widths = [max(len(name), 10) for name in names]
    lines = [" " * 26 + "".join(f"  {name:>{width}}" for name, width in zip(names, widths, strict=True))]
    for key, (label, style) in ROWS.items():
        cells = [format(columns[name][key], style) if key in columns[name] else "-" for name in names]
        if set(cells) != {"-"}:
            lines.append(f"{label:26}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    return "\n".join(lines)
