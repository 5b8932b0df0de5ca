"""Draws figures of several runs, each as a PNG and as an SVG that takes its colours from the page around it."""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

INK = "#1b1b1f"  # of text and axes; `currentColor` in the SVG
# Okabe and Ito's palette, which colour-blind people can tell apart; `var(--run-0)`, `var(--run-1)` ... in the SVG.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f00", "#6a3d9a")
_SIZE_INCHES = (5.2, 3.4)
_DOTS_PER_INCH = 150


class Line(NamedTuple):
    """One line of a figure."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    run: int | None = None  # sets the colour; None: that of the text
    dashed: bool = False
    markers: bool = False
    star: int | None = None  # index of the point that gets a star


class Figure(NamedTuple):
    """A drawn figure."""

    name: str  # of its file
    title: str
    png: bytes  # on white
    svg: Markup  # an <svg> element for the page, transparent


def draw_lines(
    name: str, title: str, x_label: str, y_label: str, lines: Sequence[Line], *, integer_x: bool = False
) -> Figure:
    """Draw lines into one figure.

    Args:
        name: of its file; also the prefix of all ids in its SVG.
        title: of the figure; the page shows it beside the figure.
        x_label: of the axis.
        y_label: of the axis.
        lines: one or more.
        integer_x: mark only whole numbers on the x axis.
    """
    with matplotlib.rc_context(_style(name)):
        canvas = Canvas(figsize=_SIZE_INCHES, layout="constrained")
        axes = canvas.add_subplot(xlabel=x_label, ylabel=y_label)
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                # matplotlib omits a label with a leading underscore from the legend.
                label=f" {line.label}" if line.label.startswith("_") else line.label,
                color=INK if line.run is None else run_colour(line.run),
                linestyle="--" if line.dashed else "-",
                linewidth=1.2 if line.dashed else 1.8,
                marker="o" if line.markers else None,
                markersize=3.5,
            )
            if line.star is not None:
                colour = INK if line.run is None else run_colour(line.run)
                axes.plot([line.x[line.star]], [line.y[line.star]], color=colour, marker="*", markersize=13)
        if integer_x:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.legend(loc="outside lower center", ncols=2, fontsize="medium")
        png, svg = io.BytesIO(), io.StringIO()
        canvas.savefig(png, format="png", dpi=_DOTS_PER_INCH)
        canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return Figure(name, title, png.getvalue(), _svg_element(svg.getvalue(), name, title))


def run_colour(run: int) -> str:
    """The colour of the run with this index; colours repeat after eight runs."""
    return COLOURS[run % len(COLOURS)]


def histogram_line(label: str, values: Sequence[float] | np.ndarray, edges: np.ndarray, run: int | None = None) -> Line:
    """The share of values in each bin, as the outline of a histogram.

    Args:
        label: of the line.
        values: any number of them. Values outside the edges count towards the total but are not drawn.
        edges: (bins + 1,) ascending.
        run: sets the colour.
    """
    counts, _ = np.histogram(values, edges)
    shares = counts / max(len(values), 1)
    x, y = np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])
    return Line(label, x.tolist(), y.tolist(), run, dashed=run is None)


def smoothed(x: Sequence[float], y: Sequence[float], points: int = 200) -> tuple[list[float], list[float]]:
    """Means of neighbouring values, so that a long noisy line has at most `points` points."""
    groups = min(points, len(x))
    if not groups:
        return [], []
    means = ([float(part.mean()) for part in np.array_split(np.asarray(values, float), groups)] for values in (x, y))
    return next(means), next(means)


def thinned(x: Sequence[float], y: Sequence[float], points: int = 200) -> tuple[list[float], list[float]]:
    """At most `points` evenly spaced values of a long smooth line, the first and the last included."""
    kept = np.linspace(0, len(x) - 1, min(points, len(x))).round().astype(int)
    return [x[index] for index in kept], [y[index] for index in kept]


def _style(name: str) -> dict[Any, Any]:
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    return {
        **dict.fromkeys(ink, INK),
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 11,
        "grid.alpha": 0.15,
        "legend.frameon": False,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": name,  # equal figures have equal bytes
        "text.parse_math": False,  # a run's name may contain a dollar sign
    }


def _svg_element(svg: str, name: str, title: str) -> Markup:
    """The <svg> element of a drawing: as wide as its container, in the page's colours, its ids unique on the page."""
    element = svg[svg.index("<svg ") :]
    element = re.sub(r"<(metadata|style)\b.*?</\1>", "", element, flags=re.DOTALL)
    element = re.sub(r' (?:width|height)="[\d.]+pt"', "", element, count=2)
    element = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", element)
    element = element.replace(INK, "currentColor")
    for index, colour in enumerate(COLOURS):
        element = element.replace(colour, f"var(--run-{index})")
    start = Markup('<svg role="img" aria-label="{}" ').format(title)
    element = element.strip().replace("<svg ", start, 1)
    # Safe, since matplotlib escapes the text in its SVG.
    return Markup(element)  # nosec B704
