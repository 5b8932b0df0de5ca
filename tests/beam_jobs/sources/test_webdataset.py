"""Tar files of photos and captions: read in place, unsafe members rejected by name, damage found."""

import io
import itertools
import tarfile
import tracemalloc

import pytest

from beam_jobs.build_records import main
from beam_jobs.execution.reading import read_photo
from beam_jobs.sources import SourceError
from beam_jobs.sources.base import Columns
from beam_jobs.sources.tar_members import members
from tests.conftest import IN_MEMORY
from tests.support.records import read_all
from tests.support.sources import read_source
from tests.support.tars import member, photo, sample, write_tar
from tfcaption.preprocessing import photos


def read(path, **options):
    return read_source(path, path, **options)


def captions_of(listing):
    return {found.id: found.captions for found in listing.photos}


def rejected(listing):
    return [(rejection.kind, rejection.id, rejection.reason) for rejection in listing.rejections]


def test_tar_files_are_recognised_and_every_photo_is_read_with_its_captions(tmp_path):
    write_tar(tmp_path / "0.tar", *sample("000", "One .", "Two ."), *sample("001", "Three ."))
    (tmp_path / "below").mkdir()
    write_tar(
        tmp_path / "below" / "1.tar", *sample("002", "Four .", folder="./"), *sample("003", "Five .", folder="a/b/")
    )
    listing = read(tmp_path)
    assert listing.source == "webdataset" and listing.rejections == [] and listing.captions_in == 5
    expected = {"000.png": ("One .", "Two ."), "001.png": ("Three .",), "002.png": ("Four .",), "003.png": ("Five .",)}
    assert captions_of(listing) == expected
    assert captions_of(read(tmp_path / "0.tar")) == {name: expected[name] for name in ("000.png", "001.png")}


def test_a_caption_with_line_breaks_in_both_files_is_one_caption(tmp_path):
    broken = "A red\ndog , \nwet ."
    listing = read(write_tar(tmp_path / "a.tar", *sample("0", broken, caption=broken), *sample("1", "One .", "Two .")))
    assert captions_of(listing) == {"0.png": (broken,), "1.png": ("One .", "Two .")}
    assert listing.captions_in == 3


@pytest.mark.parametrize("names", [("x-train-0000", "x-val-0000"), ("train/0000", "val/0000"), ("train1", "dev1")])
def test_tar_files_that_are_named_after_splits_or_in_folders_of_them_are_the_splits(tmp_path, names):
    for index, name in enumerate(names):
        (tmp_path / f"{name}.tar").parent.mkdir(exist_ok=True)
        write_tar(tmp_path / f"{name}.tar", *sample(str(index), "One ."))
    assert {found.id: found.split for found in read(tmp_path).photos} == {"0.png": "train", "1.png": "dev"}


def test_tar_files_whose_names_contradict_their_json_files_are_refused_until_a_column_decides(tmp_path):
    write_tar(tmp_path / "x-train-0000.tar", *sample("0", "One ."), *sample("1", "Two .", subset="test"))
    write_tar(tmp_path / "x-val-0000.tar", *sample("2", "Three .", subset="val"))
    with pytest.raises(SourceError, match="1.png is in two splits: test by `subset` in the captions, train by "):
        read(tmp_path)
    listing = read(tmp_path, columns=Columns("-", "caption", "subset"))
    assert {found.id: found.split for found in listing.photos} == {"1.png": "test", "2.png": "dev"}
    assert ("unused", "0.png", "in no split") in rejected(listing)


def test_a_photo_that_can_be_read_comes_before_a_heic_photo_of_the_same_key(tmp_path):
    members = [member(f"0{suffix}", photo()) for suffix in (".heic", ".jpg")]
    listing = read(write_tar(tmp_path / "a.tar", *members, member("0.txt", b"One .\n")))
    assert captions_of(listing) == {"0.jpg": ("One .",)}
    assert rejected(listing) == [("unused", "0.heic", "no captions")]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_location_gives_exactly_the_bytes_of_the_photo(tmp_path, kind):
    name = "x" * (90 if kind == tarfile.USTAR_FORMAT else 150)  # the others store a long name before the member
    contents = {f"{name}{width}": photo(width) for width in (40, 41, 52)}
    pairs = [(member(f"{key}.png", data), member(f"{key}.txt", b"A")) for key, data in contents.items()]
    path = write_tar(tmp_path / "a.tar", *itertools.chain(*pairs), kind=kind)
    for found in read(path).photos:
        offset, size = found.location.offset, found.location.size
        assert path.read_bytes()[offset : offset + size] == contents[found.id.partition(".")[0]]


