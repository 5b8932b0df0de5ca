"""Small data sets of every layout give the records, rejections and messages that are kept beside this file.

A change that is meant: `python -m tests.beam_jobs.test_layout_cases` writes them anew, and the diff shows the change.
"""

import importlib.metadata
import json
import tempfile
from pathlib import Path

import pytest

from beam_jobs.sources import parts, reader
from tests.support.layout_cases import CASES, build_case

EXPECTED = Path(__file__).with_suffix(".json")
LINES = importlib.metadata.EntryPoint("lines", "tests.support.layout_cases:Lines", reader.ENTRY_POINTS)


def entry_points(group):
    return [LINES] if group == reader.ENTRY_POINTS else []


@pytest.mark.parametrize("case", CASES)
def test_a_data_set_gives_what_it_gave_before(case, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "entry_points", entry_points)
    assert build_case(case, tmp_path) == json.loads(EXPECTED.read_text())[case]


@pytest.mark.parametrize(
    "case",
    [
        *("flickr8k, damaged", "table, JSON lines", "table", "table, columns", "table, splits", "table, other words"),
        *("table, odd cells", "table, odd names", "table, no header", "table, in two files", "table, only one file"),
    ],
)
def test_workers_that_share_a_file_of_lines_give_the_same(case, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "BYTES_AT_ONCE", 97)
    assert build_case(case, tmp_path) == json.loads(EXPECTED.read_text())[case]


def write_expected():
    """Build every case and write what comes out."""
    reader.entry_points = entry_points
    found = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[case] = build_case(case, Path(folder))
    EXPECTED.write_text(json.dumps(found, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    write_expected()
