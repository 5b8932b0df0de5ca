"""What counts as one caption: in a cell of a table, in a JSON value, and in the files of one photo."""

import ast
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from beam_jobs.sources.base import CaptionLine, Columns, Listing, decoded_lines
from beam_jobs.sources.columns import caption_columns, split_column
from beam_jobs.sources.pairing import JSON_ENDING
from beam_jobs.sources.text_files import stream_lines
from tfcaption.records.photo_names import CAPTION_COLUMNS, usual_column

_DEEPEST = 3  # lists in lists, and objects in them
_QUOTED = r"""[uU]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_ITEM = rf"(?:{_QUOTED}|None|null|nan)"
_LIST_OF_TEXTS = re.compile(  # as NumPy, Python (lists, tuples, sets) and PostgreSQL write it
    rf"\[\s*(?:{_ITEM}[\s,]*)+\]|\(\s*(?:{_ITEM}\s*,\s*)+(?:{_ITEM}\s*)?\)|\{{\s*{_ITEM}(?:\s*,\s*{_ITEM})*\s*\}}",
    re.DOTALL,
)


def captions_in(value: Any, depth: int = 0) -> list[Any]:
    """The captions of a cell or a JSON value; `caption_problem` says which cannot be used.

    A text is one caption, whatever line breaks it holds, unless it is a list of texts or an object as JSON, Python,
    NumPy or PostgreSQL write it. A list holds captions or lists of them, an object holds them under a usual name
    (`CAPTION_COLUMNS`). An empty list is an empty caption.
    """
    if isinstance(value, str):
        return _written_captions(value.strip()) or [value]
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return [caption for each in value for caption in captions_in(each, depth + 1)] or [""]
    if depth < _DEEPEST and isinstance(value, dict) and (key := usual_column(value, CAPTION_COLUMNS)):
        return captions_in(value[key], depth + 1)
    return [value]


def caption_problem(caption: Any) -> str:
    """Why a caption cannot be used; empty if it can."""
    # JSON may hold numbers, null and lists; of a text with a NUL, TensorFlow reads only what is before it.
    if not isinstance(caption, str) or "\0" in caption:
        return "not text"
    if not any(map(str.isalnum, caption)):
        return "empty caption"
    try:
        caption.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON may hold
        return "not UTF-8"
    return ""


def captions_of_files(files: Sequence[tuple[str, bytes]], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
    """The captions of one photo, without its name, from all its files; one that several files hold counts once.

    A text file that holds nothing but one caption of a JSON file is that caption, whatever line breaks it has.

    Args:
        files: name and content of each: JSON files, and text files with a caption a line.
        listing: counts the captions, and gets the rejections.
        columns: names of the JSON files' fields, where they are unusual.
    """
    rows = [(name, _json_object(name, data, listing)) for name, data in files if _is_json(name)]
    column, split = next(filter(itemgetter(1), (_split(row, columns) for _, row in rows)), ("split", None))
    found = [(f"{name}[{index}]", caption) for name, row in rows for index, caption in _captions(row, columns)]
    broken = [each.split() for _, each in found if isinstance(each, str) and len(each.splitlines()) > 1]
    seen: set[str] = set()
    for name, data in files:
        if _is_json(name):
            continue
        lines = list(decoded_lines(stream_lines(io.BytesIO(data)), name, listing))
        if [word for _, line in lines for word in line.split()] in broken:
            listing.captions_in -= len(lines)
            continue
        again = {number for number, line in lines if _words(line) in seen}
        listing.captions_in -= len(again)
        for number, line in lines:
            if number not in again:
                yield CaptionLine(f"{name}:{number}", "", line, split, column=column)
        seen |= {_words(line) for _, line in lines}
    for where, caption in found:
        if not (isinstance(caption, str) and _words(caption) in seen):
            listing.captions_in += 1
            yield CaptionLine(where, "", caption, split, column=column)


def holds_captions(data: bytes) -> bool:
    """True for a JSON file with captions."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and bool(caption_columns(row))


def _is_json(name: str) -> bool:
    return name.lower().endswith(JSON_ENDING)


def _split(row: dict[str, Any], columns: Columns) -> tuple[str, Any]:
    column = columns.split or split_column(row) or "split"
    return column, row.get(column)


def _captions(row: dict[str, Any], columns: Columns) -> Iterator[tuple[int, Any]]:
    values = [row.get(column) for column in caption_columns(row, columns.caption)]
    return enumerate(caption for value in values if value not in (None, []) for caption in captions_in(value))


def _words(text: str) -> str:
    return " ".join(text.split())


def _written_captions(text: str) -> list[Any]:
    """The captions of a list or object that is written as text; empty if it is not one."""
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return []
    parsed = _parsed(text, json.loads)
    if parsed is None and _LIST_OF_TEXTS.fullmatch(text):  # NumPy writes no commas, and Python would join such texts
        parsed = [_parsed(item, ast.literal_eval) for item in re.findall(_ITEM, text, re.DOTALL)]
    if parsed is None:
        parsed = _parsed(text, ast.literal_eval)
    captions = captions_in(parsed, 1) if isinstance(parsed, list | tuple | dict) and parsed else []
    return captions if any(isinstance(caption, str) for caption in captions) else []


def _parsed(text: str, parse: Callable[[str], Any]) -> Any:
    """What a literal stands for; None if it is not one."""
    with (
        warnings.catch_warnings(action="ignore"),  # of Python about unusual text
        suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError),
    ):
        return parse(text)
    return None


def _json_object(where: str, data: bytes, listing: Listing) -> dict[str, Any]:
    row = None
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        problem = f"not JSON: {error}"
    else:
        problem = f"not a JSON object: {data[:80]!r}"
    if isinstance(row, dict):
        return row
    listing.captions_in += 1
    listing.reject("caption", where, "malformed line", problem)
    return {}
