"""Every known caption layout: recognised, read completely, its bad lines rejected by name."""

import json
from importlib.metadata import EntryPoint

import pytest
from PIL import Image

from beam_jobs.build_records import main
from beam_jobs.execution.rejections import RejectionCounts, check_rejected
from beam_jobs.sources import SourceError, reader
from beam_jobs.sources.base import Columns
from beam_jobs.sources.flickr import Flickr8k
from beam_jobs.sources.reader import ENTRY_POINTS, LAYOUTS
from tests.conftest import IN_MEMORY
from tests.support.layout_cases import Lines
from tests.support.sources import read_source
from tfcaption.records.dataset_info import load_dataset_info

NAMES = [f"{letter}.jpg" for letter in "abcdef"]
CAPTIONS = {name: (f"The first, of {name[0]} .", f'A "second" of {name[0]} .') for name in NAMES}
SPLITS = dict(zip(NAMES, ["train", "train", "train", "train", "dev", "test"], strict=True))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(folder / "below" / name)
    return folder


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    return folder


def numbered(file):
    return lambda folder: write(folder / file, [f"{n}#{k}\t{c}" for n in NAMES for k, c in enumerate(CAPTIONS[n])])


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def table(delimiter, header, *, split=False, quote=True, name="captions.csv", folder_of_photos=""):
    def cell(text):
        quoted = text.replace('"', '""')
        return f'"{quoted}"' if quote and (delimiter in text or '"' in text) else text

    def made(folder):
        rows = [
            delimiter.join([folder_of_photos + n, cell(c), *([SPLITS[n]] if split else [])])
            for n in NAMES
            for c in CAPTIONS[n]
        ]
        write(folder / name, [delimiter.join(header), *rows])

    return made


def flickr30k_csv(folder):
    rows = [f"{n}| {k}| {c}" for n in NAMES for k, c in enumerate(CAPTIONS[n])]
    write(folder / "results.csv", ["image_name| comment_number| comment", *rows])


def json_lines(folder):
    rows = [{"file_name": n, "captions": list(CAPTIONS[n]), "split": SPLITS[n]} for n in NAMES]
    write(folder / "captions.jsonl", map(json.dumps, rows))


def karpathy(folder):
    names = {"train": "restval", "dev": "val", "test": "test"}
    images = [
        {"filename": n, "split": names[SPLITS[n]], "sentences": [{"raw": c, "tokens": []} for c in CAPTIONS[n]]}
        for n in NAMES
    ]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))


def coco(*parts):
    def made(folder):
        for part, names in parts:
            content = {
                "images": [{"id": 100 + ord(n[0]), "file_name": n} for n in names],
                "annotations": [
                    {"id": 1, "image_id": 100 + ord(n[0]), "caption": c} for n in names for c in CAPTIONS[n]
                ],
            }
            (folder / f"captions_{part}.json").write_text(json.dumps(content))

    return made


def text_files(folder):
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(folder / name)
        write(folder / f"{name[0]}.txt", CAPTIONS[name])


LAYOUT_FILES = {
    "flickr8k": ("flickr8k", numbered("Flickr8k.token.txt"), False),
    "flickr30k": ("flickr30k", numbered("results_20130124.token"), False),
    "flickr30k, columns": ("table", flickr30k_csv, False),
    "comma": ("table", table(",", ["image", "caption"]), False),
    "comma, text": ("table", table(",", ["image", "caption"], name="captions.txt"), False),
    "semicolon, unusual order": ("table", table(";", ["photo", "text", "split"], split=True), True),
    "tab": ("table", table("\t", ["filename", "sentence", "split"], split=True, name="all.tsv"), True),
    "JSON lines": ("table", json_lines, True),
    "Karpathy": ("karpathy", karpathy, True),
    "COCO, one file": ("coco", coco(("train2017", NAMES)), False),
    "folder": ("folder", text_files, False),
}


