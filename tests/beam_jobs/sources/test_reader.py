"""The Flickr8k layout, intact and damaged: a clear error, or a rejection with its name and reason."""

import os
import tracemalloc

import pytest

from beam_jobs.sources import SourceError, joining
from beam_jobs.sources.reader import LAYOUTS, known_layouts
from beam_jobs.sources.splits import divide
from tests.support.sources import SmallDataset, read_source
from tfcaption.records.dataset_info import SPLITS
from tfcaption.records.sharding import hash_share


@pytest.fixture
def source(tmp_path):
    return SmallDataset(tmp_path)


def rejections(listing, kind):
    return [(r.id, r.reason) for r in listing.rejections if r.kind == kind]


def test_an_intact_source_is_read_completely(source):
    listing = source.read()
    assert [photo.id for photo in listing.photos] == [f"{name}.jpg" for name in "abcdefghij"]
    assert {photo.split for photo in listing.photos} == {"train", "dev", "test"}
    assert listing.photos[0].captions == ("A photo of a .", "A photo of a .")
    assert (listing.rejections, listing.captions_in, listing.photos_in) == ([], 20, 10)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no tab here", "malformed line"),
        (b"a.jpg\tno number", "malformed line"),
        (b"a.jpg#x\tno number", "malformed line"),
        (b"../../etc/passwd#0\tA secret .", "unsafe name"),
        (b"/etc/passwd#0\tA secret .", "unsafe name"),
        (b"..#0\tA secret .", "unsafe name"),
        (b"C:\\photo.jpg#0\tA secret .", "unsafe name"),
        (b"a.jpg#0\tAgain .", "duplicate id"),
        (b"a.jpg#7\t", "empty caption"),
        (b"a.jpg#7\t . !", "empty caption"),
        (b"a.jpg#7\tcaf\xe9 in Latin-1", "not UTF-8"),
    ],
)
def test_a_bad_line_is_rejected_by_file_and_line(source, line, reason):
    source.lines.append(line)
    listing = source.read()
    assert rejections(listing, "caption") == [("Flickr8k.token.txt:21", reason)]
    assert len(listing.photos) == 10 and listing.captions_in == 21


def test_the_missing_photo_of_flickr8k_is_rejected_by_name(source):
    source.lines += [f"2258277193_586949ec62.jpg.1#{k}\tNobody .".encode() for k in range(5)]
    listing = source.read()
    assert rejections(listing, "photo") == [("2258277193_586949ec62.jpg.1", "missing photo")]
    assert listing.rejections[0].captions == 5


def test_photos_without_captions_and_captions_without_photo_are_rejected_by_name(source):
    source.photo("lonely.jpg")
    (source.images / "a.jpg").unlink()
    source.lines = [line for line in source.lines if not line.startswith(b"b.jpg")]
    expected = [("a.jpg", "missing photo"), ("b.jpg", "no captions"), ("lonely.jpg", "no captions")]
    assert rejections(source.read(), "photo") == expected


def test_the_error_about_a_folder_without_captions_has_a_short_line_for_each_layout(source):
    with pytest.raises(SourceError) as error:
        read_source(source.images, source.texts)
    first, *lines = str(error.value).splitlines()
    assert "holds no captions" in first
    assert [line.split()[0] for line in lines] == [layout.name for layout in LAYOUTS]
    assert max(map(len, lines)) <= 120


def test_a_photo_whose_only_captions_are_empty_has_no_captions(source):
    source.photo("z.jpg")
    source.lines.append(b"z.jpg#0\t.")
    listing = source.read()
    assert rejections(listing, "photo") == [("z.jpg", "no captions")]
    assert rejections(listing, "caption") == [("Flickr8k.token.txt:21", "empty caption")]


def test_a_listed_photo_that_does_not_exist_is_rejected_by_name(source):
    with (source.texts / "Flickr_8k.devImages.txt").open("a") as stream:
        stream.write("ghost.jpg\n")
    assert rejections(source.read(), "photo") == [("ghost.jpg", "no captions")]


def test_pipes_devices_and_broken_links_are_not_photos(source):
    os.mkfifo(source.images / "pipe.jpg")
    (source.images / "zero.jpg").symlink_to("/dev/zero")
    (source.images / "gone.jpg").symlink_to("nowhere")
    (source.images / "link.jpg").symlink_to("a.jpg")
    names = ["gone.jpg", "link.jpg", "pipe.jpg", "zero.jpg"]
    source.lines += [f"{name}#0\tA photo .".encode() for name in names]
    with (source.texts / "Flickr_8k.devImages.txt").open("a") as stream:
        stream.writelines(f"{name}\n" for name in names)
    listing = source.read()
    assert rejections(listing, "photo") == [(name, "missing photo") for name in names if name != "link.jpg"]
    assert "link.jpg" in {photo.id for photo in listing.photos}


