"""How the cells of a table are divided, whatever program wrote it."""

import csv
from collections.abc import Iterable
from typing import Any


def delimiter_of(header: str) -> str:
    """What divides the cells: the most frequent of comma, tab, bar and semicolon in the first line."""
    return max(",\t|;", key=header.count)


def table_reader(lines: Iterable[str], header: str) -> Any:
    """A `csv.reader` of lines of the table with this first line.

    Tables with bars, such as Flickr30k's results.csv, do not quote: a quotation mark belongs to its caption.
    """
    delimiter = delimiter_of(header)
    quotes = delimiter != "|" or '"' in header
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