@pytest.mark.parametrize("case", LAYOUT_FILES)
def test_a_layout_is_recognised_and_read_completely(case, images, texts):
    name, make, has_splits = LAYOUT_FILES[case]
    make(texts)
    listing = read_source(texts if name == "folder" else images, texts)
    assert listing.source == name and listing.rejections == [] and listing.captions_in == 12
    assert {photo.id: photo.captions for photo in listing.photos} == CAPTIONS
    if has_splits:
        assert {photo.id: photo.split for photo in listing.photos} == SPLITS
        assert "splits: from `split` in the captions" in listing.notes
    assert any(note.startswith(f"source: {name} (") for note in listing.notes)


@pytest.mark.parametrize("name", ["DSC_1.JPG", "DSC_1.jpg", "DSC_1.Jpg", "DSC_1.PNG", "DSC_1.jfif"])
def test_a_text_file_beside_a_photo_is_its_caption_whatever_the_case_of_the_photo_s_suffix(tmp_path, name):
    Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    write(tmp_path / "DSC_1.txt", ["A dog ."])
    (photo,) = read_source(tmp_path, tmp_path).photos
    assert (photo.id, list(photo.captions)) == (name, ["A dog ."])


def test_hidden_files_beside_photos_are_not_captions(images, texts):
    text_files(texts)
    for name in ("._a.jpg", "._a.txt"):
        (texts / name).write_bytes(b"\x00\x05\x16\x07")
    listing = read_source(texts, texts)
    assert len(listing.photos) == 6
    assert [(r.kind, r.reason) for r in listing.rejections] == [("file", "hidden file")] * 2


@pytest.mark.parametrize("case", ["comma", "JSON lines", "Karpathy", "COCO, one file", "folder"])
def test_a_photo_that_no_caption_names_is_unused_and_told_and_a_caption_without_photo_rejected(case, images, texts):
    name, make, _ = LAYOUT_FILES[case]
    make(texts)
    folder = texts if name == "folder" else images
    for extra in ("spare.jpg", "more.png"):
        Image.new("RGB", (8, 8)).save(folder / extra)
    listing = read_source(folder, texts)
    found = [(r.kind, r.id, r.reason) for r in listing.rejections]
    assert found == [("unused", "more.png", "no captions"), ("unused", "spare.jpg", "no captions")]
    assert listing.photos_in == 6
    assert "2 photos that no caption names, not used: more.png, spare.jpg" in listing.warnings
    if name != "folder":
        (images / "below" / "a.jpg").unlink()
        found = [(r.kind, r.id, r.reason) for r in read_source(folder, texts).rejections]
        assert found[0] == ("photo", "a.jpg", "missing photo") and len(found) == 3


def test_text_files_without_a_photo_beside_them_are_told(texts):
    LAYOUT_FILES["folder"][1](texts)
    for name in ("notes.txt", "zoo.txt"):
        (texts / name).write_text("no photo\n")
    listing = read_source(texts, texts)
    assert "files that are not used: 2 no photo beside it (notes.txt, zoo.txt)" in listing.warnings


def test_photos_are_found_by_another_spelling_of_their_names_where_it_is_unambiguous(images, texts):
    for before, after in {"a.jpg": "A.JPG", "b.jpg": "b.jpeg", "f.jpg": "fe\u0301.jpg"}.items():
        (images / "below" / before).rename(images / "below" / after)
    table(",", ["image", "caption"])(texts)
    path = texts / "captions.csv"
    path.write_text(path.read_text().replace("f.jpg", "f\u00e9.jpg"))
    listing = read_source(images, texts)
    assert {photo.id for photo in listing.photos} == {"a.jpg", "c.jpg", "d.jpg", "e.jpg", "f\u00e9.jpg"}
    expected = "a.jpg is A.JPG, f\u00e9.jpg is fe\u0301.jpg"
    assert f"2 photos found by another spelling of the name: {expected}" in listing.notes
    assert "1 photo may have another ending in the captions: b.jpg is b.jpeg?" in listing.warnings
    Image.new("RGB", (8, 8)).save(images / "a.Jpg")  # now two files may be the photo
    assert ("a.jpg", "ambiguous photo") in [(r.id, r.reason) for r in read_source(images, texts).rejections]


