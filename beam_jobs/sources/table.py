"""Tables as a caption layout: CSV, TSV and JSON lines."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, text_lines, visible_files
from beam_jobs.sources.columns import caption_columns, split_column
from beam_jobs.sources.splits import named_split
from beam_jobs.sources.text_files import utf8
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.dataset_info import REJECTED_FILE
from tfcaption.records.photo_names import PHOTO_COLUMNS, usual_column
from tfcaption.records.tables import delimiter_of, table_reader


class Table(Source):
    """CSV or TSV files with a header, JSON lines, or a named file with a list in JSON; a photo or a caption a row.

    They lie in the folder of the captions, or else in folders below it that are named after splits (`train/`), or are
    named `metadata` and lie beside their photos.
    """

    name = "table"
    layout = "a .csv, .tsv, .txt or .jsonl file with columns such as image, caption (--columns names others)"
    _endings = (".csv", ".tsv", ".jsonl", ".txt")

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return self._tables(visible_files(captions)) or self._tables(
            path
            for path in visible_files(captions, below=True)
            if named_split(path.parent.name) or path.stem == "metadata"
        )

    def _tables(self, paths: Iterable[Path]) -> list[Path]:
        tables = [path for path in paths if path.suffix.lower() in self._endings]
        tables = [path for path in tables if path.name != REJECTED_FILE]  # lies beside captions of `caption_images`
        return [path for path in tables if path.suffix.lower() == ".jsonl" or _has_header(path)]

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            rows = _reader(path)(path, listing)
            keys: tuple[str, list[str]] | None = None
            for number, row in rows:
                where = f"{path.name}:{number}"
                if keys is None:
                    keys = _keys(path, row, columns)
                photo_key, caption_keys = keys[0], caption_columns(row, columns.caption) or keys[1]
                photo = row.get(photo_key)
                cells: list[Any] = [row.get(key) for key in caption_keys]
                cells = [cell for cell in cells if cell not in (None, "")] or cells[:1]
                if photo is None or cells == [None]:
                    listing.reject("caption", where, "malformed line", f"lacks {photo_key} or {caption_keys[0]}")
                    continue
                listing.captions_in += len(cells) - 1
                column = columns.split or split_column(row) or "split"
                for cell in cells:
                    yield CaptionLine(where, str(photo), cell, row.get(column), None, path, column)


def _has_header(path: Path) -> bool:
    """True if the first line names columns. A .txt file may hold any text, so one column must have a caption's name."""
    names = _header(_first_line(path))
    return len(names) > 1 and (path.suffix.lower() != ".txt" or bool(caption_columns(dict.fromkeys(names))))


def _reader(path: Path) -> Callable[[Path, Listing], Iterator[tuple[int, dict[str, Any]]]]:
    first = _first_line(path)
    if path.suffix.lower() == ".jsonl" or first.startswith("{"):
        return _json_rows
    return _json_list if first.startswith("[") else _csv_rows


def _first_line(path: Path) -> str:
    with path.open("rb") as stream:
        return utf8(stream).readline(4096).decode(errors="replace")


def _header(text: str) -> list[str]:
    """Names of the columns in the first line of a text; empty if they cannot be read."""
    line = next(iter(text.splitlines()), "")
    try:
        return [name.strip() for name in next(table_reader([line], line), [])]
    except csv.Error:
        return []


def _csv_rows(path: Path, listing: Listing) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the number of their last line; a row with more or fewer cells than columns is rejected.

    Of a table with two columns the caption may hold the delimiter without quotation marks: it is all but the photo.
    """
    unquoted = 0
    with path.open("rb") as binary:
        stream = io.TextIOWrapper(utf8(binary), encoding="utf-8", errors="replace", newline="")
        first = stream.readline()
        header, delimiter = _header(first), delimiter_of(first)
        for number, cells in _cells(table_reader(stream, first)):
            where = f"{path.name}:{number}"
            listing.captions_in += 1
            if isinstance(cells, csv.Error):
                listing.reject("caption", where, "malformed line", f"{cells}; a quotation mark without its pair?")
            elif any("\ufffd" in cell for cell in cells):
                listing.reject("caption", where, "not UTF-8", str(cells)[:80])
            elif any(_swallows_rows(cell, delimiter) for cell in cells):
                listing.reject("caption", where, "malformed line", f"a quotation mark without its pair: {cells!s:.80}")
            elif len(fields := _two_cells(cells, delimiter) if len(header) == 2 else cells) != len(header):
                detail = f"{len(cells)} cells, the header has {len(header)}: {str(cells)[:80]}"
                listing.reject("caption", where, "malformed line", detail)
            else:
                unquoted += fields is not cells
                yield number, dict(zip(header, (cell.strip() for cell in fields), strict=True))
    if unquoted:
        listing.notes.append(
            f"{path.name}: captions with `{delimiter}` outside quotation marks, which are read to the end of the line: "
            f"{unquoted:,}"
        )


def _two_cells(cells: list[str], delimiter: str) -> list[str]:
    """A row as the photo's name and all the rest, in their order; unchanged where it is not clear which is the name."""
    if len(cells) > 2 and is_photo_name(cells[0].strip()):
        return [cells[0], delimiter.join(cells[1:])]
    if len(cells) > 2 and is_photo_name(cells[-1].strip()):
        return [delimiter.join(cells[:-1]), cells[-1]]
    return cells


def _cells(reader: Any) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The number of the last line of each row that is not empty, and its cells, or the error in it."""
    while True:
        try:
            cells: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = error
        if isinstance(cells, csv.Error) or any(cell.strip() for cell in cells):
            yield reader.line_num + 1, cells


def _swallows_rows(cell: str, delimiter: str) -> bool:
    """True if a cell has several lines, one of which begins with a photo's name."""
    starts = (line.partition(delimiter)[0].strip() for line in cell.split("\n")[1:])
    return any(map(is_photo_name, starts))


def _json_rows(path: Path, listing: Listing) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in text_lines(path, listing):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"not a JSON object: {line[:80]}")


def _json_list(path: Path, listing: Listing) -> Iterator[tuple[int, dict[str, Any]]]:
    """The entries of a list in JSON with their numbers."""
    try:
        with path.open("rb") as stream:
            rows = json.load(utf8(stream))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    for number, row in enumerate(rows, start=1):
        listing.captions_in += 1
        if isinstance(row, dict):
            yield number, row
        else:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"not a JSON object: {row!s:.80}")


def _keys(path: Path, row: dict[str, Any], columns: Columns) -> tuple[str, list[str]]:
    """Names of the columns of the photo and of the captions; checks that all given ones exist."""
    photo = usual_column(row, PHOTO_COLUMNS) if columns.photo is None else columns.photo
    captions = caption_columns(row, columns.caption)
    names = [str(name) for name in row]
    if photo in row and captions and columns.split in (None, *row):
        return photo, captions
    if any(map(is_photo_name, names)):
        raise SourceError(
            f"{path}: no header? The first row was read as names of columns: {', '.join(names)}; write a first "
            "line such as image,caption, with the delimiter of the table"
        )
    lacking = "photo" if photo not in row else "split" if captions else "caption"
    cure = ", or move the file if it holds no captions" if lacking == "caption" else ""
    raise SourceError(
        f"{path}: no column {getattr(columns, lacking) or f'for the {lacking}'}; it has {', '.join(names)}; "
        f"name them with --columns PHOTO CAPTION [SPLIT]{cure}"
    )
