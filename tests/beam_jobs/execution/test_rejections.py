"""Rejections: counted and named in little memory, and merged into one file in its order."""

import random

import apache_beam as beam
import pytest

from beam_jobs.errors import JobFailed
from beam_jobs.execution import rejection_files
from beam_jobs.execution.options import beam_options
from beam_jobs.execution.output_folder import remove_rejection_files
from beam_jobs.execution.rejection_files import RejectionFiles, line_in_file, merge_rejections, write_sorted
from beam_jobs.execution.rejections import MARKED, RejectionCounts, check_rejected, named_reasons
from tests.conftest import IN_MEMORY
from tfcaption.records.dataset_info import Rejection, rejected_lines

# A line end that JSON leaves as it is, a name that is not UTF-8, two rejections that differ in their details alone.
ODD = [
    Rejection(kind="photo", id="a\x85.jpg", reason="truncated", captions=5),
    Rejection(kind="photo", id="b\udcff.jpg", reason="truncated", captions=5),
    Rejection(kind="caption", id="c.jpg", reason="empty caption", detail="2"),
    Rejection(kind="caption", id="c.jpg", reason="empty caption", detail="1"),
]
MANY = [Rejection(kind="photo", id=f"{index}.jpg", reason="missing photo") for index in range(100)]


def test_counts_of_parts_are_the_counts_of_the_whole():
    rejections = random.Random(1).sample([*ODD, *MANY], 104)
    merged = RejectionCounts()
    for start in range(0, 104, 7):
        merged.merge(RejectionCounts.of(rejections[start : start + 7]))
    assert merged == RejectionCounts.of(rejections)
    assert merged.reasons == {"photo": {"truncated": 2, "missing photo": 100}, "caption": {"empty caption": 2}}
    assert (merged.total, merged.captions, merged.select("photo", without=["truncated"]).total) == (104, 10, 100)
    assert named_reasons(merged) == (
        "2 empty caption (c.jpg, c.jpg), 100 missing photo (0.jpg, 1.jpg, 10.jpg, ...), "
        "2 truncated (a\x85.jpg, b\\udcff.jpg)"
    )


def test_what_the_data_set_marks_fails_no_job():
    marked = [Rejection(kind="caption", id=str(index), reason=MARKED) for index in range(9)]
    check_rejected(RejectionCounts.of(marked), "caption", 10, 0, "")
    missing = Rejection(kind="caption", id="x", reason="missing photo")
    with pytest.raises(JobFailed, match=r"1 of 10 captions were rejected \(1 missing photo \(x\)\)"):
        check_rejected(RejectionCounts.of([*marked, missing]), "caption", 10, 0, "")


@pytest.mark.parametrize("rejections", [[], [*ODD, *MANY]], ids=["none", "some"])
def test_sorted_files_are_merged_into_the_lines_of_all_in_their_order(rejections, tmp_path):
    def finish(_, files):
        assert len(files) <= 16
        assert merge_rejections(files, str(tmp_path)) == RejectionCounts.of(rejections)

    with beam.Pipeline(options=beam_options(IN_MEMORY, output=str(tmp_path))) as pipeline:
        files = pipeline | beam.Create([*map(line_in_file, rejections)]) | RejectionFiles(str(tmp_path))
        _ = pipeline | "Once" >> beam.Create([None]) | beam.Map(finish, beam.pvalue.AsList(files))
    assert (tmp_path / "rejected.jsonl").read_text() == rejected_lines(rejections)
    assert len(list(tmp_path.iterdir())) == (17 if rejections else 1)


@pytest.mark.parametrize("at_once", [1, 7, 104, 1000])
def test_lines_that_never_are_in_memory_together_are_sorted_all_the_same(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(rejection_files, "_LINES_AT_ONCE", at_once)
    rejections = random.Random(2).sample([*ODD, *MANY], 104)
    write_sorted((line for _, line in map(line_in_file, rejections)), str(tmp_path))
    assert (tmp_path / "rejected.jsonl").read_text() == rejected_lines(rejections)
    remove_rejection_files(str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["rejected.jsonl"]