def test_the_exact_name_comes_before_another_spelling(images, texts):
    table(",", ["image", "caption"])(texts)
    Image.new("RGB", (8, 8)).save(images / "A.JPG")
    listing = read_source(images, texts)
    assert {photo.id: photo.location.path for photo in listing.photos}["a.jpg"].endswith("a.jpg")
    assert [(r.kind, r.id) for r in listing.rejections] == [("unused", "A.JPG")]


def test_heic_photos_with_captions_are_told_before_any_is_read(tmp_path):
    for name in ("a.heic", "b.HEIC", "c.jpg"):
        (tmp_path / name).write_bytes(b"x")
        write(tmp_path / f"{name[0]}.txt", ["A dog ."])
    assert (
        "2 photos in HEIC, which is not read; convert to JPEG: a.heic, b.HEIC"
        in read_source(tmp_path, tmp_path).warnings
    )


def test_the_files_of_coco_are_its_splits(images, texts):
    coco(("train2017", NAMES[:4]), ("val2017", NAMES[4:]))(texts)
    found = {photo.id: photo.split for photo in read_source(images, texts).photos}
    assert found == {name: "train" if name in NAMES[:4] else "dev" for name in NAMES}


def test_a_converted_photo_is_taken_before_the_heic_beside_it(tmp_path):
    for name in ("a.heic", "a.jpg", "b.HEIC", "a.txt", "b.txt"):
        (tmp_path / name).write_text("A dog .\n")
    assert [photo.id for photo in read_source(tmp_path, tmp_path).photos] == ["a.jpg", "b.HEIC"]


def split_files(folder, **names_of_files):
    for stem, names in names_of_files.items():
        write(folder / f"{stem}.csv", ["image,caption", *(f"{name},A dog ." for name in names)])


def test_files_of_a_table_that_are_named_after_splits_are_its_splits(images, texts):
    split_files(texts, captions_train=NAMES[:3], captions_val=NAMES[3:4], Test=NAMES[4:])
    listing = read_source(images, texts)
    splits = dict(zip(NAMES, ["train", "train", "train", "dev", "test", "test"], strict=True))
    assert {photo.id: photo.split for photo in listing.photos} == splits
    files = "Test.csv is test, captions_train.csv is train, captions_val.csv is dev"
    assert f"splits: from names of files ({files})" in listing.notes


def test_one_file_is_all_photos_whatever_its_name(images, texts):
    split_files(texts, test=NAMES)
    (note,) = [note for note in read_source(images, texts).notes if note.startswith("splits: ")]
    assert "by a hash" in note


@pytest.mark.parametrize("column", ["set", "subset", "partition"])
def test_a_column_of_another_name_that_holds_splits_is_the_column_of_splits(images, texts, column):
    table(",", ["image", "caption", column], split=True)(texts)
    assert {photo.id: photo.split for photo in read_source(images, texts).photos} == SPLITS
    path = texts / "captions.csv"
    path.write_text(path.read_text().replace(",train\n", ",holiday\n"))
    with pytest.raises(SourceError, match=f"captions.csv:2: {column} 'holiday'; known are .*; correct it, or --shares"):
        read_source(images, texts)
    path.write_text(path.read_text().replace(",dev\n", ",holiday\n").replace(",test\n", ",work\n"))
    assert "by a hash" in " ".join(read_source(images, texts).notes)


def test_captions_may_be_a_file_instead_of_its_folder(images, texts):
    table(",", ["image", "caption"])(texts)
    table(",", ["image", "caption"], name="other.csv")(texts)
    assert len(read_source(images, texts / "other.csv").photos) == 6