def test_two_files_with_the_same_name_are_ambiguous(source):
    source.photo("copy/a.jpg")
    assert rejections(source.read(), "photo") == [("a.jpg", "ambiguous photo")]


def test_the_hidden_files_of_mac_archives_are_not_photos(source):
    source.photo("__MACOSX/._a.jpg")
    (source.images / "readme.txt").write_text("hello")
    listing = source.read()
    assert dict(rejections(listing, "file")) == {
        **{"below/__MACOSX/._a.jpg": "hidden file", "below/readme.txt": "neither photo nor captions"}
    }
    assert len(listing.rejections) == 2 and len(listing.photos) == 10


def test_photos_in_no_split_file_are_unused_if_all_three_files_exist(source):
    source.photo("extra.jpg")
    source.lines.append(b"extra.jpg#0\tAn extra one .")
    listing = source.read()
    assert rejections(listing, "unused") == [("extra.jpg", "in no split")]
    assert listing.photos_in == 10


def test_without_split_files_a_hash_divides_the_photos_by_the_shares(source):
    for file in source.texts.glob("Flickr_8k.*"):
        file.unlink()
    for index in range(400):
        source.photo(f"{index}.jpg")
        source.lines.append(f"{index}.jpg#0\tNumber {index} .".encode())
    listing = source.read(shares={"train": 0.5, "dev": 0.25, "test": 0.25})
    sizes = {split: sum(photo.split == split for photo in listing.photos) for split in ("train", "dev", "test")}
    assert sizes in ({"train": 205, "dev": dev, "test": 205 - dev} for dev in (102, 103))
    assert source.read(shares={"train": 0.5, "dev": 0.25, "test": 0.25}).photos == listing.photos
    other = source.read(shares={"train": 0.5, "dev": 0.25, "test": 0.25}, seed=1)
    assert other.photos != listing.photos


@pytest.mark.parametrize(
    ("photos", "shares", "sizes"),
    [
        (40, (0.75, 0.125, 0.125), (30, 5, 5)),
        (58, (0.75, 0.125, 0.125), (44, 7, 7)),  # 43.5, 7.25, 7.25
        (240, (0.75, 0.125, 0.125), (180, 30, 30)),
        (1_999, (0.8, 0.1, 0.1), (1_599, 200, 200)),
        (5, (0.98, 0.01, 0.01), (3, 1, 1)),
        (3, (0.75, 0.125, 0.125), (1, 1, 1)),
        (2, (0.75, 0.125, 0.125), (2, 0, 0)),
        (7, (1, 0, 0), (7, 0, 0)),
        (9, (0.5, 0.5, 0), (5, 4, 0)),
        (0, (0.75, 0.125, 0.125), (0, 0, 0)),
    ],
)
def test_few_photos_are_divided_exactly_whatever_their_order(photos, shares, sizes):
    names = [f"{index}.jpg" for index in range(photos)]
    of_split = dict(zip(SPLITS, shares, strict=True))
    split_of = divide(names, SPLITS, of_split, seed=0)
    assert tuple(list(split_of.values()).count(split) for split in SPLITS) == sizes
    assert divide(names[::-1], SPLITS, of_split, seed=0) == split_of
    assert split_of.keys() == set(names)


def test_from_2000_photos_on_the_split_of_a_photo_depends_on_its_name_alone():
    names = [f"{index}.jpg" for index in range(2_500)]
    shares = dict(zip(SPLITS, (0.75, 0.125, 0.125), strict=True))
    found = divide(names, SPLITS, shares, seed=0)
    assert divide(names[:2_000], SPLITS, shares, seed=0).items() <= found.items()
    for name, split in found.items():  # the rule of all data sets built so far
        share = hash_share(name, seed=0)
        assert split == ("train" if share < 0.75 else "dev" if share < 0.875 else "test")


def test_another_seed_divides_few_photos_in_another_way():
    names = [f"{index}.jpg" for index in range(40)]
    shares = dict.fromkeys(SPLITS, 1 / 3)
    assert divide(names, SPLITS, shares, seed=0) != divide(names, SPLITS, shares, seed=1)


def test_a_small_dev_split_is_a_warning_that_names_the_option_where_it_helps(source):
    (warning,) = source.read().warnings
    assert warning == "dev has 2 photos: its scores say little"  # its official files decide
    for file in source.texts.glob("Flickr_8k.*"):
        file.unlink()
    assert source.read().warnings == ["dev has 1 photo: its scores say little; --shares gives it more"]
    for index in range(400):
        source.photo(f"{index}.jpg")
        source.lines.append(f"{index}.jpg#0\tNumber {index} .".encode())
    assert source.read().warnings == []


def test_unlisted_photos_go_to_the_split_whose_file_is_missing(source):
    (source.texts / "Flickr_8k.testImages.txt").unlink()
    splits = {photo.id: photo.split for photo in source.read().photos}
    assert (splits["i.jpg"], splits["j.jpg"], splits["a.jpg"], splits["g.jpg"]) == ("test", "test", "train", "dev")


