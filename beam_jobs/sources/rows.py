"""Captions of rows: those of tables, of JSON objects and of Parquet files alike."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Location
from beam_jobs.sources.columns import caption_columns, has_value, split_column, value_of
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.photo_names import PHOTO_COLUMNS, usual_column

Row = Mapping[str, Any]


class PhotoInRow(NamedTuple):
    """A photo that a row holds: the value of its column."""

    path: str  # see `Source.names_are_paths`
    location: Location


def row_captions(
    path: Path, rows: Iterable[tuple[str, Row]], listing: Listing, columns: Columns, *, example: Row | None = None
) -> Iterator[CaptionLine]:
    """The captions of the rows of one file.

    Args:
        path: of the file; in messages, and what may say the split.
        rows: where each is, as messages say it, and its values by the names of columns. Each counts as a caption
            already.
        listing: gets rows without a photo or a caption, and counts those with several captions.
        columns: names that the user gives; dots lead to nested values, see `value_of`.
        example: a row that has all columns; None: the first of `rows`, which must be the first of the file.

    Raises:
        SourceError: the example has no column for the photo or the captions.
    """
    keys = None if example is None else find_columns(path, example, columns)
    for where, row in rows:
        if keys is None:
            keys = find_columns(path, row, columns)
        photo_key, caption_keys = keys[0], caption_columns(row, columns.caption) or keys[1]
        value = value_of(row, photo_key)
        photo, problem = _photo_name(value)
        cells: list[Any] = [value_of(row, key) for key in caption_keys]
        cells = [cell for cell in cells if cell not in (None, "")] or cells[:1]
        if problem or photo is None or cells == [None]:
            detail = f"{photo_key} {problem}" if problem else f"lacks {photo_key} or {caption_keys[0]}"
            listing.reject("caption", where, "malformed line", detail)
            continue
        listing.captions_in += len(cells) - 1
        column = columns.split or split_column(row) or "split"
        for cell in cells:
            line = CaptionLine(where, photo, cell, value_of(row, column), None, path, column)
            yield line._replace(location=value.location) if isinstance(value, PhotoInRow) else line


def _photo_name(value: Any) -> tuple[str | None, str]:
    """The name of a photo in a row's value, and what is wrong with it; the value may be a list or object with one."""
    if isinstance(value, PhotoInRow):
        return value.path, ""
    if isinstance(value, list | tuple):
        if len(value) > 1:
            return None, f"names {len(value):,} photos"
        value = value[0] if value else None
    if isinstance(value, dict):
        key = usual_column(value, PHOTO_COLUMNS)
        value = value[key] if key else None
    return (None if value is None else str(value)), ""


def find_columns(path: Path, row: Row, columns: Columns) -> tuple[str, list[str]]:
    """Names of the columns of the photo and of the captions.

    Raises:
        SourceError: the row lacks one, or one that the user names.
    """
    photo = usual_column(row, PHOTO_COLUMNS) if columns.photo is None else columns.photo
    captions = caption_columns(row, columns.caption)
    has_photo = photo is not None and has_value(row, photo)
    if photo is not None and has_photo and captions and (columns.split is None or has_value(row, columns.split)):
        return photo, captions
    if any(map(is_photo_name, map(str, row))):
        raise SourceError(
            f"{path}: no header? The first row was read as names of columns: {', '.join(map(str, row))}; write a first "
            "line such as image,caption, with the delimiter of the table"
        )
    lacking = "photo" if not has_photo else "split" if captions else "caption"
    cure = ", or move the file if it holds no captions" if lacking == "caption" else ""
    names = _names(row)
    dots = " (dots lead to nested values)" if any("." in name for name in names) else ""
    raise SourceError(
        f"{path}: no column {getattr(columns, lacking) or f'for the {lacking}'}; it has {', '.join(names)}; "
        f"name them with --columns PHOTO CAPTION [SPLIT]{dots}{cure}"
    )


def _names(row: Row) -> list[str]:
    """The names of a row's columns; of those with objects the names in them, as `value_of` takes them."""
    names = []
    for name, value in row.items():
        inner = next(iter(value), None) if isinstance(value, list | tuple) else value
        below = [f"{name}.{key}" for key in inner] if isinstance(inner, dict) else []
        names += below or [str(name)]
    return names
