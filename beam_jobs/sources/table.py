"""Tables as a caption layout: CSV, TSV and JSON lines."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from beam_jobs.sources.base import CaptionLine, Columns, DividedSource, Listing, caption_files, text_lines
from beam_jobs.sources.columns import caption_columns
from beam_jobs.sources.json_files import list_rows
from beam_jobs.sources.rows import Row, row_captions
from beam_jobs.sources.text_files import WHOLE, Span, all_lines, utf8
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.dataset_info import REJECTED_FILE
from tfcaption.records.tables import delimiter_of, table_reader


class Table(DividedSource):
    """CSV or TSV files with a header, JSON lines, or a named file with a list in JSON; a photo or a caption a row.

    They lie in the folder of the captions, or else in folders below it that are named after splits (`train/`), or are
    named `metadata` and lie beside their photos.
    """

    name = "table"
    layout = "a .csv, .tsv, .txt or .jsonl file with columns such as image, caption (--columns names others)"
    _endings = (".csv", ".tsv", ".jsonl", ".txt")

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return caption_files(captions, self._is_table)

    def _is_table(self, path: Path) -> bool:
        if path.suffix.lower() not in self._endings or path.name == REJECTED_FILE:  # one of `caption_images`
            return False
        return path.suffix.lower() == ".jsonl" or _has_header(path)

    def can_be_divided(self, file: Path) -> bool:
        """See `Source.can_be_divided`: a list in JSON is read as a whole."""
        return _reader(file) is not _list_rows and super().can_be_divided(file)

    def lines_in(self, file: Path, span: Span) -> int | None:
        """See `Source.lines_in`: a row of CSV may have several lines."""
        return _csv_lines(file, span) if _reader(file) is _csv_rows else super().lines_in(file, span)

    def read_span(self, file: Path, span: Span, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read_span`."""
        reader = _reader(file)
        rows = ((f"{file.name}:{number}", row) for number, row in reader(file, listing, span))
        example = next((row for _, row in reader(file, Listing(), WHOLE)), None) if span.start else None
        return row_captions(file, rows, listing, columns, example=example)


def _has_header(path: Path) -> bool:
    """True if the first line names columns. A .txt file may hold any text, so one column must have a caption's name."""
    names = _header(_first_line(path))
    return len(names) > 1 and (path.suffix.lower() != ".txt" or bool(caption_columns(dict.fromkeys(names))))


def _reader(path: Path) -> Callable[[Path, Listing, Span], Iterator[tuple[int, Row]]]:
    first = _first_line(path)
    if path.suffix.lower() == ".jsonl" or first.startswith("{"):
        return _json_rows
    return _list_rows if first.startswith("[") else _csv_rows


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


def _csv_rows(path: Path, listing: Listing, span: Span) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the number of their last line; a row with more or fewer cells than columns is rejected.

    Of a table with two columns the caption may hold the delimiter without quotation marks: it is all but the photo.
    """
    with path.open("rb") as binary:
        stream = io.TextIOWrapper(utf8(binary), encoding="utf-8", errors="replace", newline="")
        first = stream.readline()
        header, delimiter = _header(first), delimiter_of(first)
        unquoted = (
            f"{path.name}: captions with `{delimiter}` outside quotation marks, which are read to the end of the line"
        )
        lines = stream if span == WHOLE else _lines(path, span)
        for number, cells in _cells(table_reader(lines, first), span.lines_before if span.start else 1):
            where = f"{path.name}:{number}"
            listing.captions_in += 1
            if isinstance(cells, csv.Error):
                listing.reject("caption", where, "malformed line", f"{cells}; a quotation mark without its pair?")
            elif any("\ufffd" in cell for cell in cells):
                listing.reject("caption", where, "not UTF-8", str(cells)[:80])
            elif any("\n" in cell and _swallows_rows(cell, delimiter) for cell in cells):
                listing.reject("caption", where, "malformed line", f"a quotation mark without its pair: {cells!s:.80}")
            elif len(fields := _two_cells(cells, delimiter) if len(header) == 2 else cells) != len(header):
                detail = f"{len(cells)} cells, the header has {len(header)}: {str(cells)[:80]}"
                listing.reject("caption", where, "malformed line", detail)
            else:
                if fields is not cells:
                    listing.counted_notes[unquoted] += 1
                yield number, dict(zip(header, (cell.strip() for cell in fields), strict=True))


def _lines(path: Path, span: Span) -> Iterator[str]:
    """The lines in a span of a table, without the header."""
    lines = (_text(line) for line in all_lines(path, span))
    return lines if span.start else islice(lines, 1, None)


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace") + "\n"


def _csv_lines(path: Path, span: Span) -> int | None:
    """How many lines a span of a table has, whose first line begins a row; None if a row has several of them."""
    header, lines = _text(next(all_lines(path, WHOLE), b"")), 0
    for line in all_lines(path, span):
        if b'"' in line and (lines or span.start):  # the first line of the file is the header
            reader = table_reader([_text(line), "\n"], header)
            with suppress(csv.Error):  # of a row that ends with its line
                next(reader)
            if reader.line_num > 1:
                return None
        lines += 1
    return lines


def _two_cells(cells: list[str], delimiter: str) -> list[str]:
    """A row as the photo's name and all the rest, in their order; unchanged where it is not clear which is the name."""
    if len(cells) > 2 and is_photo_name(cells[0].strip()):
        return [cells[0], delimiter.join(cells[1:])]
    if len(cells) > 2 and is_photo_name(cells[-1].strip()):
        return [delimiter.join(cells[:-1]), cells[-1]]
    return cells


def _cells(reader: Any, lines_before: int) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """The number of the last line of each row that is not empty, and its cells, or the error in it."""
    while True:
        try:
            cells: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = error
        if isinstance(cells, csv.Error) or any(cell.strip() for cell in cells):
            yield lines_before + reader.line_num, cells


def _swallows_rows(cell: str, delimiter: str) -> bool:
    """True if a cell has several lines, one of which begins with a photo's name."""
    starts = (line.partition(delimiter)[0].strip() for line in cell.split("\n")[1:])
    return any(map(is_photo_name, starts))


def _list_rows(path: Path, listing: Listing, span: Span) -> Iterator[tuple[int, Row]]:
    return list_rows(path, listing)


def _json_rows(path: Path, listing: Listing, span: Span) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in text_lines(path, listing, span):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"not a JSON object: {line[:80]}")
