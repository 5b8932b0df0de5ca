"""The figures of a report: training curves of the runs, and distributions of their captions."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.score_tokenizers import Tokenize
from tfcaption.metrics.tokens import LONGEST_NGRAM, ngrams
from tfcaption.reporting import plots
from tfcaption.reporting.data import EvaluatedRun, all_references, run_captions
from tfcaption.reporting.plots import Bars, Figure, Line

_KEPT = " (star: the epoch that was kept)"
_SHOWN_LOSSES = 0.98  # the first steps of training would squeeze all others into a corner


def training_figures(runs: Sequence[EvaluatedRun]) -> list[Figure]:
    """Loss, CIDEr and BLEU-4 by epoch, where a run logged them.

    A star marks the epoch whose weights a run kept, on the line of the metric that decided.
    """
    train_losses: list[Line] = []
    dev: dict[str, list[Line]] = {"dev_loss": [], "dev_cider": [], "dev_bleu_4": []}
    for index, run in enumerate(runs):
        if not run.epochs:
            continue
        x, y = plots.smoothed(*_by_step(run, "loss"))
        train_losses.append(Line(f"{run.name}, train", x, y, index, faint=True))
        for key, lines in dev.items():
            lines.append(_dev_line(run, key, index))
    figures: tuple[tuple[str, str, str, str, list[Line]], ...] = (
        ("loss", "Loss per token; the thin lines are of training", "loss", "dev_loss", train_losses),
        ("cider", "CIDEr-D of greedy captions of dev", "CIDEr-D", "dev_cider", []),
        ("bleu", "BLEU-4 of greedy captions of dev", "BLEU-4", "dev_bleu_4", []),
    )
    return [
        plots.draw_lines(
            name,
            f"{title}{_KEPT}" if any(line.star is not None for line in logged) else title,
            "epoch",
            y_label,
            [*behind, *logged],
            integer_x=True,
            y_range=_loss_range(behind, logged) if behind else None,
        )
        for name, title, y_label, key, behind in figures
        if (logged := [line for line in dev[key] if line.x])
    ]


def learning_rate_figure(runs: Sequence[EvaluatedRun]) -> Figure | None:
    """The logged learning rates; None where all are constant or none was logged."""
    lines = [
        Line(run.name, *plots.thinned(*_by_step(run, "learning_rate")), index)
        for index, run in enumerate(runs)
        if run.epochs
    ]
    lines = [line for line in lines if line.x]
    if not any(min(line.y) < max(line.y) for line in lines):
        return None
    title = "Learning rate of the decoder"
    return plots.draw_lines("learning_rate", title, "epoch", "learning rate", lines, integer_x=True)


def _dev_line(run: EvaluatedRun, key: str, index: int) -> Line:
    """A metric of the dev split by epoch, with a star at the epoch that the run kept if this metric decided."""
    x, y = _by_epoch(run, key)
    decides = key == run.run.config.train.early_stopping_metric
    star = x.index(run.kept_epoch) if decides and run.kept_epoch is not None else None
    return Line(run.name, x, y, index, markers=True, star=star)


def _loss_range(behind: Sequence[Line], logged: Sequence[Line]) -> tuple[float, float]:
    """The ends of the axis: around all values of dev, and those of training after the first epoch."""
    training = [value for line in behind for value in line.y]
    shown = [float(np.quantile(training, _SHOWN_LOSSES))] if training else []
    after_first_epoch = [value for line in behind for x, value in zip(line.x, line.y, strict=True) if x >= 1]
    highest = max([*(value for line in logged for value in line.y), *(after_first_epoch or shown)])
    lowest = min([*(value for line in logged for value in line.y), *training])
    margin = 0.06 * ((highest - lowest) or 1)
    return lowest - margin, highest + margin


def _by_epoch(run: EvaluatedRun, key: str) -> tuple[list[float], list[float]]:
    """A metric of metrics.jsonl, and the epochs that have it."""
    lines = [line for line in run.epochs if key in line]
    return [line["epoch"] for line in lines], [line[key] for line in lines]


def _by_step(run: EvaluatedRun, key: str) -> tuple[list[float], list[float]]:
    """A metric of steps.jsonl, and the steps that have it, in epochs."""
    steps_per_epoch = run.epochs[0]["step"] / run.epochs[0]["epoch"]
    lines = [line for line in run.steps if key in line]
    return [line["step"] / steps_per_epoch for line in lines], [line[key] for line in lines]


class _Captions(NamedTuple):
    """Captions of one run, or references, as score tokens."""

    label: str
    tokens: list[tuple[str, ...]]
    run: int | None = None  # its index; None: references

    @classmethod
    def of(cls, label: str, captions: Sequence[str], tokenize: Tokenize, run: int | None = None) -> "_Captions":
        return cls(label, [tokenize(caption) for caption in captions], run)


def caption_figures(runs: Sequence[EvaluatedRun], ids: Sequence[str], scores: np.ndarray) -> list[Figure]:
    """Distributions of scores and caption lengths, and the share of distinct n-grams.

    Args:
        runs: the runs.
        ids: the photos.
        scores: (photos, runs) ROUGE-L.
    """
    tokenize = runs[0].tokenizer.tokenize  # one for all: the figures compare them
    captions = [_Captions.of(run.name, run_captions(run, ids), tokenize, index) for index, run in enumerate(runs)]
    references = _Captions.of("references", all_references(runs[0], ids), tokenize)
    # As many as a run has captions: more captions repeat more n-grams.
    first_references = _Captions.of("references", [runs[0].captions[photo]["references"][0] for photo in ids], tokenize)
    return [
        _rouge_l(runs, scores),
        _lengths(captions, references),
        _distinct_ngrams([*captions, first_references]),
        *_cosines(runs, ids),
    ]


def _rouge_l(runs: Sequence[EvaluatedRun], scores: np.ndarray) -> Figure:
    lines = [plots.distribution_line(run.name, scores[:, index], index) for index, run in enumerate(runs)]
    title = "ROUGE-L: share of photos with at most this score"
    return plots.draw_lines("rouge_l", title, "ROUGE-L of the caption", "share of photos", lines, labels_below=True)


def _cosines(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[Figure]:
    """One figure, or none where no run was evaluated with word vectors."""
    cosines = [[run.captions[photo]["cosine"] for photo in ids if "cosine" in run.captions[photo]] for run in runs]
    lines = [
        plots.distribution_line(run.name, of_run, index)
        for index, (run, of_run) in enumerate(zip(runs, cosines, strict=True))
        if of_run
    ]
    if not lines:
        return []
    title = "GloVe cosine: share of photos with at most this value"
    return [plots.draw_lines("cosine", title, "cosine similarity", "share of photos", lines, labels_below=True)]


def _lengths(captions: Sequence[_Captions], references: _Captions) -> Figure:
    found = [len(tokens) for group in (*captions, references) for tokens in group.tokens]
    lengths = range(min(found), max(found) + 1)

    def shares(group: _Captions) -> list[float]:
        counts = Counter(len(tokens) for tokens in group.tokens)
        return [counts[length] / max(len(group.tokens), 1) for length in lengths]

    lines = [Line(group.label, lengths, shares(group), group.run, markers=True) for group in captions]
    bars = Bars(references.label, lengths, shares(references))
    return plots.draw_lines(
        "lengths", "Length of captions", "words", "share of captions", lines, bars=bars, integer_x=True
    )


def _distinct_ngrams(groups: Sequence[_Captions]) -> Figure:
    lines = [
        Line(
            group.label,
            range(1, LONGEST_NGRAM + 1),
            distinct_ngrams(group.tokens),
            group.run,
            dashed=group.run is None,
            markers=True,
        )
        for group in groups
    ]
    title = "Variety: share of distinct n-grams"
    return plots.draw_lines("distinct", title, "words in a row (n)", "distinct n-grams", lines, integer_x=True)


def distinct_ngrams(captions: Sequence[Sequence[str]]) -> list[float]:
    """Distinct n-grams as a share of all n-grams, for each n (Li et al. 2016)."""
    counts = Counter(ngram for tokens in captions for ngram in ngrams(tokens))
    totals, distinct = np.zeros(LONGEST_NGRAM), np.zeros(LONGEST_NGRAM)
    for ngram, count in counts.items():
        totals[len(ngram) - 1] += count
        distinct[len(ngram) - 1] += 1
    return (distinct / np.maximum(totals, 1)).tolist()
