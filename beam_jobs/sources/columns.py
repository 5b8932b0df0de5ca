"""Which columns of a table, or keys of a JSON object, hold captions and splits."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from beam_jobs.sources.splits import named_split
from tfcaption.records.photo_names import CAPTION_COLUMNS, column_key

SPLIT_COLUMNS = ("split", "data_split", "set", "subset", "partition", "fold", "phase", "usage")
_SPLIT_KEYS = tuple(map(column_key, SPLIT_COLUMNS))


def caption_columns(row: Mapping[str, Any], given: str | None = None) -> list[str]:
    """The columns of captions of a row: one, or several with numbers (`caption_0`, `caption_1`, ...); may be empty.

    Args:
        row: of a table, or a JSON object.
        given: name of the column, or what is before the numbers; None: the first one in use.
    """
    return [given] if given and has_value(row, given) else [*_numbered(tuple(row), given)]


@lru_cache  # most rows of a file have the same names
def _numbered(names: tuple[str, ...], given: str | None) -> tuple[str, ...]:
    for name in (given,) if given else CAPTION_COLUMNS:
        numbered = re.compile(rf"{re.escape(name)}(?:[ _.-]?\d+)?", 0 if given else re.IGNORECASE)
        if columns := tuple(column for column in names if numbered.fullmatch(str(column).strip())):
            return columns
    return ()


def split_column(row: Mapping[str, Any]) -> str | None:
    """The column of splits: the first one in use that names a split in a row, else the first one that is not empty."""
    columns = [column for column in _split_columns(tuple(row)) if row[column]]
    return next((column for column in columns if named_split(str(row[column]))), next(iter(columns), None))


@lru_cache
def _split_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for key in _SPLIT_KEYS for name in names if column_key(name) == key)


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column; None if there is none.

    A name with dots leads to a nested value: `image.file_name` is that of the object `image`. Of a list of objects it
    is the list of their values.
    """
    if column in row:
        return row[column]
    first, dot, rest = column.partition(".")
    inner = row.get(first) if dot else None
    if isinstance(inner, dict):
        return value_of(inner, rest)
    if isinstance(inner, list | tuple):
        found = [value_of(each, rest) for each in inner if isinstance(each, dict)]
        return [each for each in found if each is not None] or None
    return None


def has_value(row: Mapping[str, Any], column: str) -> bool:
    """Whether a row has a column, which may be empty, or a nested value of that name."""
    return column in row or value_of(row, column) is not None
