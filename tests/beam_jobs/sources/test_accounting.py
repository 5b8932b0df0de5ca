"""Whatever lies below the user's paths is read, or named with a reason."""

import json
import os

import pytest

from tests.support.photos import encoded, picture
from tests.support.sources import read_source
from tests.support.tars import member, photo, write_tar

PHOTO = encoded(picture(8, 8))


def put(folder, **files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def unread(listing):
    return {rejection.id: rejection.reason for rejection in listing.rejections if rejection.kind == "file"}


def captions_of(listing):
    return {found.id: found.captions for found in listing.photos}


def test_the_folder_that_the_job_writes_is_not_part_of_the_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, **{"a.jpg": PHOTO, "a.txt": "A .\n", "out/.lock": "", "out/vocabulary.txt": "a", "out2/b.bin": ""})
    (tmp_path / "link").symlink_to(tmp_path)
    for output in ("out", "./out/", tmp_path / "out", "link/out"):
        listing = read_source(".", tmp_path, output=output)
        assert set(unread(listing)) == {"out2/b.bin", "link"} and not any("files" in each for each in listing.warnings)


def test_json_beside_photos_holds_their_captions_with_or_without_texts(tmp_path):
    put(tmp_path, **{f"{name}.jpg": PHOTO for name in "abc"})
    put(tmp_path, **{"a.json": '{"caption": "Of a ."}', "b.json": '{"captions": ["One .", "Two ."]}', "c.json": "[1]"})
    listing = read_source(tmp_path, tmp_path)
    assert captions_of(listing) == {"a.jpg": ("Of a .",), "b.jpg": ("One .", "Two .")}
    assert listing.source == "folder" and listing.captions_in == 3 and set(unread(listing)) == {"c.json"}
    put(tmp_path, **{"b.txt": "One .\nThree .\n"})
    assert captions_of(read_source(tmp_path, tmp_path)) == {
        "a.jpg": ("Of a .",),
        "b.jpg": ("One .", "Three .", "Two ."),
    }


def test_everything_in_a_folder_of_pairs_is_read_or_named(tmp_path):
    for name in ("a.jpg", "b.jfif", "c.JPEG", "d", "e.jpg_large", "f.wrong.jpg", "g.png"):
        put(tmp_path, **{name: PHOTO, f"{name.rpartition('.')[0] or name}.txt": f"Of {name} .\n"})
    put(tmp_path, **{"g.caption": "Of g .\n", "lone.txt": "Nothing .\n", "h.npy": b"\0", "h.txt": "No photo .\n"})
    put(tmp_path, **{"README.md": "x", ".DS_Store": "x", "__MACOSX/._a.txt": "x", "._b.txt": "x", ".git/a.jpg": "x"})
    put(tmp_path, **{"a.json": json.dumps({"caption": "Of a, too ."}), "b.json": "[1]", "extra.gif": PHOTO})
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    listing = read_source(tmp_path, tmp_path)
    expected = {name: (f"Of {name} .",) for name in ("b.jfif", "c.JPEG", "d", "e.jpg_large", "f.wrong.jpg")}
    assert captions_of(listing) == expected | {
        "a.jpg": ("Of a.jpg .", "Of a, too ."),
        "g.png": ("Of g .", "Of g.png ."),
    }
    assert unread(listing) == {
        **dict.fromkeys(("lone.txt", "h.txt"), "no photo beside it"),
        **dict.fromkeys(("README.md", "b.json", "h.npy"), "neither photo nor captions"),
        **dict.fromkeys((".DS_Store", "__MACOSX/._a.txt", "._b.txt", ".git/a.jpg"), "hidden file"),
        **{"gone.jpg": "broken link", "pipe.txt": "not a regular file"},
    }
    assert [rejection.id for rejection in listing.rejections if rejection.kind == "unused"] == ["extra.gif"]
    (warning,) = [warning for warning in listing.warnings if warning.startswith("files that are not used")]
    assert warning.endswith(
        "1 broken link (gone.jpg), 2 no photo beside it (h.txt, lone.txt), 1 not a regular file (pipe.txt)"
    )


