"""The HTML of a report: one page that holds its figures, photos, styles and script, and needs no network."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfcaption.reporting.plots import COLOURS, Figure

TEMPLATE_FILE = Path(__file__).with_name("report.html.in")
# On a dark page the same hues, lighter.
_DARK_COLOURS = ("#4db2ec", "#ff8a3d", "#2fd0a0", "#f0a3cf", "#ffc247", "#9bd8ff", "#d0aa4a", "#b794f0")
SECTIONS = {"best": "Best photos", "random": "Random photos", "worst": "Worst photos"}


class Caption(NamedTuple):
    """What one run says of a photo."""

    text: str
    score: float  # from 0 to 1
    looked: Sequence[tuple[str, Sequence[float]]] = ()  # words and how each looks at the regions, if it does


class Photo(NamedTuple):
    """A photo of the gallery."""

    id: str
    jpeg: bytes
    references: list[str]
    captions: list[Caption]  # one a run
    section: str  # a key of SECTIONS


class PageTable(NamedTuple):
    """A table whose first column names its rows."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column) of cells to mark, counted from zero


def render(
    *,
    title: str,
    notes: Sequence[str],
    runs: Sequence[str],
    tables: Sequence[tuple[str, str, PageTable]],
    figures: Sequence[Figure],
    photos: Sequence[Photo],
    score: str,
) -> str:
    """The page; all text is escaped.

    Args:
        title: of the page.
        notes: paragraphs below the title.
        runs: their names.
        tables: heading, note below it, and table.
        figures: in the order to show them.
        photos: of the gallery, in the order to show them.
        score: what the score of a caption is, in a sentence.
    """
    template = Template(TEMPLATE_FILE.read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        notes="".join(f"<p>{escape(note)}</p>\n" for note in notes),
        light=_colour_variables(COLOURS),
        dark=_colour_variables(_DARK_COLOURS),
        tables="".join(_table(heading, note, table) for heading, note, table in tables),
        figures="".join(map(_figure, figures)),
        score=escape(score),
        runs="".join(map(_run_box, range(len(runs)), runs)),
        photos="".join(_section(name, runs, [photo for photo in photos if photo.section == name]) for name in SECTIONS),
    )


def _colour_variables(colours: Sequence[str]) -> str:
    return " ".join(f"--run-{index}: {colour};" for index, colour in enumerate(colours))


def _colour(run: int) -> str:
    return f"--run: var(--run-{run % len(COLOURS)})"


def _table(heading: str, note: str, table: PageTable) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    body = ""
    for row, (name, cells) in enumerate(table.rows):
        shown = (
            f"<td><strong>{escape(cell)}</strong></td>" if (row, column) in table.best else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(cells)
        )
        body += f'<tr><th scope="row">{escape(name)}</th>{"".join(shown)}</tr>\n'
    return (
        f"<section>\n<h2>{escape(heading)}</h2>\n<p>{escape(note)}</p>\n"
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(heading)}">'
        f"<table>\n<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n</section>\n"
    )


def _figure(figure: Figure) -> str:
    svg = figure.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.title)}" ', 1)
    return f"<figure>\n<figcaption>{escape(figure.title)}</figcaption>\n{svg}\n</figure>\n"


def _run_box(run: int, name: str) -> str:
    box = f'<input type="checkbox" name="run" value="{run}" checked>'
    return f'<label style="{_colour(run)}">{box}{escape(name)}</label>\n'


def _section(name: str, runs: Sequence[str], photos: Sequence[Photo]) -> str:
    if not photos:
        return ""
    cards = "".join(_card(photo, runs) for photo in photos)
    return (
        f'<section class="group" aria-labelledby="{name}">\n<h3 id="{name}">{SECTIONS[name]} '
        f'<span class="count">({len(photos)})</span></h3>\n<div class="photos">\n{cards}</div>\n</section>\n'
    )


def _card(photo: Photo, runs: Sequence[str]) -> str:
    data = base64.b64encode(photo.jpeg).decode()
    captions = "".join(
        f'<p class="caption" data-run="{index}" data-score="{caption.score:.4f}" '
        f'style="{_colour(index)}; --score: {caption.score:.0%}"><span class="score">{caption.score:.2f}</span> '
        f'<span class="run">{escape(runs[index])}</span><br><span class="text">{escape(caption.text)}</span></p>\n'
        f"{_looked(caption.looked, index, runs[index])}"
        for index, caption in enumerate(photo.captions)
    )
    references = "".join(f"<li>{escape(reference)}</li>" for reference in photo.references)
    # A reference describes the photo; what a run says of it may be wrong.
    looks = any(caption.looked for caption in photo.captions)
    style = f' style="--photo: url(data:image/jpeg;base64,{data})"' if looks else ""
    return (
        f'<article class="photo" data-id="{escape(photo.id)}"{style}>\n'
        f'<img src="data:image/jpeg;base64,{data}" alt="{escape(photo.references[0])}" width="224" height="224">\n'
        f'{captions}<ul class="references" aria-label="references">{references}</ul>\n'
        f'<p class="id">{escape(photo.id)}</p>\n</article>\n'
    )


def _looked(looked: Sequence[tuple[str, Sequence[float]]], run: int, name: str) -> str:
    """The photo once for each word, dark where the run did not look for it."""
    if not looked:
        return ""
    words = "".join(
        f'<li><img src="data:image/png;base64,{base64.b64encode(shade(weights)).decode()}" alt="">{escape(word)}</li>'
        for word, weights in looked
    )
    return (
        f'<details class="looked" data-run="{run}"><summary>where {escape(name)} looked</summary>'
        f"<ol>{words}</ol></details>\n"
    )


DARKEST = 190  # of 255, where it did not look at all


def shade(weights: Sequence[float]) -> bytes:
    """A PNG to lay over a photo: black, transparent where a word looked most, a pixel a region.

    Args:
        weights: of the regions, row by row; a square number of them.
    """
    side = math.isqrt(len(weights))
    values = np.asarray(weights, np.float64).reshape(side, side)
    opacity = DARKEST * (1 - values / max(values.max(), 1e-9))
    pixels = np.stack([np.zeros_like(opacity), opacity], -1).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, "LA").save(stream, "PNG")
    return stream.getvalue()
