"""The figures of a report: training curves of the runs, and distributions of their captions."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.tokens import LONGEST_NGRAM, ngrams, score_tokens
from tfcaption.reporting import plots
from tfcaption.reporting.data import EvaluatedRun, all_references, run_captions
from tfcaption.reporting.plots import Figure, Line


def training_figures(runs: Sequence[EvaluatedRun]) -> list[Figure]:
    """Losses by epoch; CIDEr, BLEU-4 and the learning rate too, where a run logged them and they change.

    A star marks the epoch whose weights a run kept, on the line of the metric that decided.
    """
    losses: list[Line] = []
    scores: dict[str, list[Line]] = {"dev_cider": [], "dev_bleu_4": []}
    rates: list[Line] = []
    for index, run in enumerate(runs):
        if not run.epochs:
            continue
        loss_x, loss_y = plots.smoothed(*_by_step(run, "loss"))
        losses.append(Line(f"{run.name}, train", loss_x, loss_y, index, dashed=True))
        losses.append(_dev_line(run, "dev_loss", f"{run.name}, dev", index))
        for key, lines in scores.items():
            lines.append(_dev_line(run, key, run.name, index))
        rates.append(Line(run.name, *plots.thinned(*_by_step(run, "learning_rate")), index))
    if not any(min(line.y) < max(line.y) for line in rates if line.y):
        rates = []  # constant rates need no figure
    figures = [
        ("loss", "Loss", "loss per token", losses),
        ("cider", "CIDEr on the dev split", "CIDEr", scores["dev_cider"]),
        ("bleu", "BLEU-4 on the dev split", "BLEU-4", scores["dev_bleu_4"]),
        ("learning_rate", "Learning rate of the decoder", "learning rate", rates),
    ]
    return [
        plots.draw_lines(
            name,
            f"{title} (star: the epoch that was kept)" if any(line.star is not None for line in logged) else title,
            "epoch",
            y_label,
            logged,
            integer_x=True,
        )
        for name, title, y_label, lines in figures
        if (logged := [line for line in lines if line.x])
    ]


def _dev_line(run: EvaluatedRun, key: str, label: str, index: int) -> Line:
    """A metric of the dev split by epoch, with a star at its best epoch if the run kept the weights of that one."""
    x, y = _by_epoch(run, key)
    decides = key == run.run.config.train.early_stopping_metric
    best = min(y, default=None) if key == "dev_loss" else max(y, default=None)
    return Line(label, x, y, index, markers=True, star=y.index(best) if decides and best is not None else None)


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
    def of(cls, label: str, captions: Sequence[str], run: int | None = None) -> "_Captions":
        return cls(label, [score_tokens(caption) for caption in captions], run)


def caption_figures(runs: Sequence[EvaluatedRun], ids: Sequence[str], scores: np.ndarray) -> list[Figure]:
    """Distributions of scores and caption lengths, and the share of distinct n-grams.

    Args:
        runs: the runs.
        ids: the photos.
        scores: (photos, runs) ROUGE-L.
    """
    captions = [_Captions.of(run.name, run_captions(run, ids), index) for index, run in enumerate(runs)]
    references = _Captions.of("references", all_references(runs[0], ids))
    # As many as a run has captions: more captions repeat more n-grams.
    first_references = _Captions.of("references", [runs[0].captions[photo]["references"][0] for photo in ids])
    return [
        _rouge_l(runs, scores),
        *_cosines(runs, ids),
        _lengths([*captions, references]),
        _distinct_ngrams([*captions, first_references]),
    ]


def _rouge_l(runs: Sequence[EvaluatedRun], scores: np.ndarray) -> Figure:
    edges = np.linspace(0, 1, 26)
    lines = [plots.histogram_line(run.name, scores[:, index], edges, index) for index, run in enumerate(runs)]
    return plots.draw_lines("rouge_l", "ROUGE-L per photo", "ROUGE-L", "share of photos", lines)


def _cosines(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[Figure]:
    """One figure, or none where no run was evaluated with word vectors."""
    cosines = [[run.captions[photo]["cosine"] for photo in ids if "cosine" in run.captions[photo]] for run in runs]
    values = [value for of_run in cosines for value in of_run]
    if not values:
        return []
    edges = np.linspace(np.quantile(values, 0.002), max(values), 31)  # without a few outliers
    lines = [
        plots.histogram_line(run.name, of_run, edges, index)
        for index, (run, of_run) in enumerate(zip(runs, cosines, strict=True))
        if of_run
    ]
    title = "Cosine of mean word vectors per photo"
    return [plots.draw_lines("cosine", title, "cosine similarity", "share of photos", lines)]


def _lengths(groups: Sequence[_Captions]) -> Figure:
    longest = max(len(tokens) for group in groups for tokens in group.tokens)
    edges = np.arange(-0.5, longest + 1)
    lines = [plots.histogram_line(group.label, list(map(len, group.tokens)), edges, group.run) for group in groups]
    return plots.draw_lines("lengths", "Caption length", "words", "share of captions", lines, integer_x=True)


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
    title = "Share of distinct n-grams (references: the first of each photo)"
    return plots.draw_lines("distinct", title, "n", "distinct n-grams", lines, integer_x=True)


def distinct_ngrams(captions: Sequence[Sequence[str]]) -> list[float]:
    """Distinct n-grams as a share of all n-grams, for each n (Li et al. 2016)."""
    counts = Counter(ngram for tokens in captions for ngram in ngrams(tokens))
    totals, distinct = np.zeros(LONGEST_NGRAM), np.zeros(LONGEST_NGRAM)
    for ngram, count in counts.items():
        totals[len(ngram) - 1] += count
        distinct[len(ngram) - 1] += 1
    return (distinct / np.maximum(totals, 1)).tolist()
