"""Renders the HTML of a report: one page that contains its figures, photos, styles and script, and needs no network."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from tfcaption.records.captions import WordAttention
from tfcaption.records.display import display_text
from tfcaption.reporting.plots import COLOURS, Figure

TEMPLATE = "report.html.jinja"
_DARK_COLOURS = ("#4db2ec", "#ff8a3d", "#2fd0a0", "#f0a3cf", "#ffc247", "#9bd8ff", "#d0aa4a", "#b794f0")  # of COLOURS
_MAX_OPACITY = 190  # of 255, over regions without attention


class Mark(NamedTuple):
    """A point on the scale of a headline."""

    label: str
    text: str  # its value
    place: float  # from 0 (left end) to 1
    run: int | None = None  # None: the constant caption or people


class Headline(NamedTuple):
    """One score in large figures, with the runs between the constant caption and people."""

    label: str
    meaning: str
    values: list[str]  # one per run
    marks: list[Mark]  # empty: there is nothing to compare with


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    note: str = ""  # below the text, small
    best: bool = False  # of its row
    bar: float | None = None  # from 0 to 1: a hairline below the text


class Row(NamedTuple):
    """One row of a table."""

    label: str
    cells: list[Cell]  # one per column
    meaning: str = ""  # below the label, small
    direction: str = ""  # which values are better


class Group(NamedTuple):
    """Rows under one heading."""

    heading: str  # empty: the only group
    rows: list[Row]


class PageTable(NamedTuple):
    """A table with its heading and notes."""

    id: str
    heading: str
    notes: list[str]
    columns: list[str]  # without the column of labels
    groups: list[Group]


class Phrases(NamedTuple):
    """Frequent phrases of one run, or of the references."""

    label: str
    run: int | None
    shares: list[tuple[str, float]]  # phrase -> share of captions, the most frequent first


class PageCaption(NamedTuple):
    """The caption of a photo by one run."""

    text: str
    score: float  # from 0 to 1
    rank: float  # share of all captions with at most this score, from 0 to 1
    attention: Sequence[WordAttention] = ()  # empty for a run without attention


class PagePhoto(NamedTuple):
    """A photo with its references and captions."""

    anchor: str  # of its card
    id: str
    jpeg: bytes
    size: tuple[int, int]  # width and height in pixels
    references: list[str]
    captions: list[PageCaption]  # one per run

    @property
    def has_attention(self) -> bool:
        """Whether any of its captions has attention."""
        return any(caption.attention for caption in self.captions)


class Section(NamedTuple):
    """A group of photos under one heading."""

    id: str
    heading: str
    photos: list[PagePhoto]


class Page(NamedTuple):
    """The content of a report, in the order of the page."""

    title: str
    subtitle: str
    verdict: list[str]  # sentences
    headlines: list[Headline]
    examples: list[Section]  # a few of the photos below
    tables: list[PageTable]
    training: list[Figure]
    learning_rate: Figure | None
    captions: list[Figure]
    phrases: list[Phrases]
    score: str  # explains the scores of captions and photos
    runs: list[str]  # their names
    sections: list[Section]
    method: list[str]  # how it was measured


def render(page: Page) -> str:
    """The HTML of a page; the template escapes all text, and only SVG enters as markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"attention_mask": attention_mask, "data_uri": _data_uri, "display": display_text}
    template = environment.get_template(TEMPLATE)
    return template.render(page=page, light_colours=COLOURS, dark_colours=_DARK_COLOURS)


def attention_mask(weights: Sequence[float]) -> bytes:
    """A PNG to lay over a photo, a pixel per region: black, and transparent where attention is highest.

    Args:
        weights: attention of a word to the regions, row by row; a square number of them.
    """
    side = math.isqrt(len(weights))
    attention = np.asarray(weights, np.float64).reshape(side, side)
    opacity = _MAX_OPACITY * (1 - attention / max(attention.max(), 1e-9))
    pixels = np.stack([np.zeros_like(opacity), opacity], -1).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, "LA").save(stream, "PNG")
    return stream.getvalue()


def _data_uri(content: bytes, mime_type: str) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"
