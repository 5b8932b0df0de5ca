"""Several workers read one file of captions as one worker does."""

import random

import pytest

from beam_jobs.sources import parts
from beam_jobs.sources.parts import ReadFacts, exact_spans, is_span_of_lines, parts_of, read_part
from beam_jobs.sources.reader import find_data_set
from tfcaption.records.dataset_info import Rejection

CELLS = [
    *(
        "A dog .",
        "red, wet",
        '"red, wet"',
        '"she says ""hi"""',
        'six " tall',
        '"cut',
        "",
        '"over\ntwo"',
        '"four\r\n\r\nx"',
    ),
    *("caf\xe9", "\udce9", "x\x00y", "a\u2028b\x0c", '"', '""', "long " * 20),
]
ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n"]


def read(data_set):
    """All that the parts of a data set hold, in the order of a whole file, and how many workers read captions."""
    divided = [part for part in parts_of(data_set) if part.read == "captions"]
    counted = {part.number: data_set.layout.lines_in(part.path, part.span) for part in divided}
    spans = exact_spans([part for part in divided if is_span_of_lines(part, data_set)], counted)
    items, rejections, facts, readers = [], [], ReadFacts(), 0
    for part in divided:
        captions = facts.captions
        for each in read_part(part._replace(span=spans.get(part.number, part.span)), data_set):
            if isinstance(each, ReadFacts):
                facts.merge(each)
            elif isinstance(each, Rejection):
                rejections.append(each)
            elif hasattr(each[1], "line"):
                items.append(each[1].line)
        readers += facts.captions > captions
    return items, rejections, facts.captions, {note: number for note, (_, number) in facts.notes.items()}, readers


def both(folder, monkeypatch, size):
    """What one worker and several read."""
    data_set = find_data_set(folder, folder)
    monkeypatch.undo()
    *whole, _ = read(data_set)
    monkeypatch.setattr(parts, "BYTES_AT_ONCE", size)
    *shared, readers = read(data_set)
    assert shared == whole
    return whole, readers


@pytest.mark.parametrize("seed", range(40))
def test_any_table_gives_the_same(seed, tmp_path, monkeypatch):
    draw = random.Random(seed)
    cells = draw.sample(CELLS, k=draw.randint(1, len(CELLS)))
    delimiter = draw.choice(",\t;|")
    lines = [f"image{delimiter}caption{draw.choice(ENDS)}"]
    for number in range(30):
        row = [f"{number}.jpg", draw.choice(cells), *draw.choices(cells, k=draw.random() < 0.2)]
        lines.append(delimiter.join(row) + draw.choice(ENDS))
    text = "".join(lines).removesuffix(draw.choice(["", "\n"]))
    bom = draw.choice(["", "\ufeff"])
    (tmp_path / "captions.csv").write_bytes((bom + text).encode(errors="surrogateescape"))
    for size in (1, 7, 50, draw.randint(2, 500)):
        (items, rejections, captions, _), _ = both(tmp_path, monkeypatch, size)
        assert len(items) + len(rejections) == captions


def test_workers_share_a_table_whose_rows_are_lines(tmp_path, monkeypatch):
    rows = [f'{number}.jpg,"A dog, it ""runs"" ."' for number in range(100)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *rows]))
    (items, *_), readers = both(tmp_path, monkeypatch, 300)
    assert len(items) == 100 and items[99].where == "captions.csv:101" and readers > 5


def test_one_worker_reads_a_table_with_a_row_of_several_lines(tmp_path, monkeypatch):
    rows = [f'{number}.jpg,"A dog .\nIt runs ."' for number in range(100)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *rows]))
    (items, *_), readers = both(tmp_path, monkeypatch, 300)
    assert len(items) == 100 and items[99].where == "captions.csv:201" and readers == 1


def test_the_captions_of_all_workers_are_counted_in_one_note(tmp_path, monkeypatch):
    rows = [f"{number}.jpg,red, wet" for number in range(100)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *rows]))
    (_, _, _, notes), readers = both(tmp_path, monkeypatch, 300)
    assert [*notes.values()] == [100] and readers > 5
