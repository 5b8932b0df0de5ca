"""The figures of a report: how the runs were trained, and how their captions are distributed."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tfcaption.metrics.tokens import LONGEST_NGRAM, ngrams, score_tokens
from tfcaption.reporting import plots
from tfcaption.reporting.data import Evaluated, captions_by_run
from tfcaption.reporting.plots import Figure, Line
from tfcaption.runtime.process import start_tensorflow


def history_figures(evaluated: Sequence[Evaluated]) -> list[Figure]:
    """Losses by epoch, and BLEU-4 and learning rate where there is something to see."""
    losses: list[Line] = []
    bleu: list[Line] = []
    rates: list[Line] = []
    for index, run in enumerate(evaluated):
        if not run.epochs:
            continue
        steps_per_epoch = run.epochs[0]["step"] / run.epochs[0]["epoch"]
        x, y = plots.smoothed(
            [line["step"] / steps_per_epoch for line in run.steps], [line["loss"] for line in run.steps]
        )
        if x:
            losses.append(Line(f"{run.name}, train", x, y, index, dashed=True))
        losses.append(_by_epoch(f"{run.name}, dev", run, "dev_loss", index))
        bleu.append(_by_epoch(run.name, run, "dev_bleu_4", index))
        x, y = learning_rate(run, steps_per_epoch)
        rates.append(Line(run.name, x, y, index))
    drawn = [
        ("loss", "Loss", "loss per token", losses),
        ("bleu", "BLEU-4 on the dev split", "BLEU-4", [line for line in bleu if line.x]),
        # A constant is no figure.
        ("learning_rate", "Learning rate of the decoder", "learning rate", rates if _changes(rates) else []),
    ]
    return [
        plots.draw_lines(name, title, "epoch", label, lines, whole_x=True)
        for name, title, label, lines in drawn
        if lines
    ]


def _by_epoch(label: str, run: Evaluated, key: str, index: int) -> Line:
    """A figure of metrics.jsonl, of the epochs that have it."""
    found = [(line["epoch"], line[key]) for line in run.epochs if key in line]
    return Line(label, [epoch for epoch, _ in found], [value for _, value in found], index, markers=True)


def _changes(lines: Sequence[Line]) -> bool:
    return any(min(line.y) < max(line.y) for line in lines)


def learning_rate(run: Evaluated, steps_per_epoch: float) -> tuple[list[float], list[float]]:
    """Epochs, and the decoder's learning rate at each, from the config: it is not logged."""
    train, last = run.run.config.train, run.epochs[-1]["step"]
    if train.schedule == "constant" and not train.warm_up_steps:
        return [0.0, last / steps_per_epoch], [train.learning_rate] * 2
    start_tensorflow()
    from tfcaption.training.optimizer import learning_rate_schedule

    schedule = learning_rate_schedule(train, train.learning_rate, round(train.epochs * steps_per_epoch))
    steps = np.linspace(0, last, 200)
    return (steps / steps_per_epoch).tolist(), [float(schedule(step)) for step in steps]


def caption_figures(evaluated: Sequence[Evaluated], ids: Sequence[str], scores: np.ndarray) -> list[Figure]:
    """Distributions of scores and lengths, and how varied the captions are."""
    figures: list[Figure] = []
    shares = np.linspace(0, 1, 26)
    lines = [plots.histogram_line(run.name, scores[:, i], shares, i) for i, run in enumerate(evaluated)]
    figures.append(plots.draw_lines("rouge_l", "ROUGE-L of each photo", "ROUGE-L", "share of photos", lines))
    cosines = {i: [run.lines[p]["cosine"] for p in ids if "cosine" in run.lines[p]] for i, run in enumerate(evaluated)}
    if values := [value for cosine in cosines.values() for value in cosine]:
        edges = np.linspace(np.quantile(values, 0.002), max(values), 31)  # without a few far out
        lines = [plots.histogram_line(evaluated[i].name, found, edges, i) for i, found in cosines.items() if found]
        title = "Cosine of word vectors of each photo"
        figures.append(plots.draw_lines("cosine", title, "cosine similarity", "share of photos", lines))
    tokens = {index: [score_tokens(text) for text in texts] for index, texts in captions_by_run(evaluated, ids).items()}
    longest = max(len(words) for captions in tokens.values() for words in captions)
    edges = np.arange(-0.5, longest + 1)
    lines = [plots.histogram_line(_name(evaluated, i), list(map(len, found)), edges, i) for i, found in tokens.items()]
    figures.append(
        plots.draw_lines("lengths", "Length of the captions", "words", "share of captions", lines, whole_x=True)
    )
    # Of as many captions as a run has: more captions repeat more.
    tokens[None] = [score_tokens(evaluated[0].lines[photo]["references"][0]) for photo in ids]
    n = range(1, LONGEST_NGRAM + 1)
    lines = [
        Line(_name(evaluated, i), n, distinct_ngrams(found), i, dashed=i is None, markers=True)
        for i, found in tokens.items()
    ]
    title = "Distinct n-grams, as a share of all (of the references: the first of each photo)"
    figures.append(plots.draw_lines("distinct", title, "n", "distinct n-grams", lines, whole_x=True))
    return figures


def distinct_ngrams(captions: Sequence[Sequence[str]]) -> list[float]:
    """Of the n-grams of each n, the share that is left when each is counted once (Li et al. 2016)."""
    counts = Counter(ngram for words in captions for ngram in ngrams(words))
    totals, kinds = np.zeros(LONGEST_NGRAM), np.zeros(LONGEST_NGRAM)
    for ngram, count in counts.items():
        totals[len(ngram) - 1] += count
        kinds[len(ngram) - 1] += 1
    return (kinds / np.maximum(totals, 1)).tolist()


def _name(evaluated: Sequence[Evaluated], run: int | None) -> str:
    return "references" if run is None else evaluated[run].name
