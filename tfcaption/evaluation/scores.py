"""Computes all scores of captions, with those of a constant caption and of human captions; prints the table of scores.

Imports no TensorFlow.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfcaption.evaluation.references import References
from tfcaption.metrics.corpus import check_captions, corpus_scores
from tfcaption.metrics.diversity import caption_statistics
from tfcaption.metrics.score_tokenizers import Tokenize
from tfcaption.metrics.similarity import Vectors, embedding_cosine, shuffled
from tfcaption.preprocessing.word_vectors import read_glove
from tfcaption.runtime.paths import as_path


class Metric(NamedTuple):
    """A score as tables show it."""

    label: str
    format: str
    best: Callable[[Iterable[float]], float] | None = None  # max or min; None: no value is better than another
    group: str = ""
    meaning: str = ""  # for a reader who does not know it


OVERLAP, LIKELIHOOD, VARIETY, FAULTS = "Overlap with the references", "Likelihood", "Variety", "Faults"
METRICS = {  # key in metrics.json -> metric, in the order of the tables; a new metric needs its line here
    "bleu_1": Metric("BLEU-1", ".4f", max, OVERLAP, "share of its words that a reference has; short captions lose"),
    "bleu_2": Metric("BLEU-2", ".4f", max, OVERLAP, "the same, with pairs of words"),
    "bleu_3": Metric("BLEU-3", ".4f", max, OVERLAP, "the same, with up to three words in a row"),
    "bleu_4": Metric("BLEU-4", ".4f", max, OVERLAP, "the same, with up to four words in a row: the usual BLEU"),
    "rouge_l": Metric("ROUGE-L", ".4f", max, OVERLAP, "longest sequence of words in common with a reference"),
    "cider": Metric("CIDEr-D", ".4f", max, OVERLAP, "agreement with all references; rare words count more"),
    "cosine": Metric("GloVe cosine", ".4f", max, OVERLAP, "of mean word vectors of caption and references"),
    "cosine_shuffled": Metric("GloVe cosine, shuffled pairs", ".4f", None, OVERLAP, "with another photo's references"),
    "cosine_p10": Metric("GloVe cosine, 10th percentile", ".4f", None, OVERLAP, "a tenth of the photos have less"),
    "cosine_p50": Metric("GloVe cosine, median", ".4f", None, OVERLAP, "half of the photos have less"),
    "cosine_p90": Metric("GloVe cosine, 90th percentile", ".4f", None, OVERLAP, "a tenth of the photos have more"),
    "perplexity": Metric("perplexity", ".2f", min, LIKELIHOOD, "how many words it wavers between, on average"),
    "token_accuracy": Metric(
        "token accuracy", ".4f", max, LIKELIHOOD, "share of reference words that it expected most"
    ),
    "mean_words": Metric("words per caption", ".1f", None, VARIETY, "mean length"),
    "vocabulary_used": Metric("distinct words", ",d", None, VARIETY, "different words in all captions"),
    "distinct_captions": Metric("distinct captions", ",d", None, VARIETY, "different captions"),
    "novel_share": Metric("captions unseen in training", ".1%", None, VARIETY, "no training photo has them"),
    "repeated_trigram_share": Metric("captions repeating 3 words", ".1%", None, FAULTS, "the same three words twice"),
    "bad_ending_share": Metric("captions ending in a, the ...", ".1%", None, FAULTS, "they stop in mid-sentence"),
    "photos": Metric("photos", ",d"),
}


def score_captions(
    hypotheses: Mapping[str, str], references: References, glove: str | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Score captions, the constant caption and human captions.

    Args:
        hypotheses: photo id -> raw caption, of the photos that `references` holds.
        references: of these photos.
        glove: a file of word vectors for the cosine; None: no cosine.

    Returns:
        1. `score_tokenizer` (its name), `metrics.corpus_scores`, `caption_statistics`, `photos` and (with word vectors)
           `cosine`, its percentiles and `cosine_shuffled`. The same keys under `constant` for the constant caption and,
           where every photo has two references, under `human` for each photo's first reference against its others.
        2. photo id -> cosine.

    Raises:
        ScoreError: see `metrics.corpus.check_captions`.
        GloveError: the word vectors cannot be read.
    """
    by_photo, constant = references.by_photo, references.constant_caption
    tokenize = references.tokenizer.tokenize
    check_captions(hypotheses, by_photo)
    vectors = _vectors(glove, itertools.chain(hypotheses.values(), [constant], *by_photo.values()), tokenize)
    training = references.training_captions
    scores, cosines = _scores(hypotheses, by_photo, training, vectors, tokenize)
    constant_scores, _ = _scores(dict.fromkeys(by_photo, constant), by_photo, training, vectors, tokenize)
    result = {
        "score_tokenizer": references.tokenizer.name,
        **scores,
        "constant": {"caption": constant, **constant_scores},
    }
    if all(len(captions) > 1 for captions in by_photo.values()):
        first = {photo: captions[0] for photo, captions in by_photo.items()}
        others = {photo: captions[1:] for photo, captions in by_photo.items()}
        result["human"], _ = _scores(first, others, training, vectors, tokenize)
    return result, cosines


def _vectors(glove: str | None, captions: Iterable[str], tokenize: Tokenize) -> Vectors:
    """Word vectors of all words in the captions; none where the file is not named or no longer exists."""
    if not glove or not as_path(glove).is_file():
        return {}
    words = {token for caption in captions for token in tokenize(caption)}
    return read_glove(as_path(glove), sorted(words))


def _scores(
    hypotheses: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    training_captions: frozenset[tuple[str, ...]],
    vectors: Vectors,
    tokenize: Tokenize,
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of all photos together, and the cosine of each photo."""
    scores = corpus_scores(hypotheses, references, tokenize)
    cosines = embedding_cosine(hypotheses, references, vectors, tokenize) if vectors else {}
    if cosines:
        unrelated = embedding_cosine(hypotheses, shuffled(references), vectors, tokenize)
        scores["cosine"] = float(np.mean(list(cosines.values())))
        scores["cosine_shuffled"] = float(np.mean(list(unrelated.values())))
        for percent in (10, 50, 90):
            scores[f"cosine_p{percent}"] = float(np.percentile(list(cosines.values()), percent))
    statistics = caption_statistics(hypotheses.values(), training_captions, tokenize)
    return {**scores, **statistics, "photos": len(hypotheses)}, cosines


def score_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of scores as text: a row per metric, a column per run, a dash where a run lacks the metric.

    Args:
        columns: heading -> scores, as `score_captions` returns them.
    """
    label_width = max(len(metric.label) for metric in METRICS.values())
    widths = [max(len(heading), 10) for heading in columns]
    rows = [("", list(columns))]
    for key, metric in METRICS.items():
        cells = [format(scores[key], metric.format) if key in scores else "-" for scores in columns.values()]
        if set(cells) != {"-"}:
            rows.append((metric.label, cells))
    return "\n".join(
        f"{label:{label_width}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for label, cells in rows
    )
