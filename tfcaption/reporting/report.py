"""Writes the report: reads runs, chooses photos, makes tables and figures, renders the page."""

import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tfcaption.metrics.bootstrap import Interval, PhotoScores, difference_intervals, draw_photos, intervals
from tfcaption.records.captions import WordAttention
from tfcaption.reporting.data import EvaluatedRun, common_photos, photo_scores, read_photos, read_runs
from tfcaption.reporting.figures import caption_figures, learning_rate_figure, training_figures
from tfcaption.reporting.page import Page, PageCaption, PagePhoto, Section, render
from tfcaption.reporting.summary import headlines, verdict
from tfcaption.reporting.tables import config_table, facts_table, frequent_trigrams, score_table
from tfcaption.runtime.paths import as_path

PAGE_FILE = "report.html"
PHOTO_SIZE = 320  # pixels
SECTIONS = {"best": "Best photos", "random": "Random photos", "worst": "Worst photos"}
EXAMPLES = {"best": "Described well", "worst": "Described badly"}
EXAMPLE_PHOTOS = 3  # of each
SCORE = (
    "A caption's score is its ROUGE-L against all references of the photo, from 0 to 1. Its stripe shows where it lies "
    "among all captions of the split. A photo's score is the mean over the runs. Best and worst photos are those of "
    "the whole split; random photos are drawn from the rest."
)


def write_report(
    paths: Sequence[Path],
    *,
    photo_count: int,
    split: str | None = None,
    output: Path | None = None,
    records: Path | None = None,
    images: Path | None = None,
) -> Path:
    """Write the page and its figures.

    Args:
        paths: run directories, each evaluated on the split.
        photo_count: number of photos to show, a third each of the best, random and worst ones.
        split: train, dev or test; None: the first of dev, test and train on which all runs were evaluated.
        output: folder to write to; None: `report` beside the first run.
        records: the records, if they moved since the training run.
        images: folder of the photos that the records were made of, to show them in their own shape.

    Returns:
        The page's path.

    Raises:
        RunError: a directory is not a run, was not evaluated, or has no photo in common with the others.
        RecordError: the records are missing or damaged, or lack some of the photos.
    """
    split, runs = read_runs(paths, split)
    ids = common_photos(runs)
    of_photos = photo_scores(runs, ids)
    scores = np.stack([each.rouge_l for each in of_photos], axis=1)
    chosen = choose_photos(scores.mean(axis=1), photo_count)
    records = records or as_path(runs[0].run.config.data.records)
    chosen_ids = {ids[index] for indices in chosen.values() for index in indices}
    jpegs = read_photos(chosen_ids, records, split, size=PHOTO_SIZE, images=images)
    sections = [
        Section(section, heading, [_photo(runs, ids, index, jpegs[ids[index]], scores) for index in chosen[section]])
        for section, heading in SECTIONS.items()
    ]
    of_runs, difference = score_intervals(runs, of_photos)
    names = [run.name for run in runs]
    page = Page(
        title=" and ".join(filter(None, (", ".join(names[:-1]), names[-1]))),
        subtitle=f"{len(ids):,} photos of the {split} split, which training has not seen"
        if split != "train"
        else f"{len(ids):,} photos of the train split",
        verdict=verdict(runs, of_runs, difference),
        headlines=headlines(runs),
        examples=[
            Section(f"example-{section.id}", EXAMPLES[section.id], section.photos[:EXAMPLE_PHOTOS])
            for section in sections
            if section.id in EXAMPLES and section.photos
        ],
        tables=[
            score_table(runs, of_runs, difference),
            facts_table(runs),
            *([config_table(runs)] if len(runs) > 1 else []),
        ],
        training=training_figures(runs),
        learning_rate=learning_rate_figure(runs),
        captions=caption_figures(runs, ids, scores),
        phrases=frequent_trigrams(runs, ids),
        score=SCORE,
        runs=names,
        sections=sections,
        method=_method(runs, ids),
    )
    folder = output or paths[0].parent / "report"
    folder.mkdir(parents=True, exist_ok=True)
    for figure in (*page.training, *page.captions, *([page.learning_rate] if page.learning_rate else [])):
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


def _photo(runs: Sequence[EvaluatedRun], ids: Sequence[str], index: int, jpeg: bytes, scores: np.ndarray) -> PagePhoto:
    lines = [run.captions[ids[index]] for run in runs]
    captions = [
        PageCaption(
            line["caption"],
            float(score),
            float((scores <= score).mean()),
            [WordAttention(**word) for word in line.get("attention", ())] if run.attends_to_grid else [],
        )
        for run, line, score in zip(runs, lines, scores[index], strict=True)
    ]
    with Image.open(io.BytesIO(jpeg)) as image:
        size = image.size
    return PagePhoto(f"photo-{index}", ids[index], jpeg, size, lines[0]["references"], captions)


def score_intervals(
    runs: Sequence[EvaluatedRun], of_photos: Sequence[PhotoScores]
) -> tuple[list[dict[str, Interval]], Mapping[str, Interval]]:
    """The intervals of each run's scores and, for two runs, of their difference; none where the photos differ."""
    photos = len(of_photos[0].rouge_l)
    if photos < 2 or any(len(run.captions) != photos for run in runs):
        return [{} for _ in runs], {}
    counts = draw_photos(photos)
    drawn = [each.drawn(counts) for each in of_photos]
    return [intervals(each) for each in drawn], difference_intervals(drawn[1], drawn[0]) if len(drawn) == 2 else {}


def _method(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[str]:
    """How each run was evaluated, and what limits the comparison."""
    notes = [f"{run.name}: {run.evaluated}." for run in runs]
    notes += [
        f"{run.name} attends to regions that form no grid, so its attention is not drawn over the photos."
        for run in runs
        if run.attends and not run.attends_to_grid
    ]
    if any(len(run.captions) > len(ids) for run in runs):
        notes.append(
            "The runs captioned different photos. The scores cover all photos of each run; the rest of this page only "
            f"the {len(ids):,} photos in common."
        )
    return notes
