"""Writes the report: reads runs, chooses photos, makes tables and figures, renders the page."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption.evaluation.scores import METRICS
from tfcaption.metrics.tokens import ngrams, score_tokens
from tfcaption.records.captions import WordAttention
from tfcaption.records.display import display_text
from tfcaption.reporting.data import (
    EvaluatedRun,
    all_references,
    common_photos,
    photo_scores,
    read_photos,
    read_runs,
    run_captions,
)
from tfcaption.reporting.figures import caption_figures, training_figures
from tfcaption.reporting.page import Cell, Page, PageCaption, PagePhoto, PageTable, Row, Section, render
from tfcaption.runtime.paths import as_path

PAGE_FILE = "report.html"
PHOTO_SIZE = 224  # pixels
FREQUENT_TRIGRAMS = 10
SECTIONS = {"best": "Best photos", "random": "Random photos", "worst": "Worst photos"}
SCORE = (
    "A caption's score is its ROUGE-L against all references of the photo; a photo's score is the mean over the runs. "
    "Best and worst photos are those of the whole split; random photos are sampled from the rest."
)


def write_report(
    paths: Sequence[Path],
    *,
    split: str | None = None,
    photo_count: int = 60,
    output: Path | None = None,
    records: Path | None = None,
) -> Path:
    """Write the page and its figures.

    Args:
        paths: run directories, each evaluated on the split.
        split: train, dev or test; None: the first of dev, test and train on which all runs were evaluated.
        photo_count: number of photos to show, a third each of the best, random and worst ones.
        output: folder to write to; None: `report` beside the first run.
        records: the records, if they moved since the training run.

    Returns:
        The page's path.

    Raises:
        RunError: a directory is not a run, was not evaluated, or has no photo in common with the others.
        RecordError: the records are missing or damaged, or lack some of the photos.
    """
    split, runs = read_runs(paths, split)
    ids = common_photos(runs)
    scores = photo_scores(runs, ids)
    chosen = choose_photos(scores.mean(axis=1), photo_count)
    records = records or as_path(runs[0].run.config.data.records)
    chosen_ids = {ids[index] for indices in chosen.values() for index in indices}
    jpegs = read_photos(chosen_ids, records, split, size=PHOTO_SIZE)
    names = [run.name for run in runs]
    page = Page(
        title=f"{' and '.join(names)} on {len(ids):,} photos of the {split} split",
        notes=_notes(runs, ids),
        tables=_tables(runs, ids),
        figures=training_figures(runs) + caption_figures(runs, ids, scores),
        score=SCORE,
        runs=names,
        sections=[
            Section(
                section,
                heading,
                [_photo(runs, ids[index], jpegs[ids[index]], scores[index]) for index in chosen[section]],
            )
            for section, heading in SECTIONS.items()
        ],
    )
    folder = output or paths[0].parent / "report"
    folder.mkdir(parents=True, exist_ok=True)
    for figure in page.figures:
        (folder / f"{figure.name}.png").write_bytes(figure.png)
    (folder / PAGE_FILE).write_text(render(page), encoding="utf-8")
    return folder / PAGE_FILE


def choose_photos(scores: np.ndarray, count: int) -> dict[str, list[int]]:
    """The best, random and worst photos, a third each, no photo twice.

    Args:
        scores: (photos,) score of each photo.
        count: how many photos to choose; all where there are fewer.

    Returns:
        best, random and worst -> indices of photos; the best from the top down, the worst from the bottom up.
    """
    count = min(count, len(scores))
    order = np.argsort(-scores, kind="stable").tolist()
    third = count // 3
    rest = order[third : len(order) - third]
    return {
        "best": order[:third],
        "random": random.Random(0).sample(rest, count - 2 * third),
        "worst": order[len(order) - third :][::-1],
    }


def _photo(runs: Sequence[EvaluatedRun], photo: str, jpeg: bytes, scores: np.ndarray) -> PagePhoto:
    lines = [run.captions[photo] for run in runs]
    captions = [
        PageCaption(line["caption"], float(score), [WordAttention(**word) for word in line.get("attention", ())])
        for line, score in zip(lines, scores, strict=True)
    ]
    return PagePhoto(photo, jpeg, lines[0]["references"], captions)


def _notes(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[str]:
    """How each run was evaluated, and what limits the comparison."""
    notes = []
    for run in runs:
        checkpoint, protocol = (str(run.scores.get(key, "unknown")) for key in ("checkpoint", "protocol"))
        notes.append(f"{run.name}: checkpoint {Path(checkpoint).name}; {protocol}")
    if any(len(run.captions) > len(ids) for run in runs):
        notes.append(
            "The runs captioned different photos. The scores cover all photos of each run; the rest of this page only "
            f"the {len(ids):,} photos in common."
        )
    return notes


def _tables(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[PageTable]:
    tables = [_score_table(runs)]
    if len(runs) > 1:
        tables.append(_config_table(runs))
    return [*tables, _trigram_table(runs, ids)]


def _score_table(runs: Sequence[EvaluatedRun]) -> PageTable:
    """Metrics as rows; runs, the constant caption and human captions as columns."""
    constant: dict[str, Any] = next((run.scores["constant"] for run in runs if "constant" in run.scores), {})
    notes = ["The best run of each row is underlined."] if len(runs) > 1 else []
    if "caption" in constant:
        notes.append(f'The constant caption, given to every photo, is "{display_text(constant["caption"])}"')
    columns = [(run.name, run.scores) for run in runs]
    for key, name in (("constant", "constant caption"), ("human", "human")):
        columns += [(name, run.scores[key]) for run in runs if key in run.scores][:1]
    rows = []
    for key, metric in METRICS.items():
        values = [run.scores[key] for run in runs if key in run.scores]
        best = metric.best(values) if metric.best and len(values) > 1 else None
        cells = [
            Cell(
                format(scores[key], metric.format) if key in scores else "-",
                best=index < len(runs) and best is not None and scores.get(key) == best,
            )
            for index, (_, scores) in enumerate(columns)
        ]
        if any(key in scores for _, scores in columns):
            rows.append(Row(metric.label, cells))
    return PageTable("Scores", " ".join(notes), [name for name, _ in columns], rows)


def _config_table(runs: Sequence[EvaluatedRun]) -> PageTable:
    rows = [
        Row(f"{section}.{field}", [Cell(value) for value in values])
        for section in ("data", "model", "train")
        for field in type(getattr(runs[0].run.config, section)).model_fields
        if len(set(values := [str(getattr(getattr(run.run.config, section), field)) for run in runs])) > 1
    ]
    note = "The config fields with different values." if rows else "None: all config fields have equal values."
    return PageTable("Config differences", note, [run.name for run in runs] if rows else [], rows)


def _trigram_table(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> PageTable:
    columns = {run.name: _frequent_trigrams(run_captions(run, ids)) for run in runs}
    columns["references"] = _frequent_trigrams(all_references(runs[0], ids))
    rows = [
        Row(str(rank + 1), [Cell(found[rank] if rank < len(found) else "") for found in columns.values()])
        for rank in range(FREQUENT_TRIGRAMS)
    ]
    note = "The share of captions (or references) that contain each trigram."
    return PageTable("Most frequent trigrams", note, list(columns), rows)


def _frequent_trigrams(captions: Sequence[str]) -> list[str]:
    """Trigrams with the share of captions that contain them, the most frequent first."""
    distinct = (set(ngrams(score_tokens(caption))) for caption in captions)
    counts = Counter(ngram for found in distinct for ngram in found if len(ngram) == 3)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:FREQUENT_TRIGRAMS]
    return [f"{' '.join(trigram)} {count / len(captions):.1%}" for trigram, count in ordered]
