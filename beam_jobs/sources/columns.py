"""Which columns of a table, or keys of a JSON object, hold captions and splits."""

import re
from collections.abc import Mapping
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
    for name in (given,) if given else CAPTION_COLUMNS:
        if given and given in row:
            return [given]
        numbered = re.compile(rf"{re.escape(name)}(?:[ _.-]?\d+)?", 0 if given else re.IGNORECASE)
        if columns := [column for column in row if numbered.fullmatch(str(column).strip())]:
            return columns
    return []


def split_column(row: Mapping[str, Any]) -> str | None:
    """The column of splits: the first one in use that names a split in a row, else the first one that is not empty."""
    columns = [column for key in _SPLIT_KEYS for column in row if column_key(column) == key and row[column]]
    return next((column for column in columns if named_split(str(row[column]))), next(iter(columns), None))