def test_columns_with_unusual_names_can_be_given(images, texts):
    table(",", ["bild", "satz", "teil"], split=True)(texts)
    with pytest.raises(SourceError, match="captions.csv: no column for the photo; it has bild, satz, teil"):
        read_source(images, texts)
    listing = read_source(images, texts, columns=Columns("bild", "satz", "teil"))
    assert {photo.id: photo.split for photo in listing.photos} == SPLITS
    with pytest.raises(SourceError, match="no column Satz"):
        read_source(images, texts, columns=Columns("bild", "Satz"))


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv"])
def test_a_table_without_header_is_an_error_that_says_so(images, texts, name):
    delimiter = "," if name.endswith("csv") else "\t"
    rows = [delimiter.join([photo, "Runs ."]) for photo in NAMES]
    write(texts / name, rows)
    message = f"{name}: no header\\? The first row was read as names of columns: a.jpg, Runs .; write a first line"
    with pytest.raises(SourceError, match=message):
        read_source(images, texts)
    write(texts / name, [delimiter.join(["image", "caption"]), *rows])
    assert len(read_source(images, texts).photos) == 6


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"only one cell", "malformed line"),
        (b"a,too,many", "malformed line"),
        (b"a.jpg, . ", "empty caption"),
        (b"..,hello", "unsafe name"),
        (b",nobody", "unsafe name"),
        (b"a.jpg,caf\xe9", "not UTF-8"),
        (b'a.jpg,"' + b"x" * 200_000 + b'"', "malformed line"),
    ],
)
def test_a_bad_row_of_a_table_is_rejected_by_file_and_line(images, texts, line, reason):
    table(",", ["image", "caption"])(texts)
    with (texts / "captions.csv").open("ab") as stream:
        stream.write(line + b"\n")
    listing = read_source(images, texts)
    assert [(r.id, r.reason) for r in listing.rejections] == [("captions.csv:14", reason)]
    assert len(listing.photos) == 6 and listing.captions_in == 13


@pytest.mark.parametrize("header", [["image", "caption"], ["caption", "image"]])
def test_the_caption_of_a_table_with_two_columns_may_hold_commas_without_quotation_marks(images, texts, header):
    captions = dict.fromkeys(NAMES, "red, wet , and big, of course .")
    rows = [",".join([name, text] if header[0] == "image" else [text, name]) for name, text in captions.items()]
    write(texts / "captions.csv", [",".join(header), *rows])
    listing = read_source(images, texts)
    assert {photo.id: photo.captions for photo in listing.photos} == {name: (text,) for name, text in captions.items()}
    assert any("outside quotation marks" in note and note.endswith(": 6") for note in listing.notes)


def test_a_row_with_too_many_cells_of_three_columns_is_rejected(images, texts):
    table(",", ["image", "caption", "split"], split=True)(texts)
    with (texts / "captions.csv").open("a") as stream:
        stream.write("a.jpg,A dog, wet,train\n")
    (only,) = read_source(images, texts).rejections
    assert (only.id, only.reason) == ("captions.csv:14", "malformed line")


@pytest.mark.parametrize("listed", [json.dumps, repr])
def test_a_list_in_a_cell_is_a_list_of_captions(images, texts, listed):
    rows = ['"{}",{}'.format(listed(list(CAPTIONS[name])).replace('"', '""'), name) for name in NAMES]
    write(texts / "captions.csv", ["raw,filename", *rows])
    listing = read_source(images, texts)
    assert {photo.id: photo.captions for photo in listing.photos} == CAPTIONS
    assert listing.captions_in == 12 and listing.rejections == []


@pytest.mark.parametrize(
    "cell",
    [
        "[a dog] runs",
        "[a dog",
        "[1, 2 dogs]",
        "[]",
        "[a, dog]",
        "[{[]: 1}]",
        "[1]",
        pytest.param("[" * 5_000 + "a]", id="deep"),
    ],
)
def test_a_caption_in_brackets_that_is_no_list_of_texts_stays_as_it_is(images, texts, cell):
    write(texts / "captions.jsonl", [json.dumps({"image": "a.jpg", "caption": cell})])
    listing = read_source(images, texts)
    captions = [caption for photo in listing.photos for caption in photo.captions]
    assert captions == ([cell] if cell != "[]" else []) and listing.captions_in == 1