def test_captions_in_json_have_usual_names_and_count_once_if_the_text_file_has_them(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        *sample("a", "One .", "One .", caption="One .", url="http://x", split="train"),
        *sample("b", "One .", caption_0="Two .", caption_1=" One . ", caption_2=None, split="val"),
        member("c.json", b'{"text": "Three .", "split": "test", "caption": null}'),
        member("c.jpg", photo()),
        member("d.json", b'{"satz": "Vier .", "teil": "test"}'),
        member("d.jpg", photo()),
    )
    listing = read(path)
    assert captions_of(listing) == {"a.png": ("One .", "One ."), "b.png": ("One .", "Two .")}
    assert {found.id: found.split for found in listing.photos} == {"a.png": "train", "b.png": "dev"}
    assert listing.captions_in == 4 and {name for _, name, _ in rejected(listing)} == {"c.jpg", "d.jpg"}
    listing = read(path, columns=Columns("-", "satz", "teil"))
    assert {found.id: (found.captions, found.split) for found in listing.photos}["d.jpg"] == (("Vier .",), "test")


UNSAFE = {
    "up": member("../up.png", b"x"),
    "up inside": member("a/../../up.png", b"x"),
    "absolute": member("/etc/up.png", b"x"),
    "backslash": member("C:\\up.png", b"x"),
    "link": member("up.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": member("up.png", type=tarfile.LNKTYPE, linkname="a.png"),
    "device": member("up.png", type=tarfile.CHRTYPE),
    "pipe": member("up.png", type=tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_unsafe_member_is_rejected_by_its_name_and_counted(tmp_path, case):
    info, data = UNSAFE[case]
    text = tarfile.TarInfo.frombuf(info.tobuf(), "utf-8", "strict")
    text.name = text.name.replace(".png", ".txt")
    listing = read(write_tar(tmp_path / "a.tar", *sample("a", "One ."), (info, data), (text, data)))
    assert captions_of(listing) == {"a.png": ("One .",)}
    assert rejected(listing) == [
        ("photo", info.name, "unsafe member"),
        ("caption", f"a.tar/{text.name}", "unsafe member"),
    ]
    assert listing.photos_in == 2 and listing.captions_in == 2


def test_folders_are_no_members_and_hidden_files_and_other_kinds_are_named(tmp_path):
    folder = member("a/", type=tarfile.DIRTYPE)
    others = [member("a/._000.png", b"Mac"), member("000.cls", b"7"), member("000.seg.png", photo()), member("README")]
    listing = read(write_tar(tmp_path / "a.tar", folder, *sample("000", "One ."), *others))
    assert captions_of(listing) == {"000.png": ("One .",)}
    assert rejected(listing) == [
        ("file", "a.tar/a/._000.png", "hidden file"),
        ("file", "a.tar/000.cls", "neither photo nor captions"),
        ("file", "a.tar/README", "neither photo nor captions"),
        ("unused", "000.seg.png", "no captions"),
    ]


def test_photos_of_the_same_name_in_two_tar_files_have_the_files_in_their_ids(tmp_path):
    write_tar(tmp_path / "a.tar", *sample("0", "One ."), *sample("1", "Two ."))
    write_tar(tmp_path / "b.tar", *sample("0", "Three .", folder="x/"))
    expected = {"1.png": ("Two .",), "a.tar/0.png": ("One .",), "b.tar/x/0.png": ("Three .",)}
    assert captions_of(read(tmp_path)) == expected


def test_members_of_the_same_name_are_ambiguous_and_a_second_caption_member_is_a_duplicate(tmp_path):
    write_tar(tmp_path / "a.tar", *sample("0", "One ."), *sample("1", "Two ."), member("1.txt", b"Again ."))
    write_tar(tmp_path / "b.tar", *sample("2", "Three ."), *sample("2", "Four ."))
    listing = read(tmp_path)
    assert captions_of(listing) == {"0.png": ("One .",), "1.png": ("Two .",)}
    duplicates = [("caption", "a.tar/1.txt", "duplicate id"), ("caption", "b.tar/2.txt", "duplicate id")]
    assert rejected(listing) == [*duplicates, ("photo", "2.png", "ambiguous photo")]
    assert "b.tar, byte " in listing.rejections[2].detail
    assert listing.rejections[2].captions == 1 and listing.captions_in == 5


def test_bad_captions_are_rejected_by_tar_file_and_member(tmp_path):
    bad = {
        "b.json": (b"{", "malformed line"),
        "c.json": (b"[1]", "malformed line"),
        "d.json": (b'{"caption": 7}', "not text"),
        "e.json": (b'{"caption": "\\ud800 a dog"}', "not UTF-8"),
        "f.json": (b"[" * 100_000, "malformed line"),
        "g.txt": (b"caf\xe9", "not UTF-8"),
        "h.txt": (b"x" * 1_000_001, "malformed line"),
        "i.txt": (b" . ", "empty caption"),
    }
    pairs = [(member(name, data), member(f"{name[0]}.jpg", b"x")) for name, (data, _) in bad.items()]
    listing = read(write_tar(tmp_path / "a.tar", *sample("a", "One ."), *itertools.chain(*pairs)))
    found = {r.id.partition("[")[0].partition(":")[0]: r.reason for r in listing.rejections if r.kind == "caption"}
    assert found == {f"a.tar/{name}": reason for name, (_, reason) in bad.items()}
    assert {r.id for r in listing.rejections if r.reason == "no captions"} == {f"{letter}.jpg" for letter in "bcdefghi"}
    assert captions_of(listing) == {"a.png": ("One .",)} and listing.captions_in == 9


def test_damage_anywhere_in_a_tar_file_is_an_error_that_names_it(tmp_path):
    data = write_tar(tmp_path / "a.tar", *sample("a", "One ."), *sample("b", "Two .")).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as stream:
        headers = [found.offset for found in stream]
    size = tarfile.TarInfo.frombuf(data[headers[2] : headers[2] + 512], "utf-8", "strict")
    size.size = -1024
    negative = size.tobuf(tarfile.GNU_FORMAT)
    damaged = {
        "no tar": b"no tar at all" * 100,
        "empty": b"",
        "compressed": b"\x1f\x8b" + data,
        "header": data[: headers[2]] + b"\xff" * 8 + data[headers[2] + 8 :],
        "cut in a member": data[: headers[2] + 600],
        "cut in a header": data[: headers[2] + 100],
        "cut at a header": data[: headers[2]],
        "two tars": data + data,
        "negative size": data[: headers[2]] + negative + data[headers[2] + 512 :],
    }
    for case, content in damaged.items():
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(SourceError, match="a.tar: .*(get it again|is empty)"):
            pytest.fail(f"{case}: {read(tmp_path / 'a.tar')}")


def test_a_tar_without_captions_is_an_error_that_names_its_texts(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", *(member(f"0.{name}.png", photo()) for name in "ab"), member("0.txt", b"A dog .")
    )
    with pytest.raises(SourceError, match=r"a.tar: holds no captions: 1 no photo beside it \(a.tar/0.txt\)"):
        read_source(path, path)


def test_photos_and_captions_may_be_in_different_tar_files_but_not_in_a_folder_without_any(tmp_path):
    path = write_tar(tmp_path / "a.tar", *sample("a", "One ."))
    (tmp_path / "photos").mkdir()
    with pytest.raises(SourceError, match="photos: holds no .tar; name the path of --captions"):
        read_source(tmp_path / "photos", path)
    (tmp_path / "captions.csv").write_text("image,caption\na.png,One .\n")
    with pytest.raises(SourceError, match="--images .*a.tar: is a file; name the folder of the photos"):
        read_source(path, tmp_path / "captions.csv")


def test_listing_keeps_one_header_in_memory_at_a_time(tmp_path):
    count = 5_000
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as stream:
        for index in range(count):
            stream.addfile(tarfile.TarInfo(f"{index:06}.jpg"))
    tracemalloc.start()
    assert sum(1 for _ in members(tmp_path / "a.tar")) == count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_records_from_tar_files_equal_records_from_a_folder(sample_records, tmp_path):
    """The photos of records, once in tar files and once in a folder, with text files beside them."""
    _, found = read_all(sample_records)
    (tmp_path / "folder").mkdir()
    parts = {"0": [], "1": []}
    for index, (name, (_, record)) in enumerate(sorted(found.items())):
        key, text = name.removesuffix(".jpg"), "".join(f"{caption}\n" for caption in record.captions)
        (tmp_path / "folder" / name).write_bytes(record.jpeg)
        (tmp_path / "folder" / f"{key}.txt").write_text(text)
        parts[str(index % 2)] += [member(f"{key}.txt", text.encode()), member(name, record.jpeg)]
    (tmp_path / "tars").mkdir()
    for name, found in parts.items():
        write_tar(tmp_path / "tars" / f"{name}.tar", *found)
    for source in ("folder", "tars"):
        arguments = ["--images", str(tmp_path / source), "--captions", str(tmp_path / source), "--image_size=32"]
        assert main([*arguments, "--output", str(tmp_path / f"{source}-records"), *IN_MEMORY]) == 0
    for path in (tmp_path / "folder-records").iterdir():
        if path.name != "dataset.json":
            assert path.read_bytes() == (tmp_path / "tars-records" / path.name).read_bytes()
    assert len(read_all(tmp_path / "tars-records")[1]) == 60
    assert not list(tmp_path.rglob("tars/*.jpg"))  # nothing was unpacked


def test_a_photo_that_is_too_large_is_rejected_before_it_is_read_completely(tmp_path, monkeypatch):

    path = tmp_path / "large"
    path.write_bytes(b"x" * 5000)
    monkeypatch.setattr(photos, "MAX_BYTES", 1000)
    for location in ((str(path),), (str(path), 100, 4000)):
        data = read_photo(*location)
        assert len(data) == 1001
        with pytest.raises(photos.PhotoError, match="too large: more than 1,000 bytes"):
            photos.prepare_photo(data, image_size=32, resize="squash")
    assert len(read_photo(str(path), 4500, 200)) == 200