def test_a_photo_in_two_splits_is_an_error_that_names_both_lines(source):
    with (source.texts / "Flickr_8k.testImages.txt").open("a") as stream:
        stream.write("a.jpg\n")
    with pytest.raises(SourceError, match=r"testImages.txt, line 3: a.jpg is in two splits.*trainImages.txt, line 1"):
        source.read()


def test_unusable_paths_and_files_are_errors_that_name_them(source, tmp_path):
    with pytest.raises(SourceError, match="--images .*nowhere"):
        read_source(tmp_path / "nowhere", source.texts)
    with pytest.raises(SourceError, match="--captions .*nowhere"):
        read_source(source.images, tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"text: holds no captions of a known layout; these are known:\n  flickr8k  "):
        read_source(source.images, source.texts)
    with pytest.raises(SourceError, match="no captions of the layout flickr8k: Flickr8k.token.txt"):
        read_source(source.images, source.texts, source="flickr8k")
    with pytest.raises(SourceError, match="--source flikr8k: no such layout; known are auto, flickr8k"):
        read_source(source.images, source.texts, source="flikr8k")
    source.lines = []
    with pytest.raises(SourceError, match="is empty"):
        source.read()
    source.lines = [b"a.jpg#0\tA photo ."]
    (source.texts / "Flickr_8k.devImages.txt").write_bytes(b"\xe9.jpg\n")
    with pytest.raises(SourceError, match="devImages.txt, line 1: not UTF-8"):
        source.read()


def test_line_ends_and_byte_order_marks_do_not_matter(source):
    intact = source.read().photos
    source.lines = [b"\xef\xbb\xbf" + source.lines[0] + b"\r", *[line + b"\r" for line in source.lines[1:]], b""]
    assert source.read().photos == intact


def test_records_without_a_dev_photo_are_told_before_any_job(source):
    *_, warning = source.read(shares={"train": 1.0, "dev": 0.0, "test": 0.0}).warnings
    assert (
        warning.startswith("dev has no photo, so these records cannot be trained on: ") and "--shares 0.75" in warning
    )


def test_training_captions_that_are_all_the_same_are_a_warning(source):
    source.lines = [f"{name}.jpg#{k}\tA photo .".encode() for name in "abcdefghij" for k in range(2)]
    _, warning = source.read().warnings
    assert warning.startswith("all training captions (12) are the same") and warning.endswith("? A photo .")
    source.lines[0] = b"a.jpg#0\tAnother photo ."
    assert len(source.read().warnings) == 1


def test_an_unused_photo_of_the_same_name_takes_no_captioned_one_away(source):
    source.photo("thumbnails/z.jpg")
    source.photo("../z.jpg")
    source.lines.append(b"z.jpg#0\tA photo of z .")
    with (source.texts / "Flickr_8k.trainImages.txt").open("a") as stream:
        stream.write("z.jpg\n")
    listing = source.read()
    assert [photo.location.path for photo in listing.photos if photo.id == "z.jpg"] == [
        str(source.images.parent / "z.jpg")
    ]
    assert rejections(listing, "photo") == [("z.jpg", "no captions")] and listing.photos_in == 12


def test_a_photo_with_too_many_captions_is_refused_by_name(source, monkeypatch):
    monkeypatch.setattr(joining, "MOST_CAPTIONS", 3)
    source.lines += [f"a.jpg#{k}\tA photo .".encode() for k in range(2, 5)]
    with pytest.raises(SourceError, match=r"Flickr8k.token.txt:22: a.jpg has more than 3 captions; does the first of"):
        source.read()


def test_photos_as_named_are_not_looked_for(source, tmp_path):
    source.photo("extra.jpg")
    (tmp_path / "captions.csv").write_text("image,caption\nbelow/a.jpg,A dog .\nbelow/gone.jpg,A cat .\n")
    listing = read_source(source.images.parent, tmp_path / "captions.csv", photos_as_named=True)
    locations = {photo.id: photo.location.path for photo in listing.photos}
    assert locations == {f"below/{name}.jpg": str(source.images / f"{name}.jpg") for name in ("a", "gone")}
    assert listing.rejections == []


@pytest.mark.parametrize("layout", ["table", "webdataset", "parquet"])
def test_files_of_captions_are_found_among_photos_without_all_their_names_in_memory(layout, tmp_path):
    def peak(folders):
        for folder in range(folders):
            (tmp_path / str(folder)).mkdir(exist_ok=True)
            for number in range(100):
                (tmp_path / str(folder) / f"{number}.jpg").touch()
        tracemalloc.start()
        assert known_layouts()[layout].files(tmp_path) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    peaks = []
    for folders in (5, 5, 20, 20):  # one of two may have a cache of Python's to fill
        peak(folders)
    assert min(peaks[2:]) - min(peaks[:2]) < 15 * 100 * 100  # bytes; a path takes some 280