def test_rows_inside_an_unclosed_quotation_mark_are_rejected(images, texts):
    table(",", ["image", "caption"])(texts)
    with (texts / "captions.csv").open("a") as stream:
        stream.write('d.jpg,"Two of them,\nby a person"\na.jpg,"A dog\nb.jpg,A cat\nc.jpg,A bird\n')
    listing = read_source(images, texts)
    (only,) = listing.rejections
    assert (only.id, only.reason) == ("captions.csv:18", "malformed line") and "without its pair" in only.detail
    assert [caption for photo in listing.photos if photo.id == "d.jpg" for caption in photo.captions][-1] == (
        "Two of them,\nby a person"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[" * 100_000, "malformed line"),
        ('{"file_name": "a.jpg", "caption": 5}', "not text"),
        ('{"file_name": "a.jpg", "caption": [[[["A dog ."]]]]}', "not text"),
        ('{"file_name": "a.jpg", "caption": "A\\u0000dog"}', "not text"),
        ('{"file_name": "a.jpg", "caption": "\\ud800 a dog"}', "not UTF-8"),
        ('{"file_name": "a\\u0000.jpg", "caption": "A dog ."}', "unsafe name"),
    ],
)
def test_a_json_line_with_anything_but_text_is_rejected_by_file_and_line(images, texts, line, reason):
    json_lines(texts)
    rows = (texts / "captions.jsonl").read_text().replace("captions", "caption")
    (texts / "captions.jsonl").write_text(rows + line + "\n")
    listing = read_source(images, texts)
    assert [(r.kind, r.id, r.reason) for r in listing.rejections] == [("caption", "captions.jsonl:7", reason)]
    assert listing.captions_in == 13 and len(listing.photos) == 6


def test_bad_json_lines_are_rejected_and_each_caption_of_a_row_is_counted(images, texts):
    json_lines(texts)
    with (texts / "captions.jsonl").open("a") as stream:
        stream.write('{"file_name": "a.jpg"\n[]\n{"file_name": "a.jpg"}\n')
    listing = read_source(images, texts)
    assert [(r.id, r.reason) for r in listing.rejections] == [
        (f"captions.jsonl:{line}", "malformed line") for line in (7, 8, 9)
    ]
    assert listing.captions_in == 15


def test_an_annotation_of_a_photo_that_coco_does_not_list_is_rejected(images, texts):
    coco(("train2017", NAMES))(texts)
    path = texts / "captions_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"].append({"image_id": 7, "caption": "Who ?"})
    path.write_text(json.dumps(content))
    (only,) = read_source(images, texts).rejections
    assert (only.id, only.reason) == ("captions_train2017.json, annotations[12]", "unknown photo")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions_train2017.json", "{", "not JSON"),
        ("captions_train2017.json", '{"images": []}', "has no list `annotations`"),
        ("captions_train2017.json", '{"images": [{"id": 1}], "annotations": []}', "not COCO's caption annotations"),
        ("dataset_coco.json", '{"images": [{"filename": "a.jpg"}]}', "not an entry of Karpathy"),
        (
            "dataset_coco.json",
            '{"images": [{"filename": "a.jpg", "split": "foo", "sentences": [{"raw": "x"}]}]}',
            "split 'foo'; known are",
        ),
        ("captions.csv", "image,caption\n", "is empty"),
    ],
)
def test_a_file_with_the_wrong_content_is_an_error_that_names_it(images, texts, name, content, message):
    (texts / name).write_text(content)
    with pytest.raises(SourceError, match=message) as error:
        read_source(images, texts)
    assert name in str(error.value)


def test_a_photo_in_two_splits_is_an_error(images, texts):
    table(",", ["image", "caption", "split"], split=True)(texts)
    with (texts / "captions.csv").open("a") as stream:
        stream.write("a.jpg,Again .,test\n")
    with pytest.raises(SourceError, match=r"captions.csv:14: a.jpg is in two splits, train and test"):
        read_source(images, texts)