@pytest.mark.parametrize("linked", ["photos", "texts"])
def test_linked_folders_of_photos_and_captions_are_read_once(tmp_path, linked):
    put(tmp_path, **{"far/a.jpg": PHOTO, "far/a.txt": "A dog ."})
    for name in ("photos", "texts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "link").symlink_to("../far")
    (tmp_path / "far" / "up").symlink_to("..")
    (tmp_path / "photos" / "again").symlink_to("link")
    listing = read_source(tmp_path / "photos", tmp_path / linked)
    assert captions_of(listing) == {"a.jpg": ("A dog .",)}
    assert {name: reason for name, reason in unread(listing).items() if reason != "linked folder"} == {}


def test_files_beside_a_table_are_named_and_those_that_it_names_are_photos(tmp_path):
    names = {"a.dat": "a.dat", "b": "b.jpg", "c.jpg": "c", "d\u202fe.png": "d e.png", "x/f.jpg": "f.JPG"}
    put(tmp_path, **{f"photos/{name}": PHOTO for name in names})
    put(tmp_path, **{"photos/notes.txt": "x", "photos/b.xml": "x", "text/LICENSE": "x", "text/other/b.csv": "x"})
    put(tmp_path, **{"text/._captions.csv": b"\0\5\x16\7", "text/old.jpg": PHOTO})
    rows = "".join(f"{caption_name},A dog .\n" for caption_name in names.values())
    put(tmp_path, **{"text/captions.csv": f"image,caption\n{rows}"})
    listing = read_source(tmp_path / "photos", tmp_path / "text")
    assert {photo.id for photo in listing.photos} == set(names.values())
    assert unread(listing) == {
        **dict.fromkeys(("notes.txt", "b.xml", "LICENSE", "other/b.csv"), "neither photo nor captions"),
        **{"._captions.csv": "hidden file", "old.jpg": "photo in another place"},
    }


def test_members_of_tar_files_are_read_or_named(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    write_tar(
        folder / "0.tar",
        *(member(f"x/a.v2{ending}", photo() if ending == ".jpg" else b"One .") for ending in (".jpg", ".txt")),
        *(member("b.jfif", photo()), member("b.caption", b"Two .")),
        *(member("c.img", photo()), member("c.txt", b"Three ."), member("c.cls", b"7")),
        *(member("12.5mm.png", photo()), member("12.json", b'{"caption": "Four ."}')),
        *(member("README", b"x"), member("lone.txt", b"No photo ."), member("lone.json", b"{}")),
        *(member("__MACOSX/._b.jfif", b"x"), member("._b.caption", b"x"), member("d.seg.png", photo())),
    )
    put(folder, **{"index.json": "x", "._0.tar": "x"})
    listing = read_source(folder, folder)
    assert captions_of(listing) == {
        **{"a.v2.jpg": ("One .",), "b.jfif": ("Two .",), "c.img": ("Three .",), "12.5mm.png": ("Four .",)}
    }
    other, hidden = "neither photo nor captions", "hidden file"
    assert unread(listing) == {
        **{"0.tar/c.cls": other, "0.tar/README": other, "0.tar/lone.json": other, "index.json": other},
        **{"0.tar/__MACOSX/._b.jfif": hidden, "0.tar/._b.caption": hidden, "._0.tar": hidden},
        "0.tar/lone.txt": "no photo beside it",
    }
    assert [rejection.id for rejection in listing.rejections if rejection.kind == "unused"] == ["d.seg.png"]


@pytest.mark.parametrize(
    ("source", "name", "content"),
    [
        ("flickr8k", "my_tokens.txt", "a.jpg#0\tA dog .\n"),
        ("flickr30k", "tokens", "a.jpg#0\tA dog .\n"),
        ("coco", "annotations.json", '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": '
         '[{"image_id": 1, "caption": "A dog ."}]}'),
        ("karpathy", "k.json", '{"images": [{"filename": "a.jpg", "split": "train", '
         '"sentences": [{"raw": "A dog ."}]}]}'),
        ("table", "rows.dat", "image,caption\na.jpg,A dog .\n"),
        ("table", "rows.json", '{"image": "a.jpg", "caption": "A dog ."}\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_layout_that_is_named_reads_its_file_under_any_name_in_any_unicode(tmp_path, source, name, content, encoding):
    put(tmp_path, **{"photos/a.jpg": PHOTO, name: content.encode(encoding)})
    listing = read_source(tmp_path / "photos", tmp_path / name, source=source)
    assert captions_of(listing) == {"a.jpg": ("A dog .",)} and not listing.rejections
