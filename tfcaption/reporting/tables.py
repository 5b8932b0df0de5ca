"""The tables of a report: scores, facts of the runs, differences of their configs, frequent trigrams."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from tfcaption.backbones.families import FAMILIES
from tfcaption.config import Config
from tfcaption.evaluation.scores import METRICS, Metric
from tfcaption.metrics.bootstrap import CONFIDENCE, DRAWS, Interval
from tfcaption.metrics.score_tokenizers import Tokenize
from tfcaption.metrics.tokens import ngrams
from tfcaption.records.display import display_text
from tfcaption.reporting.data import EvaluatedRun, all_references, compared_scores, run_captions
from tfcaption.reporting.page import Cell, Group, PageTable, Phrases, Row
from tfcaption.reporting.summary import shown

FREQUENT_TRIGRAMS = 10


def score_table(
    runs: Sequence[EvaluatedRun], intervals: Sequence[Mapping[str, Interval]], difference: Mapping[str, Interval]
) -> PageTable:
    """Metrics as rows; runs, their difference where there are two, the constant caption and people as columns.

    Args:
        runs: the runs.
        intervals: of the scores of each run; empty where they are unknown.
        difference: of the second run's scores minus the first's, where there are two.
    """
    compared = compared_scores(runs)
    notes = ["The best run of each row is underlined."] if len(runs) > 1 else []
    if any(intervals):
        notes.append(
            f"The small ranges are {CONFIDENCE:.0%} intervals by a bootstrap over the photos ({DRAWS:,} draws): how "
            "much a score would differ on other photos of this kind."
            + (" The difference is paired: both runs on the same draws." if difference else "")
        )
    if "caption" in compared.get("constant caption", {}):
        caption = display_text(compared["constant caption"]["caption"])
        notes.append(f"The constant caption, the same for every photo, is “{caption}”")
    if "people" in compared:
        notes.append("People: the first reference of each photo against its others.")
    columns = [run.name for run in runs]
    if difference:
        columns.append(f"{runs[1].name} - {runs[0].name}")
    groups: dict[str, list[Row]] = {}
    for key, metric in METRICS.items():
        values = [run.scores.get(key) for run in runs]
        others = [scores.get(key) for scores in compared.values()]
        known = [value for value in (*values, *others) if value is not None]
        if not metric.group or not known:
            continue
        scored = [value for value in values if value is not None]
        best = metric.best(scored) if metric.best and len(scored) > 1 else None
        largest = max(known) if metric.best is max else 0.0
        cells = [
            _score_cell(metric, value, interval.get(key), best=value is not None and value == best, largest=largest)
            for value, interval in zip(values, intervals, strict=True)
        ]
        if difference:
            cells.append(_difference_cell(values, difference.get(key)))
        cells += [_score_cell(metric, value, None, best=False, largest=largest) for value in others]
        row = Row(metric.label, cells, metric.meaning, _direction(metric))
        groups.setdefault(metric.group, []).append(row)
    return PageTable(
        "scores", "Scores", notes, [*columns, *compared], [Group(heading, rows) for heading, rows in groups.items()]
    )


def _direction(metric: Metric) -> str:
    if metric.best is None:
        return ""
    return "↑ higher is better" if metric.best is max else "↓ lower is better"


def _score_cell(metric: Metric, value: float | None, interval: Interval | None, *, best: bool, largest: float) -> Cell:
    """A score, its interval, and a bar where `largest`, the largest score of the row, is above 0."""
    if value is None:
        return Cell("")
    note = f"{interval.low:.3f} to {interval.high:.3f}" if interval else ""
    return Cell(shown(value, metric.format), note, best=best, bar=value / largest if largest > 0 else None)


def _difference_cell(values: Sequence[float | None], interval: Interval | None) -> Cell:
    first, second = values
    if first is None or second is None or interval is None:
        return Cell("")
    return Cell(f"{second - first:+z.3f}", f"{interval.low:+z.3f} to {interval.high:+z.3f}")


def facts_table(runs: Sequence[EvaluatedRun]) -> PageTable:
    """What each run is made of and how it was trained; rows that no run knows are left out."""
    rows = [Row(label, [Cell(fact(run)) for run in runs]) for label, fact in _FACTS.items()]
    rows = [row for row in rows if any(cell.text for cell in row.cells)]
    return PageTable("runs", "Runs", [], [run.name for run in runs], [Group("", rows)])


def _decoder(run: EvaluatedRun) -> str:
    model = run.run.config.model
    units = model.transformer_units if model.decoder == "transformer" else model.gru_units
    layers = f", {model.transformer_layers} layers" if model.decoder == "transformer" else ""
    return f"{model.decoder}, {units:,} units{layers}"


def _encoder(run: EvaluatedRun) -> str:
    model = run.run.config.model
    if model.imports_features:
        return f"features made elsewhere: {_name(run.run.config.data.features)}"
    names = " and ".join(model.encoder_names)
    cut = model.finetune_from or (FAMILIES[names].cut if names in FAMILIES else "its default layer")
    trained = "frozen" if model.variant == "frozen" else f"trained beyond {cut}"
    return f"{names}, {trained}{f'; weights: {_name(model.weights)}' if model.weights else ''}"


def _objective(run: EvaluatedRun) -> str:
    train = run.run.config.train
    goal = "cross entropy" if train.objective == "cross_entropy" else "CIDEr-D (SCST)"
    return f"{goal}, from {_name(train.start_from)}" if train.start_from else goal


def _training_data(run: EvaluatedRun) -> str:
    split = run.run.info.splits.get("train")
    return f"{split.photos:,} photos, {split.captions:,} captions" if split else ""


def _epochs(run: EvaluatedRun) -> str:
    if run.kept_epoch is None:
        return ""
    metric = run.run.config.train.early_stopping_metric
    return f"{run.epochs[-1]['epoch']}; the kept one, by {metric}: {run.kept_epoch}"


def _minutes(run: EvaluatedRun) -> str:
    seconds = sum(line.get("train_seconds", 0) + line.get("dev_seconds", 0) for line in run.epochs)
    return f"{seconds / 60:,.1f} minutes" if seconds else ""


def _command(run: EvaluatedRun) -> str:
    try:
        words = shlex.split(run.about.command)
    except ValueError:
        return ""
    return shlex.join([_without_folders(word) for word in words])


def _without_folders(word: str) -> str:
    """A word of a command without the folders of an absolute path, which say nothing to its reader."""
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{_name(value)}" if value.startswith("/") else word


def _name(path: str | None) -> str:
    """A path without its folders."""
    return PurePath(path).name if path else ""


_FACTS: Mapping[str, Callable[[EvaluatedRun], str]] = {
    "decoder": _decoder,
    "encoder": _encoder,
    "features": lambda run: run.about.features,
    "word vectors": lambda run: _name(run.run.config.model.glove),
    "objective": _objective,
    "training data": _training_data,
    "vocabulary": lambda run: f"{len(run.run.vocabulary.words):,} tokens",
    "global batch": lambda run: f"{run.run.config.data.batch_size_photos:,} photos",
    "epochs": _epochs,
    "training time": _minutes,
    "device": lambda run: run.about.device,
    "precision": lambda run: run.about.precision,
    "trained on": lambda run: run.about.started,
    "versions": lambda run: ", ".join(
        f"{name} {version}" for name in ("tfcaption", "tensorflow", "python") if (version := getattr(run.about, name))
    ),
    "command": _command,
    "search": lambda run: run.search,
}


def config_table(runs: Sequence[EvaluatedRun]) -> PageTable:
    """The fields of the configs in which the runs differ; paths without their folders."""
    rows = [
        Row(f"{section}.{field}", [Cell(_without_folders(value)) for value in values])
        for section in ("data", "model", "train")
        for field in type(getattr(runs[0].run.config, section)).model_fields
        if len(set(values := [_field(run.run.config, section, field) for run in runs])) > 1
    ]
    note = "The config fields with different values." if rows else "None: all config fields have equal values."
    columns = [run.name for run in runs] if rows else []
    return PageTable("differences", "Config differences", [note], columns, [Group("", rows)])


def _field(config: Config, section: str, field: str) -> str:
    value = getattr(getattr(config, section), field)
    return "" if value is None else str(value)


def frequent_trigrams(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[Phrases]:
    """The most frequent trigrams of each run and of the references."""
    tokenize = runs[0].tokenizer.tokenize
    found = [
        Phrases(run.name, index, trigram_shares(run_captions(run, ids), tokenize)[:FREQUENT_TRIGRAMS])
        for index, run in enumerate(runs)
    ]
    references = trigram_shares(all_references(runs[0], ids), tokenize)[:FREQUENT_TRIGRAMS]
    return [*found, Phrases("references", None, references)]


def trigram_shares(captions: Sequence[str], tokenize: Tokenize) -> list[tuple[str, float]]:
    """Trigrams with the share of captions that contain them, the most frequent first."""
    distinct = (set(ngrams(tokenize(caption))) for caption in captions)
    counts = Counter(ngram for found in distinct for ngram in found if len(ngram) == 3)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(" ".join(map(str, trigram)), count / len(captions)) for trigram, count in ordered]