def test_another_package_adds_a_layout_by_an_entry_point(images, texts, monkeypatch):
    write(texts / "captions.lines", [f"{name} {caption}" for name in NAMES for caption in CAPTIONS[name]])
    entry = EntryPoint("lines", f"{Lines.__module__}:{Lines.__name__}", ENTRY_POINTS)
    monkeypatch.setattr(reader, "entry_points", lambda group: [entry] if group == ENTRY_POINTS else [])
    listing = read_source(images, texts)
    assert listing.source == "lines" and {photo.id: photo.captions for photo in listing.photos} == CAPTIONS


def test_layouts_have_distinct_names_and_a_description():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    assert all(layout.layout for layout in LAYOUTS) and LAYOUTS[0] is Flickr8k


def test_records_are_built_from_a_table(images, texts, tmp_path):
    table(",", ["bild", "satz", "teil"], split=True)(texts)
    output = tmp_path / "records"
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output), "--min_count=1"]
    assert main([*arguments, "--columns", "bild", "satz", "teil", "--image_size=32", *IN_MEMORY]) == 0
    info = load_dataset_info(output)
    assert {name: split.photos for name, split in info.splits.items()} == {"train": 4, "dev": 1, "test": 1}
    assert info.settings.source == "table"


def test_captions_that_vizwiz_marks_are_left_out_counted_and_fail_no_job(images, texts):
    coco(("train", NAMES))(texts)
    path = texts / "captions_train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"][:3]:  # all of a.jpg
        annotation["is_precanned"], annotation["is_rejected"] = annotation is content["annotations"][0], True
    content["annotations"][3] |= {"is_precanned": False, "is_rejected": False}
    path.write_text(json.dumps(content))
    listing = read_source(images, texts)
    assert {photo.id: photo.captions for photo in listing.photos} == {
        name: captions[name == "b.jpg" :] for name, captions in CAPTIONS.items() if name != "a.jpg"
    }
    marked = [rejection for rejection in listing.rejections if rejection.kind == "caption"]
    assert [(each.reason, each.detail) for each in marked] == [
        ("marked by the data set", "a.jpg: is_precanned, is_rejected"),
        *(("marked by the data set", f"{name}: is_rejected") for name in ("a.jpg", "b.jpg")),
    ]
    assert [(r.kind, r.id) for r in listing.rejections if r.kind != "caption"] == [("unused", "a.jpg")]
    check_rejected(RejectionCounts.of(listing.rejections), "caption", listing.captions_in, 0, "")


@pytest.mark.parametrize(
    "header", ["Image Name,Caption", "imageName,TEXT", "file-name, Sentence ", "\ufeffFilePath,raw"]
)
def test_usual_columns_are_known_however_their_words_are_written(images, texts, header):
    write(texts / "all.csv", [f",{header}", *(f"{index},{name},Wet" for index, name in enumerate(NAMES))])
    assert len(read_source(images, texts).photos) == len(NAMES)


def test_a_list_in_json_is_a_table_where_that_is_named(images, texts):
    rows = [{"image": name, "caption": CAPTIONS[name]} for name in NAMES]
    path = texts / "captions.json"
    path.write_text(json.dumps([*rows, 7], indent=1), encoding="utf-16")
    listing = read_source(images, path, source="table")
    assert {photo.id: photo.captions for photo in listing.photos} == CAPTIONS
    assert [(each.id, each.reason) for each in listing.rejections] == [("captions.json:7", "malformed line")]
    assert read_source(images, path).source == "json"
    (texts / "notes.md").write_text("[]")
    with pytest.raises(SourceError, match="a known layout; these are known .--source names the one of a file"):
        read_source(images, texts / "notes.md")
    path.write_text("[{")
    with pytest.raises(SourceError, match="captions.json: not JSON"):
        read_source(images, path, source="table")


