"""Parquet files as a caption layout: a photo or a caption a row, the photos' bytes or paths in a column."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import types

from beam_jobs.errors import SourceError
from beam_jobs.execution.rejections import NOT_DOWNLOADED
from beam_jobs.sources.base import CaptionLine, Columns, DividedSource, Listing, visible_files
from beam_jobs.sources.columns import SPLIT_COLUMNS, value_of
from beam_jobs.sources.parquet_file import opened_parquet
from beam_jobs.sources.rows import PhotoInRow, Row, find_columns, row_captions
from beam_jobs.sources.text_files import Span
from tfcaption.records.photo_names import PHOTO_COLUMNS, column_key, usual_column

_ROWS_AT_ONCE = 32
_BYTES_COLUMNS = (*PHOTO_COLUMNS, "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "img")
# Of the name of a photo whose bytes come without one. Not `id`, which may be that of a caption.
_NAME_COLUMNS = ("file_name", "image_name", "image_path", "file_path", "key", "image_id", "img_id", "cocoid")
_STATUS_COLUMNS = ("status", "error_message")  # of img2dataset, for each photo that it was to download
_ADDRESS_COLUMNS = ("url", "image_url", "coco_url", "flickr_url")


class Parquet(DividedSource):
    """Parquet files as Hugging Face's `datasets`, img2dataset or pandas write them, in a folder or below it.

    A photo whose bytes are in the file is its name and its content: rows with both equal are captions of one photo.
    """

    name, names_are_paths = "parquet", True
    layout = "a .parquet file or a folder of them, with columns such as image (bytes or a path) and caption"
    divided_by_lines = False

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return visible_files(captions, lambda path: path.suffix.lower() == ".parquet", below=True)

    def can_be_divided(self, file: Path) -> bool:
        """See `Source.can_be_divided`: a row group belongs to the span in which it begins."""
        return True

    def read_span(self, file: Path, span: Span, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read_span`; photos in the file are copied, since they cannot be read in place."""
        with opened_parquet(file, cure="get it again") as table:
            found = _find_columns(file, table.schema_arrow, columns)
            rows = _rows(file, table, span, found, listing)
            yield from row_captions(file, rows, listing, found.given, example=found.example)

    def holds_photos(self, files: Sequence[Path]) -> bool:
        """See `Source.holds_photos`."""
        with opened_parquet(files[0], cure="get it again") as table:
            return any(_holds_bytes(field.type) for field in table.schema_arrow)

    def photo_files(self, images: Path) -> list[Path]:
        """See `Source.photo_files`: none, since `read_span` finds the photos."""
        return []


class _Columns(NamedTuple):
    """The columns of a file."""

    given: Columns  # with that of the photo
    name: str | None  # of the photo's name, if its bytes come without one
    status: tuple[str | None, ...]  # see `_STATUS_COLUMNS`
    read: list[str]  # all that are needed
    example: Row  # see `row_captions`


def _find_columns(path: Path, schema: Any, given: Columns) -> _Columns:
    """The columns to read.

    Raises:
        SourceError: there is none for the photo or the captions.
    """
    names, row = list(schema.names), {field.name: _example(field.type) for field in schema}
    with_bytes = [field.name for field in schema if _holds_bytes(field.type)]
    only = with_bytes[0] if len(with_bytes) == 1 else None
    photo = given.photo or usual_column(with_bytes, _BYTES_COLUMNS) or only or usual_column(names, PHOTO_COLUMNS)
    if photo is None and (address := usual_column(names, _ADDRESS_COLUMNS)):
        raise SourceError(
            f"{path}: has addresses of photos ({address}), not photos; download them, for example by img2dataset "
            f"--url_list {path} --input_format parquet --url_col {address} --output_format webdataset --output_folder "
            "DIR, and name that folder"
        )
    columns = given._replace(photo=photo)
    photo, captions = find_columns(path, row, columns)
    splits = [name for name in names if column_key(name) in map(column_key, SPLIT_COLUMNS)]
    name = usual_column([name for name in names if name != photo], _NAME_COLUMNS)
    status = tuple(usual_column(names, [each]) for each in _STATUS_COLUMNS)
    needed = {photo, *captions, *splits, name, *status, given.split} - {None}
    top = {name if name in names else name.partition(".")[0] for name in needed if name}
    return _Columns(columns, name, status, [each for each in names if each in top], row)


def _rows(path: Path, table: Any, span: Span, found: _Columns, listing: Listing) -> Iterator[tuple[str, Row]]:
    """The rows of the row groups that begin in a span, and where each is."""
    groups, first, number = [], None, 0
    for index in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(index)
        if span.start <= _begin(group) and (span.end is None or _begin(group) < span.end):
            groups.append(index)
            first = number if first is None else first
        number += group.num_rows
    number = first or 0
    for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=found.read) if groups else ():
        for row in batch.to_pylist():
            listing.captions_in += 1
            where, number = f"{path.name}[{number}]", number + 1
            photo = _photo(path, row, found, listing)
            status = [row[name] for name in found.status if name and row[name] is not None]
            if photo is None and status:
                listing.reject("caption", where, NOT_DOWNLOADED, ": ".join(map(str, status)))
            else:
                yield where, {**row, found.given.photo or "": photo}


def _begin(group: Any) -> int:
    """The byte at which a row group begins."""
    column = group.column(0)
    return column.dictionary_page_offset or column.data_page_offset


def _photo(path: Path, row: Row, found: _Columns, listing: Listing) -> Any:
    """The photo of a row: its bytes are copied; a path is relative to the file's folder, as in a table."""
    value = value_of(row, found.given.photo or "")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    data = value.get("bytes") if isinstance(value, dict) else value
    name = value.get("path") if isinstance(value, dict) else None
    if not isinstance(data, bytes):
        name = value if isinstance(value, str) else name
        return f"{path.parent}/{name}" if isinstance(name, str) and "://" not in name and name[:1] != "/" else value
    if not name and found.name:
        name = row[found.name]
    digest = hashlib.blake2b(data, digest_size=12).hexdigest()
    name = str(name).replace("\\", "/").rpartition("/")[2] if name not in (None, "") else digest
    photo = f"{path}/{digest}/{name}"
    return PhotoInRow(photo, listing.unpack(photo, data))


def _holds_bytes(kind: Any) -> bool:
    """True for the type of bytes, or of a structure with a field `bytes`, as `datasets` keeps a photo."""
    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def _example(kind: Any) -> Any:
    """A value with the names of a type's fields."""
    if types.is_struct(kind):
        return {field.name: _example(field.type) for field in kind}
    return [_example(kind.value_type)] if types.is_list(kind) or types.is_large_list(kind) else ""
