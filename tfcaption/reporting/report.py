"""Writes the report: chooses photos, makes tables and figures, renders the page."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption.evaluation.scores import ROWS
from tfcaption.metrics.tokens import ngrams, score_tokens
from tfcaption.reporting import plots
from tfcaption.reporting.data import Evaluated, captions_by_run, common_photos, photo_scores, read_photos, read_runs
from tfcaption.reporting.figures import caption_figures, history_figures
from tfcaption.reporting.page import Caption, PageTable, Photo, render
from tfcaption.runtime.paths import as_path

PAGE_FILE = "report.html"
PHOTO_SIZE = 224  # pixels
BETTER: dict[str, Callable[..., float]] = {  # which of a metric's values is best; the other metrics have none
    **dict.fromkeys(("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "cosine", "token_accuracy"), max),
    "perplexity": min,
}
SCORE = (
    "The score of a caption is its ROUGE-L against all references of its photo; that of a photo is the mean over the "
    "runs. The best and the worst photos are those of the whole split; random ones are drawn from the rest."
)


def write_report(
    run_paths: Sequence[str | Path],
    *,
    split: str | None = None,
    photo_count: int = 60,
    output: str | Path | None = None,
    records_path: str | None = None,
) -> Path:
    """Write the page and its figures.

    Args:
        run_paths: run directories, each evaluated on the split.
        split: train, dev or test; None: the one that all runs were evaluated on, dev before test before train.
        photo_count: photos to show; a third each are the best, random and the worst.
        output: folder to write to; None: `report` beside the first run.
        records_path: the records, if the data moved since the training.

    Returns:
        The page's path.

    Raises:
        PlotError: there is no matplotlib.
        RunError: a directory is no run, was not evaluated, or has no photo in common with the others.
        RecordError: the records are not there, or have not all the photos.
    """
    plots.require_matplotlib()
    paths = [as_path(path) for path in run_paths]
    split, evaluated = read_runs(paths, split)
    ids = common_photos(evaluated)
    scores = photo_scores(evaluated, ids)
    sections = choose_photos(scores.mean(axis=1), photo_count)
    jpegs = read_photos(
        {ids[row] for row in sections}, records_path or evaluated[0].run.config.data.records, split, size=PHOTO_SIZE
    )
    names = [run.name for run in evaluated]
    figures = history_figures(evaluated) + caption_figures(evaluated, ids, scores)
    page = render(
        title=f"{' and '.join(names)} on {len(ids):,} photos of the {split} split",
        notes=_notes(evaluated, ids),
        runs=names,
        tables=_tables(evaluated, ids),
        figures=figures,
        photos=[
            Photo(
                ids[row],
                jpegs[ids[row]],
                evaluated[0].lines[ids[row]]["references"],
                [_caption(run.lines[ids[row]], scores[row, i]) for i, run in enumerate(evaluated)],
                section,
            )
            for row, section in sections.items()
        ],
        score=SCORE,
    )
    folder = as_path(output or paths[0].parent / "report")
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        (folder / f"{figure.name}.png").write_bytes(figure.png)
    (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    return folder / PAGE_FILE


def _caption(line: dict[str, Any], score: float) -> Caption:
    looked = [(word["word"], word["weights"]) for word in line.get("attention", ())]
    return Caption(line["caption"], score, looked)


def _notes(evaluated: Sequence[Evaluated], ids: Sequence[str]) -> list[str]:
    """How each run was evaluated, and what keeps them from being compared."""
    notes = []
    for run in evaluated:
        checkpoint, protocol = (str(run.scores.get(key, "not said")) for key in ("checkpoint", "protocol"))
        notes.append(f"{run.name}: checkpoint {Path(checkpoint).name}; {protocol}")
    if any(len(run.lines) > len(ids) for run in evaluated):
        notes.append(
            "The runs captioned different photos. Scores are of all that a run captioned, the rest of this page "
            f"of the {len(ids):,} photos in common."
        )
    return notes


def choose_photos(scores: np.ndarray, count: int) -> dict[int, str]:
    """Rows of the best, random and worst photos, a third each, none twice.

    Args:
        scores: (photos,) of each photo.
        count: how many to choose; all where there are fewer.

    Returns:
        row -> best, random or worst; the best first from the top, the worst first from the bottom.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    third = min(count, len(order)) // 3
    rest = order[third : len(order) - third]
    drawn = random.Random(0).sample(rest, min(count, len(order)) - 2 * third)
    worst = order[len(order) - third :][::-1]
    return {
        **dict.fromkeys(order[:third], "best"),
        **dict.fromkeys(drawn, "random"),
        **dict.fromkeys(worst, "worst"),
    }


def _tables(evaluated: Sequence[Evaluated], ids: Sequence[str]) -> list[tuple[str, str, PageTable]]:
    names = [run.name for run in evaluated]
    constant: dict[str, Any] = next((run.scores["constant"] for run in evaluated if "constant" in run.scores), {})
    note = "The best run of each row is underlined." if len(evaluated) > 1 else ""
    if "caption" in constant:
        note += f' The constant caption, given to every photo, is "{constant["caption"]}"'
    tables = [("Scores", note.strip(), _score_table(evaluated))]
    differing = [
        (f"{section}.{field}", values)
        for section in ("data", "model", "train")
        for field in type(getattr(evaluated[0].run.config, section)).model_fields
        if len(set(values := [str(getattr(getattr(run.run.config, section), field)) for run in evaluated])) > 1
    ]
    if len(evaluated) > 1:
        note = "The fields of the config that are not the same." if differing else "None: the configs are the same."
        tables.append(("Differences of the configs", note, PageTable(names if differing else [], differing)))
    frequent = [_frequent_trigrams(captions) for captions in captions_by_run(evaluated, ids).values()]
    rows = [(str(rank), [found[rank - 1] if rank <= len(found) else "" for found in frequent]) for rank in range(1, 11)]
    note = "Share of the captions that hold each; of the references, those of all photos."
    tables.append(("Most frequent trigrams", note, PageTable([*names, "references"], rows)))
    return tables


def _score_table(evaluated: Sequence[Evaluated]) -> PageTable:
    """Metrics as rows; runs, the constant caption and people as columns."""
    columns = [(run.name, run.scores) for run in evaluated]
    for key, name in (("constant", "constant caption"), ("human", "human")):
        columns += [(name, run.scores[key]) for run in evaluated if key in run.scores][:1]
    keys = [key for key in ROWS if any(key in scores for _, scores in columns)]
    rows: list[tuple[str, list[str]]] = []
    best: set[tuple[int, int]] = set()
    for row, key in enumerate(keys):
        label, style = ROWS[key]
        rows.append((label, [format(s[key], style) if key in s else "-" for _, s in columns]))
        values = [run.scores[key] for run in evaluated if key in run.scores]
        if key in BETTER and len(values) > 1:
            winner = BETTER[key](values)
            best |= {(row, column) for column, run in enumerate(evaluated) if run.scores.get(key) == winner}
    return PageTable([name for name, _ in columns], rows, frozenset(best))


def _frequent_trigrams(captions: Sequence[str]) -> list[str]:
    grams = (set(ngrams(score_tokens(caption))) for caption in captions)
    counts = Counter(ngram for found in grams for ngram in found if len(ngram) == 3)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    return [f"{' '.join(trigram)} {count / len(captions):.1%}" for trigram, count in ordered]
