"""`Caption`: what a captioner says of a photo, and how a notebook shows it."""

import base64
import html
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tfcaption.api.photos import Photo, opened
from tfcaption.preprocessing.photos import to_rgb
from tfcaption.records.captions import Hypothesis, PhotoCaptions, grid_side

WIDTH = 360  # pixels of the photo in a notebook
MAP_WIDTH = 120  # pixels of a heat map
NO_GRID = "attention to regions that form no grid, so it is not drawn over the photo"


@dataclass(frozen=True, eq=False)
class WordAttention:
    """The attention of the captioner for one word of its best caption.

    Attributes:
        word: the word.
        weights: (rows, columns) float32 over the photo's regions, from the top left; (regions,) without a grid.
            Their sum is about 1, and less where a word takes the model's sentinel (`model.attention_sentinel`).
    """

    word: str
    weights: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Caption:
    """The captions of one photo; `str` gives the best one, and a notebook shows the photo with it.

    Attributes:
        text: the best caption.
        score: its length-normalised log-probability, at most 0; closer to 0 is more probable.
        nbest: up to `nbest` captions with their scores, best first.
        attention: of each word of `text`; None where it was not asked for, or the decoder has none.
    """

    text: str
    score: float
    nbest: tuple[Hypothesis, ...]
    attention: tuple[WordAttention, ...] | None = field(default=None, compare=False)
    photo: Photo = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def show(self) -> None:
        """Show the photo with its caption: in a notebook below the cell, otherwise in the system's picture viewer."""
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            get_ipython = None
        if get_ipython is not None and get_ipython() is not None:
            display(self)
            return
        # Here, so that a caption on a server needs no fonts.
        from tfcaption.preprocessing.captioned_picture import draw_caption

        draw_caption(to_rgb(opened(self.photo).copy()), self.text).show()

    def _repr_html_(self) -> str:
        """The photo, its captions and, for attention to a grid, a heat map for each word; as HTML for notebooks."""
        photo = to_rgb(opened(self.photo).copy())
        photo.thumbnail((WIDTH, WIDTH))
        others = "".join(
            f"<li>{html.escape(hypothesis.caption)} <small>{hypothesis.score:.2f}</small></li>"
            for hypothesis in self.nbest[1:]
        )
        maps = "".join(
            "<figure style='display:inline-block;margin:4px;text-align:center'>"
            f"{_image_tag(_heat_map(photo, each.weights), each.word)}"
            f"<figcaption>{html.escape(each.word)}</figcaption></figure>"
            for each in self.attention or ()
            if each.weights.ndim == 2
        )
        if self.attention and not maps:
            maps = f"<p><small>{NO_GRID}</small></p>"
        return (
            f"<div>{_image_tag(photo, self.text)}<p><b>{html.escape(self.text)}</b> <small>{self.score:.2f}</small></p>"
            f"{f'<ol start=2>{others}</ol>' if others else ''}{maps}</div>"
        )


def caption_of(captions: PhotoCaptions, photo: Photo, *, nbest: int) -> Caption:
    """The `Caption` of a photo, from what a captioner returns."""
    attention = tuple(WordAttention(each.word, _grid(each.weights)) for each in captions.attention)
    best = captions.nbest[0]
    return Caption(best.caption, best.score, captions.nbest[:nbest], attention or None, photo)


def _grid(weights: list[float]) -> np.ndarray[Any, Any]:
    """Weights of regions, row by row -> (rows, columns), or (regions,) where they form no grid."""
    side = grid_side(len(weights))
    return np.asarray(weights, np.float32).reshape((side, side) if side else -1)


def _heat_map(photo: Image.Image, weights: np.ndarray[Any, Any]) -> Image.Image:
    """A small photo, dark where the attention is low."""
    small = photo.copy()
    small.thumbnail((MAP_WIDTH, MAP_WIDTH))
    levels = (255 * weights / max(float(weights.max()), 1e-9)).astype(np.uint8)
    mask = Image.fromarray(levels).resize(small.size, Image.Resampling.BICUBIC)
    return Image.composite(small, small.point(lambda level: level // 5), mask)


def _image_tag(image: Image.Image, text: str) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    content = base64.b64encode(stream.getvalue()).decode()
    return f"<img src='data:image/jpeg;base64,{content}' alt='{html.escape(text, quote=True)}'>"
