"""Captions as people read them: punctuation beside its word, lines of a width."""

import re
from collections.abc import Callable

# Data sets write "a dog runs , then sits ." and "the dog 's toy", with a space before each mark and clitic.
_SPACE_BEFORE = re.compile(r"\s+(?=(?:[.,;:!?)\]…]+|'(?:s|m|d|re|ve|ll)|n't)(?:\s|$))", re.IGNORECASE)
_SPACE_AFTER = re.compile(r"(?<=[(\[])\s+")
CUT = "…"


def display_text(caption: str) -> str:
    """A caption with its punctuation beside the words: "a dog 's toy , red ." -> "a dog's toy, red."."""
    return _SPACE_AFTER.sub("", _SPACE_BEFORE.sub("", caption)).strip(" ")


def wrapped_lines(text: str, width: float, length: Callable[[str], float], *, most: int | None = None) -> list[str]:
    """The lines of a text, none wider than `width`; a word that is wider is broken.

    Args:
        text: its words are separated by white space.
        width: of a line, in the unit of `length`.
        length: measures a text, such as a font's `getlength` in pixels.
        most: lines; the last one ends with `…` where the text is cut. None: as many as it takes.

    Returns:
        At least one line, which may be empty.
    """
    lines, line = [], ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if length(joined) <= width:
            line = joined
            continue
        if length(word) > width:
            word = joined  # broken anyway, as all text of a script without spaces is
        elif line:
            lines.append(line)
        while length(word) > width and len(word) > 1:
            end = _longest_start(word, width, length)
            lines.append(word[:end])
            word = word[end:]
        line = word
    lines.append(line)
    if most is None or len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and length(last + CUT) > width:
        last = last[:-1].rstrip()
    return [*lines[: most - 1], last + CUT]


def _longest_start(word: str, width: float, length: Callable[[str], float]) -> int:
    """How many characters of a word fit, at least 1; steps are doubled, then halved, since a word may be very long."""
    end = step = 1
    while length(word[: end + step]) <= width:
        end, step = end + step, 2 * step
    while step := step // 2:
        if length(word[: end + step]) <= width:
            end += step
    return end
