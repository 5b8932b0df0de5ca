"""Draws figures of several runs, each as a PNG and as an SVG that takes its colours from the page around it."""

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

INK = "#1b1b1f"  # of text and axes; `currentColor` in the SVG
# Okabe and Ito's palette, which colour-blind people can tell apart; `var(--run-0)`, `var(--run-1)` ... in the SVG.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f00", "#6a3d9a")
_SIZE_INCHES = (5.2, 3.2)
_DOTS_PER_INCH = 150
_LONGEST_LABEL = 24  # characters, beside a line
_LABEL_HEIGHT = 0.075  # of a line of text, as a share of the axes' height


class Line(NamedTuple):
    """One line of a figure."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    run: int | None = None  # sets the colour; None: that of the text
    dashed: bool = False
    markers: bool = False
    star: int | None = None  # index of the point that gets a star
    faint: bool = False  # thin and translucent, without a label of its own


class Bars(NamedTuple):
    """Filled bars behind the lines, in the colour of the text."""

    label: str
    x: Sequence[float]
    heights: Sequence[float]


class Figure(NamedTuple):
    """A drawn figure."""

    name: str  # of its file
    title: str
    png: bytes  # on white, with its title
    svg: Markup  # an <svg> element for the page, transparent, without title


def draw_lines(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    bars: Bars | None = None,
    integer_x: bool = False,
    y_range: tuple[float, float] | None = None,
    labels_below: bool = False,
) -> Figure:
    """Draw lines into one figure.

    Args:
        name: of its file; also the prefix of all ids in its SVG.
        title: of the figure; drawn into the PNG, and shown by the page beside the SVG.
        x_label: of the axis.
        y_label: of the axis.
        lines: one or more.
        bars: behind the lines.
        integer_x: mark only whole numbers on the x axis.
        y_range: ends of the y axis, where a few values lie far above the others.
        labels_below: lines are labelled at the lower right, which distribution functions leave empty; otherwise each
            at its right end.
    """
    with matplotlib.rc_context(_style(name)):
        canvas = Canvas(figsize=_SIZE_INCHES, layout="constrained")
        axes = canvas.add_subplot(xlabel=x_label, ylabel=y_label)
        if bars:
            axes.bar(bars.x, bars.heights, width=0.9, color=INK, alpha=0.18, linewidth=0)
        for line in lines:
            _draw_line(axes, line)
        if integer_x:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if y_range:
            axes.set_ylim(y_range)
        if labels_below or bars:
            _label_in_corner(axes, [*([(bars.label, INK)] if bars else []), *_labels(lines)], above=bars is not None)
        else:
            _label_ends(axes, lines)
        png, svg = io.BytesIO(), io.StringIO()
        canvas.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        canvas.savefig(png, format="png", dpi=_DOTS_PER_INCH)
    return Figure(name, title, png.getvalue(), _svg_element(svg.getvalue(), name, title))


def _draw_line(axes: Axes, line: Line) -> None:
    colour = _colour(line)
    axes.plot(
        line.x,
        line.y,
        color=colour,
        alpha=0.45 if line.faint else None,
        linestyle="--" if line.dashed else "-",
        linewidth=1.0 if line.faint else 1.8,
        marker="o" if line.markers else None,
        markersize=3.5,
    )
    if line.star is not None:
        axes.plot([line.x[line.star]], [line.y[line.star]], color=colour, marker="*", markersize=13)


def _labels(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(line.label, _colour(line)) for line in lines if not line.faint]


def _label_in_corner(axes: Axes, labels: Sequence[tuple[str, str]], *, above: bool) -> None:
    """Labels in the colours of their lines, one below the other, at the upper or lower right."""
    for index, (label, colour) in enumerate(labels if above else reversed(labels)):
        distance = 0.03 + index * _LABEL_HEIGHT
        axes.text(
            0.98,
            1 - distance if above else distance,
            _shortened(label),
            color=colour,
            ha="right",
            va="top" if above else "bottom",
            transform=axes.transAxes,
        )


def _label_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """The label of each line to the right of its end, moved up or down where labels would overlap."""
    labelled = [line for line in lines if not line.faint and len(line.y)]
    low, high = axes.get_ylim()
    wanted = [float(np.clip((line.y[-1] - low) / ((high - low) or 1), 0, 1)) for line in labelled]
    for line, height in zip(labelled, spread(wanted, _LABEL_HEIGHT), strict=True):
        axes.text(1.015, height, _shortened(line.label), color=_colour(line), va="center", transform=axes.transAxes)


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions at least `gap` apart, in the same order and near the given ones; between 0 and 1 if they fit."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = [positions[index] for index in order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    if moved and moved[-1] > 1:
        moved[-1] = 1.0
        for index in reversed(range(len(moved) - 1)):
            moved[index] = min(moved[index], moved[index + 1] - gap)
    found = dict(zip(order, moved, strict=True))
    return [found[index] for index in range(len(positions))]


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def _colour(line: Line) -> str:
    return INK if line.run is None else run_colour(line.run)


def run_colour(run: int) -> str:
    """The colour of the run with this index; colours repeat after eight runs."""
    return COLOURS[run % len(COLOURS)]


def distribution_line(label: str, values: Sequence[float] | np.ndarray, run: int | None = None) -> Line:
    """The empirical distribution function: x, and the share of values that are at most x."""
    x = np.sort(np.asarray(values, float))
    y = np.arange(1, len(x) + 1) / max(len(x), 1)
    return Line(label, *thinned(x.tolist(), y.tolist()), run)


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
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys((*ink, "grid.color"), INK),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 11,
        "grid.alpha": 0.15,
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