def test_a_caption_in_two_files_counts_once_but_twice_in_one_file_twice(images, texts):
    write(texts / "all.csv", ["image,caption", *(f"{name},Wet" for name in NAMES), "a.jpg,Wet", "a.jpg,Red"])
    write(texts / "copy.jsonl", [json.dumps({"image": "a.jpg", "caption": ["Red ", "New", "New"]})])
    listing = read_source(images, texts)
    assert listing.photos[0].captions == ("Wet", "Wet", "Red", "New", "New")
    assert listing.captions_in == len(NAMES) + 4 and listing.rejections == []
    assert "captions that several files hold, counted once: 1 (copy.jsonl:1)" in listing.notes


@pytest.mark.parametrize("columns", [["caption_0", "caption_1"], ["Caption 1", "Caption 2"], ["comment_1", "comment2"]])
def test_several_columns_of_captions_are_several_captions(images, texts, columns):
    rows = [["image", *columns, "caption_url"], *([name, "Red", "wet ; blue", "x"] for name in NAMES[:5])]
    rows.append([NAMES[5], "", "Blue", "x"])
    write(texts / "all.csv", map(",".join, rows))
    write(texts / "all.jsonl", [json.dumps({"image": NAMES[0], **dict.fromkeys(columns, "Green"), "n": 1})])
    listing = read_source(images, texts)
    captions = {photo.id: photo.captions for photo in listing.photos}
    assert captions["a.jpg"] == ("Red", "wet ; blue", "Green", "Green")
    assert captions["b.jpg"] == ("Red", "wet ; blue") and captions["f.jpg"] == ("Blue",)
    assert listing.captions_in == 13 and listing.rejections == []
    (texts / "all.jsonl").unlink()
    path = texts / "all.csv"
    path.write_text(path.read_text().replace(columns[0], "satz_0").replace(columns[1], "satz_1"))
    assert read_source(images, texts, columns=Columns("image", "satz")).captions_in == 11
    assert read_source(images, texts, columns=Columns("image", "satz_1")).captions_in == 6


@pytest.mark.parametrize(("images_of", "absolute"), [("", "data/b/9.jpg"), ("data", "b/9.jpg")])
def test_names_of_a_table_keep_their_folders(tmp_path, images_of, absolute):
    names = [f"data/{folder}/{number}.jpg" for folder in "ab" for number in range(2)]
    for name in [*names, "data/b/9.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    spelt = [f"./{names[0]}", names[1].replace("/", "\\"), *names[2:], tmp_path / "data/b/9.jpg", "/0.jpg", "../0.jpg"]
    write(tmp_path / "metadata.csv", ["file_name,text", *(f"{name},A dog ." for name in spelt)])
    listing = read_source(tmp_path / images_of, tmp_path / "metadata.csv")
    paths = {photo.id: photo.location.path for photo in listing.photos}
    assert paths == {name: str(tmp_path / name) for name in names} | {absolute: str(tmp_path / "data/b/9.jpg")}
    assert [(r.id, r.reason) for r in listing.rejections] == [
        (f"metadata.csv:{line}", "unsafe name") for line in (7, 8)
    ]


def test_photos_of_one_file_name_in_two_folders_are_two_photos_in_every_layout(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "0.jpg")
        write(tmp_path / folder / "0.txt", [f"A dog of {folder} ."])
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "1.jpg")
    write(tmp_path / "a" / "1.txt", ["A cat ."])
    expected = {"a/0.jpg": ("A dog of a .",), "b/0.jpg": ("A dog of b .",), "1.jpg": ("A cat .",)}
    assert {photo.id: photo.captions for photo in read_source(tmp_path, tmp_path).photos} == expected
    images = [
        {"filename": "0.jpg", "filepath": folder, "split": "train", "sentences": [{"raw": f"A dog of {folder} ."}]}
        for folder in "ab"
    ]
    images.append({"filename": "1.jpg", "filepath": "a", "split": "test", "sentences": [{"raw": "A cat ."}]})
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    assert {photo.id: photo.captions for photo in read_source(tmp_path, tmp_path).photos} == expected
