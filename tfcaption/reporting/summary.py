"""The first screen of a report: the scores that matter between a constant caption and people, and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfcaption.evaluation.scores import METRICS
from tfcaption.metrics.bootstrap import Interval
from tfcaption.records.display import display_text
from tfcaption.reporting.data import EvaluatedRun, compared_scores
from tfcaption.reporting.page import Headline, Mark

DECISIVE = "cider"
HEADLINES = (DECISIVE, "bleu_4", "distinct_captions", "perplexity")
_SCALED = {DECISIVE, "bleu_4", "distinct_captions"}  # those with a constant caption and people to compare with


def headlines(runs: Sequence[EvaluatedRun]) -> list[Headline]:
    """The scores in large figures, without those that no run has."""
    compared = compared_scores(runs)
    return [_headline(key, runs, compared) for key in HEADLINES if any(key in run.scores for run in runs)]


def _headline(key: str, runs: Sequence[EvaluatedRun], compared: Mapping[str, Mapping[str, Any]]) -> Headline:
    metric = METRICS[key]
    values = [shown(run.scores[key], metric.format) if key in run.scores else "" for run in runs]
    points = [(run.name, run.scores[key], index) for index, run in enumerate(runs) if key in run.scores]
    ends = [(name, scores[key], None) for name, scores in compared.items() if key in scores]
    if key not in _SCALED or not ends:
        return Headline(metric.label, metric.meaning, values, [])
    low, high = (end(value for _, value, _ in [*points, *ends]) for end in (min, max))
    marks = [
        Mark(name, shown(value, metric.format), (value - low) / ((high - low) or 1), index)
        for name, value, index in [*ends, *points]
    ]
    return Headline(metric.label, metric.meaning, values, marks)


def shown(value: float, form: str) -> str:
    """A score with three decimals where tables of text have four."""
    return format(value, ".3f" if form == ".4f" else form)


def verdict(
    runs: Sequence[EvaluatedRun], intervals: Sequence[Mapping[str, Interval]], difference: Mapping[str, Interval]
) -> list[str]:
    """What the scores say, in sentences.

    Args:
        runs: the runs.
        intervals: of the scores of each run; empty where they are unknown.
        difference: of the second run's scores minus the first's, where there are two.
    """
    scored = [index for index, run in enumerate(runs) if DECISIVE in run.scores]
    if not scored:
        return []
    best = max(scored, key=lambda index: runs[index].scores[DECISIVE])
    run, interval = runs[best], intervals[best].get(DECISIVE)
    value, compared = run.scores[DECISIVE], compared_scores(runs)
    constant, human = (compared.get(name, {}).get(DECISIVE) for name in ("constant caption", "people"))
    label = METRICS[DECISIVE].label
    found = f"{run.name} has a {label} of {value:.3f}{_between(interval)}"
    if constant is not None and human is not None and constant < human < value:
        found += f", more than people ({human:.3f}), where one caption for every photo has {constant:.3f}"
    elif constant is not None and human is not None and constant < human:
        share = (value - constant) / (human - constant)
        found += f", {share:.0%} of the way from one caption for every photo ({constant:.3f}) to people ({human:.3f})"
    sentences = [f"{found}."]
    if constant is not None and interval and interval.low <= constant:
        caption = display_text(str(compared["constant caption"].get("caption", "")))
        sentences.append(f"It is hardly better than to say “{caption}” about every photo.")
    if len(runs) == 2 and len(scored) == 2 and (change := difference.get(DECISIVE)):
        sentences.append(_difference(runs, best, change))
    return sentences


def _difference(runs: Sequence[EvaluatedRun], best: int, change: Interval) -> str:
    """How sure the better run of two is the better one; `change` is of the second minus the first."""
    other = 1 - best
    low, high = change if best == 1 else Interval(-change.high, -change.low)
    gain = runs[best].scores[DECISIVE] - runs[other].scores[DECISIVE]
    if low > 0:
        return f"It is better than {runs[other].name} by {gain:.3f} ({low:.3f} to {high:.3f})."
    return f"It has {gain:.3f} more than {runs[other].name}, which may be chance ({low:z.3f} to {high:z.3f})."


def _between(interval: Interval | None) -> str:
    return f" ({interval.low:.3f} to {interval.high:.3f})" if interval else ""
