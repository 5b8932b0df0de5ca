"""Small data sets of every caption layout and its odd cases, each built by `build_records`, and what comes out."""

import contextlib
import hashlib
import io
import json
import os
import re
import zlib

from PIL import Image

from beam_jobs.build_records import main
from beam_jobs.sources.base import CaptionLine, Source, text_lines
from tests.conftest import IN_MEMORY
from tests.support.photos import encoded, truncated
from tests.support.tars import member, write_tar
from tfcaption.records import tfrecord
from tfcaption.records.examples import decode_record

PHOTOS, TEXT = "photos", "text"
_TIMED = re.compile(r"in \d+\.\d s: [\d,]+ photos/s")


class Lines(Source):
    """The example of `Source`, a layout of another package."""

    name = "lines"
    layout = "captions.lines, a photo's name and a caption a line"

    def files(self, captions):
        return sorted(captions.glob("*.lines")) if captions.is_dir() else []

    def read(self, files, listing, columns):
        for path in files:
            for number, line in text_lines(path, listing):
                photo, _, caption = line.partition(" ")
                yield CaptionLine(f"{path.name}:{number}", photo, caption)


def photo(name):
    """A PNG whose bytes depend on the name alone."""
    number = zlib.crc32(name.encode())
    return encoded(Image.new("RGB", (8, 8), (number & 255, number >> 8 & 255, number >> 16 & 255)))


def files(**contents):
    """A data set of files: path -> content, None for a photo."""

    def make(folder):
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = photo(path.name) if content is None else content
            path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return make


def photos(*names, folder=PHOTOS):
    return dict.fromkeys(f"{folder}/{name}" for name in names)


def numbered(*names, count=2):
    return "".join(f"{name}#{k}\tA photo of {name} , number {k} .\n" for name in names for k in range(count))


def rows(*names, header="image,caption", more=""):
    return f"{header}\n" + "".join(f"{name},A dog of {name.partition('.')[0]} runs{more}\n" for name in names)


def split_rows(header="image,caption,split", **splits):
    lines = [f"{name}.jpg,A dog of {name} runs,{split}" for name, split in splits.items()]
    return "\n".join([header, *lines, ""])


def coco(names, first=100, *, text=(), more=()):
    images = [{"id": first + index, "file_name": name} for index, name in enumerate(names)]
    annotations = [
        {"image_id": str(image["id"]) if image["file_name"] in text else image["id"], "caption": f"A {word} dog ."}
        for image in images
        for word in ("red", "wet", image["file_name"][0])
    ]
    return json.dumps({"images": images, "annotations": [*annotations, *more]})


def karpathy(entries):
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": f"A dog {k} of {name} ."} for k in "xy"], **more}
        for name, split, more in entries
    ]
    return json.dumps({"images": images})


LETTERS = [f"{letter}.jpg" for letter in "abcdefghij"]
LISTS = {
    f"{TEXT}/Flickr_8k.trainImages.txt": "".join(f"{name}\n" for name in LETTERS[:6]),
    f"{TEXT}/Flickr_8k.devImages.txt": "".join(f"{name}\n" for name in LETTERS[6:8]),
    f"{TEXT}/Flickr_8k.testImages.txt": "".join(f"{name}\n" for name in LETTERS[8:]),
}
FLICKR8K = {**photos(*LETTERS, folder=f"{PHOTOS}/below"), f"{TEXT}/Flickr8k.token.txt": numbered(*LETTERS)}
TABLE = {**photos(*LETTERS), f"{TEXT}/captions.csv": rows(*LETTERS)}
FEW = photos("0.jpg", "1.jpg", "2.jpg")
BAD_LINES = (
    b"no tab\na.jpg\tno number\n../up.jpg#0\tUp .\na.jpg#0\tAgain .\na.jpg#9\t.\nphantom.jpg.1#0\tA ghost .\n"
    b"empty.jpg#0\tNothing .\nlink.jpg#0\tA link .\ngone.jpg#0\tGone .\n"
) + b"a.jpg#8\tcaf\xe9\n"


JSON_LINES = "".join(
    json.dumps({"file_name": name, "captions": [f"A dog {name} .", {"raw": "A cat ."}]}) + "\n" for name in LETTERS
) + (
    '{"file_name": "a.jpg"\n[]\n{"file_name": "a.jpg"}\n{"file_name": "a.jpg", "caption": 5}\n'
    '{"file_name": "a.jpg", "caption": "A\\u0000dog"}\n{"file_name": "b.jpg", "caption": "\\ud800 dog"}\n'
)
FILE_NAMES = ("0.jpg", "1.jpg", "2.jpg")


def many(folder):
    """More photos than are divided exactly, in two files of a table and folders of their own."""
    small = photo("many")
    names = [f"{index:04}.png" for index in range(2_040)]
    for name in names:
        path = folder / PHOTOS / name[:1] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small + name.encode())  # decoders ignore what follows the image
    (folder / TEXT).mkdir()
    for index, part in enumerate((names[:1_500], names[1_400:])):
        (folder / TEXT / f"part{index}.csv").write_text(rows(*part))


def odd_folder(folder):
    """Photos and texts beside each other, with all that may lie between them."""
    names = ("a.jpg", "b.jfif", "c.JPEG", "d", "e.jpg_large", "f.wrong.jpg", "g.png", "x/0.jpg", "y/0.jpg", "h.jpg")
    put = {name: photo(name) for name in names}
    put |= {f"{name.rpartition('.')[0] or name}.txt": f"Of {name} .\nA second of it\n".encode() for name in names}
    put |= {"g.caption": b"Of g .\n", "lone.txt": b"Nothing .\n", "h.txt": b"Of h .\nA second .\ncaf\xe9\n . \n"}
    put |= {"README.md": b"x", ".DS_Store": b"x", "__MACOSX/._a.txt": b"x", "._b.txt": b"x", ".git/a.jpg": b"x"}
    put |= {"a.json": b'{"caption": "Of a, too .", "split": ""}', "b.json": b"[1]", "extra.gif": photo("extra.gif")}
    put |= {"i.heic": b"no photo", "i.txt": b"Of i .\n", "i.jpg": photo("i.jpg"), "n.npy": b"\0", "n.txt": b"No photo"}
    put |= {"k.jpg": truncated(), "k.txt": b"Of k .\n"}
    for name, data in put.items():
        path = folder / PHOTOS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / PHOTOS / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(folder / PHOTOS / "pipe.txt")


def linked_folders(folder):
    files(**{"far/a.jpg": None, "far/a.txt": "A dog .", "far/b.jpg": None, "far/b.txt": "A cat ."})(folder)
    for name in (PHOTOS, TEXT):
        (folder / name).mkdir()
        (folder / name / "link").symlink_to("../far")
    (folder / "far" / "up").symlink_to("..")
    (folder / PHOTOS / "again").symlink_to("link")


def flickr8k_damaged(folder):
    files(
        **FLICKR8K,
        **LISTS,
        **{f"{PHOTOS}/{name}": content for name, content in {"lonely.png": None, "empty.jpg": b""}.items()},
        **{f"{PHOTOS}/copy/b.jpg": None, f"{PHOTOS}/__MACOSX/._a.jpg": b"x", f"{PHOTOS}/readme.txt": "hello"},
        **{f"{PHOTOS}/extra.jpg": None},
    )(folder)
    with (folder / TEXT / "Flickr8k.token.txt").open("ab") as stream:
        stream.write(BAD_LINES + b"extra.jpg#0\tAn extra one .\n")
    with (folder / TEXT / "Flickr_8k.trainImages.txt").open("a") as stream:
        stream.write("ghost.jpg\nempty.jpg\nlink.jpg\ngone.jpg\nphantom.jpg.1\n")
    (folder / PHOTOS / "below" / "link.jpg").symlink_to("a.jpg")
    (folder / PHOTOS / "below" / "gone.jpg").symlink_to("nowhere")


def sample(key, *captions, folder="", **fields):
    yield member(f"{folder}{key}.png", photo(key))
    yield member(f"{folder}{key}.txt", "".join(f"{caption}\n" for caption in captions).encode())
    if fields:
        yield member(f"{folder}{key}.json", json.dumps(fields).encode())


def tars(**contents):
    def make(folder):
        for name, members in contents.items():
            path = folder / PHOTOS / f"{name}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tar(path, *members())

    return make


def odd_members():
    yield from (*sample("0", "One .", "Two .", url="x"), *sample("1", "Two ."), member("1.txt", b"Again ."))
    yield from (*sample("2", "Three ."), *sample("2", "Four ."), *sample("3", "Of 3 .", folder="x/"))
    for ending in (".jpg", ".txt"):
        yield member(f"x/a.v2{ending}", photo("a.v2") if ending == ".jpg" else b"One dog .")
    yield from (member("b.jfif", photo("b")), member("b.caption", b"Two dogs ."), member("7.img", photo("7")))
    yield from (member("7.txt", b"Three dogs ."), member("7.cls", b"7"), member("12.5mm.png", photo("12")))
    yield from (member("12.json", b'{"caption": "Four dogs ."}'), member("README", b"x"), member("lone.txt", b"Lone"))
    yield from (member("__MACOSX/._b.jfif", b"x"), member("d.seg.png", photo("d")), member("../up.png", b"x"))
    yield from (member("9.heic", b"x"), member("9.jpg", photo("9")), member("9.txt", b"Nine .\ncaf\xe9\n"))
    yield from (member("l.txt", b"x" * 1_000_001), member("l.jpg", photo("l")), member("k.json", b"{"))
    yield member("k.png", photo("k"))


def odd_names(folder):
    put = dict.fromkeys(
        (
            *("data/a/0.jpg", "data/b/0.jpg", "data/a/1.jpg", "data/b/1.jpg", "data/b/9.jpg", "A.JPG", "fe\u0301.jpg"),
            *("b.jpeg", "0123", "Bild\u202f1.png", "twice/c.jpg", "twice/C.jpg", "many/0/m.png", "many/1/m.png"),
            *("0456.png", "unused/one.jpg", "unused/two.jpg", "thumbnails/T.jpg", "t.jpg", "u.JPG", "U.jpg"),
        )
    )
    files(**{f"{PHOTOS}/{name}": photo(name) for name in put})(folder)
    names = [
        *("data/a/0.jpg", "./data/b/0.jpg", "data\\a\\1.jpg", "other/b/1.jpg", folder / PHOTOS / "data/b/9.jpg"),
        *("/0.jpg", "../0.jpg", "a.jpg", "f\u00e9.jpg", "b.jpg", "0123.png", "bild 1.PNG", "c.jpg", "m.png", "0456"),
        *("t.jpg", "missing/z.jpg", "u.jpg", "u.JPG", "x/y/data/a/0.jpg", "a.jpg", ""),
    ]
    table = "image,caption\n" + "".join(f"{name},A dog of {index} runs\n" for index, name in enumerate(names))
    files(**{f"{TEXT}/captions.csv": table})(folder)


def held_out(folder):
    names = [f"{1000092795 + 7 * index}.jpg" for index in range(12)]
    files(**photos(*names), **{f"{TEXT}/results_20130124.token": numbered(*names)})(folder)
    (folder / "held.txt").write_text("".join(f"{name.replace('.jpg', '_693b08cb0e.jpg')}\n" for name in names[:9]))


def held_out_beside(folder):
    held_out(folder)
    (folder / TEXT / "Flickr_8k.devImages.txt").write_text((folder / "held.txt").read_text())


def output_inside(folder):
    files(**{"a.jpg": None, "a.txt": "A dog .\n", "out/vocabulary.txt": "a", "out2/b.bin": ""})(folder)


ANY = "--max_rejected=1"
# Name -> (what makes the data set, images and captions below its folder, further arguments).
CASES = {
    "flickr8k": (files(**FLICKR8K, **LISTS), PHOTOS, TEXT, "--shards=4"),
    "flickr8k, damaged": (flickr8k_damaged, PHOTOS, TEXT, ANY),
    "flickr8k, too many rejected": (flickr8k_damaged, PHOTOS, TEXT),
    "flickr8k, no lists": (files(**FLICKR8K), PHOTOS, TEXT),
    "flickr8k, an empty list": (
        *(files(**{**FLICKR8K, **LISTS, f"{TEXT}/Flickr_8k.testImages.txt": ""}), PHOTOS, TEXT),
    ),
    "flickr8k, two lists": (
        files(**FLICKR8K, **{name: text for name, text in LISTS.items() if "test" not in name}),
        *(PHOTOS, TEXT),
    ),
    "flickr8k, in two lists": (
        files(**{**FLICKR8K, **LISTS, f"{TEXT}/Flickr_8k.testImages.txt": "j.jpg\na.jpg\n"}),
        *(PHOTOS, TEXT),
    ),
    "flickr8k, shares": (files(**FLICKR8K, **LISTS), PHOTOS, TEXT, "--shares", "0.5", "0.25", "0.25", "--seed=3"),
    "flickr8k, all to train": (files(**FLICKR8K, **LISTS), PHOTOS, TEXT, "--shares", "1", "0", "0"),
    "flickr8k, all the same": (
        files(
            **photos(*LETTERS), **LISTS, **{f"{TEXT}/Flickr8k.token.txt": "".join(f"{n}#0\tA dog\n" for n in LETTERS)}
        ),
        *(PHOTOS, TEXT),
    ),
    "flickr8k, other name": (
        files(**photos(*LETTERS), **{f"{TEXT}/my.txt": numbered(*LETTERS).encode("utf-16")}),
        *(PHOTOS, f"{TEXT}/my.txt", "--source", "flickr8k"),
    ),
    "flickr30k": (files(**photos(*LETTERS), **{f"{TEXT}/results_20130124.token": numbered(*LETTERS)}), PHOTOS, TEXT),
    "held out": (held_out, PHOTOS, TEXT, "--held_out", "held.txt"),
    "held out, allowed": (held_out, PHOTOS, TEXT, "--held_out", "held.txt", "--allow_overlap"),
    "held out beside": (held_out_beside, PHOTOS, TEXT),
    "karpathy": (
        files(
            **photos("train2014/0.jpg", "val2014/0.jpg", "val2014/1.jpg", "val2014/spare.jpg"),
            **{
                f"{TEXT}/dataset_coco.json": karpathy(
                    [
                        ("0.jpg", "train", {"filepath": "train2014", "cocoid": 7}),
                        ("0.jpg", "restval", {"filepath": "val2014", "cocoid": 8}),
                        ("1.jpg", "val", {"filepath": "val2014", "cocoid": None}),
                        ("2.jpg", "test", {"filepath": "val2014"}),
                    ]
                )
            },
        ),
        *(PHOTOS, TEXT, ANY),
    ),
    "karpathy, other split": (
        files(**FEW, **{f"{TEXT}/dataset_x.json": karpathy([("0.jpg", "train", {}), ("1.jpg", "foo", {})])}),
        *(PHOTOS, TEXT),
    ),
    "coco": (
        files(
            **photos("train2017/a.jpg", "train2017/b.jpg", "val2017/c.jpg", "val2017/spare.jpg"),
            **{
                f"{TEXT}/captions_train2017.json": coco(["a.jpg", "b.jpg"], text=("b.jpg",)),
                f"{TEXT}/captions_val2017.json": coco(
                    ["c.jpg", "x.jpg"], more=[{"image_id": 7, "caption": "Who ?"}, {"image_id": 100, "caption": 5}]
                ),
            },
        ),
        *(PHOTOS, TEXT, ANY),
    ),
    "coco, marks": (
        files(
            **photos("a.jpg", "b.jpg", "c.jpg"),
            **{
                f"{TEXT}/captions_all.json": coco(
                    ["a.jpg", "b.jpg", "c.jpg"],
                    more=[
                        {"image_id": 100, "caption": "Blurred", "is_rejected": True, "is_precanned": True},
                        {"image_id": 101, "caption": "Fine", "is_rejected": False},
                    ],
                )
            },
        ),
        *(PHOTOS, TEXT),
    ),
    "coco, only some named": (
        files(**FEW, **{f"{TEXT}/captions_train.json": coco(["0.jpg"]), f"{TEXT}/captions_x.json": coco(["1.jpg"])}),
        *(PHOTOS, TEXT),
    ),
    "coco, not JSON": (files(**FEW, **{f"{TEXT}/captions_all.json": "{"}), PHOTOS, TEXT),
    "folder": (odd_folder, PHOTOS, PHOTOS, ANY),
    "folder, JSON only": (
        files(
            **photos("a.jpg", "b.jpg", "c.jpg"),
            **{f"{PHOTOS}/a.json": '{"caption": "Of a ."}', f"{PHOTOS}/b.json": '{"captions": ["One .", "Two ."]}'},
            **{f"{PHOTOS}/c.json": "[1]"},
        ),
        *(PHOTOS, PHOTOS),
    ),
    "folder, splits": (
        files(
            **{f"{PHOTOS}/{part}/{name}.jpg": photo(part + name) for part in ("train", "val", "test") for name in "ab"},
            **{f"{PHOTOS}/{part}/{name}.txt": f"A {name} ." for part in ("train", "val", "test") for name in "ab"},
        ),
        *(PHOTOS, PHOTOS),
    ),
    "folder, links": (linked_folders, PHOTOS, PHOTOS),
    "folder, links to texts": (linked_folders, PHOTOS, TEXT),
    "folder, output inside": (output_inside, "", "", "--overwrite"),
    "table": (files(**TABLE), PHOTOS, TEXT),
    "table, columns": (
        files(
            **photos(*LETTERS[:4]),
            **{f"{TEXT}/c.tsv": "bild\tsatz\tteil\na.jpg\tEin Hund .\ttrain\nb.jpg\tEin Tier .\tdev\n"},
        ),
        *(PHOTOS, TEXT, "--columns", "bild", "satz", "teil"),
    ),
    "table, splits": (
        files(**photos(*LETTERS[:4]), **{f"{TEXT}/c.csv": split_rows(a="train", b="Validation", c="test", d="")}),
        *(PHOTOS, TEXT),
    ),
    "table, in two splits": (
        files(**FEW, **{f"{TEXT}/c.csv": split_rows(a="train", b="val") + "b.jpg,Again .,test\na.jpg,Again .,test\n"}),
        *(PHOTOS, TEXT),
    ),
    "table, other words": (
        files(**photos("a.jpg", "b.jpg"), **{f"{TEXT}/c.csv": split_rows(a="x", b="y")}),
        PHOTOS,
        TEXT,
    ),
    "table, another column": (
        files(**photos("a.jpg", "b.jpg"), **{f"{TEXT}/c.csv": split_rows("image,caption,set", a="1", b="0")}),
        *(PHOTOS, TEXT),
    ),
    "table, no header": (files(**FEW, **{f"{TEXT}/c.csv": rows("a.jpg", header="0.jpg,A dog .")}), PHOTOS, TEXT),
    "table, empty": (files(**FEW, **{f"{TEXT}/c.csv": "image,caption\n"}), PHOTOS, TEXT),
    "table, files of splits": (
        files(
            **photos(*LETTERS[:6]),
            **{f"{TEXT}/captions_train.csv": rows(*LETTERS[:3]), f"{TEXT}/captions_val.csv": rows("d.jpg")},
            **{f"{TEXT}/Test.jsonl": '{"image": "e.jpg", "captions": ["One .", "Two ."]}\n{"image": "f.jpg"}\n[]\n'},
        ),
        *(PHOTOS, TEXT, ANY),
    ),
    "table, in two files": (
        files(**FEW, **{f"{TEXT}/train.csv": rows("0.jpg", "1.jpg"), f"{TEXT}/test.csv": rows("1.jpg", "2.jpg")}),
        *(PHOTOS, TEXT),
    ),
    "table, file against column": (
        files(
            **photos(*LETTERS[:3]),
            **{f"{TEXT}/train.csv": split_rows(a="train", b="val"), f"{TEXT}/test.csv": rows("c.jpg")},
        ),
        *(PHOTOS, TEXT),
    ),
    "table, only one file": (
        files(**FEW, **{f"{TEXT}/train.csv": rows("0.jpg"), f"{TEXT}/test.csv": "image\n1.jpg\n"}),
        *(PHOTOS, TEXT),
    ),
    "table, subfolders": (
        files(
            **{f"{part}/{index}.jpg": photo(f"{part}{index}") for part in ("train", "val") for index in range(2)},
            **{f"{part}/metadata.csv": rows("0.jpg", "1.jpg", header="file_name,text") for part in ("train", "val")},
        ),
        *("", ""),
    ),
    "table, JSON lines": (
        files(
            **photos(*LETTERS),
            **{f"{TEXT}/val.txt": "c\nd\n", f"{TEXT}/test.txt": "e.jpg\nghost.jpg\n"},
            **{f"{TEXT}/c.jsonl": JSON_LINES},
        ),
        *(PHOTOS, TEXT, ANY),
    ),
    "table, JSON list": (
        files(
            **photos(*LETTERS),
            **{
                f"{TEXT}/c.json": json.dumps([{"image": n, "caption": ["A dog .", "It runs ."]} for n in LETTERS] + [7])
            },
        ),
        *(PHOTOS, f"{TEXT}/c.json", "--source", "table", ANY),
    ),
    "table, odd cells": (
        files(
            **photos(*LETTERS),
            **{
                f"{TEXT}/c.csv": "image,caption\na.jpg,red, wet , and big .\nb.jpg,\"['A dog .', 'It runs']\"\nc.jpg,\n"
                'd.jpg,"Two of them,\nby a person"\nonly one\n..,hello\n,nobody\n'
                'a.jpg,"A dog\nb.jpg,A cat\nc.jpg,A bird\n'
            },
        ),
        *(PHOTOS, TEXT, ANY),
    ),
    "table, numbered columns": (
        files(
            **photos(*LETTERS[:3]),
            **{f"{TEXT}/all.csv": "image,caption_0,caption_1\na.jpg,Red,wet ; blue\nb.jpg,,Blue\nc.jpg,,\n"},
            **{f"{TEXT}/copy.jsonl": '{"image": "a.jpg", "caption": ["Red ", "New", "New"]}\n'},
        ),
        *(PHOTOS, TEXT, ANY),
    ),
    "table, odd names": (odd_names, PHOTOS, TEXT, ANY),
    "table, folders of splits": (
        files(**photos("train2017/0.jpg", "val2017/1.jpg", "Test set/2.jpg"), **{f"{TEXT}/c.csv": rows(*FILE_NAMES)}),
        *(PHOTOS, TEXT),
    ),
    "table, folders of splits, shares": (
        files(**photos("train2017/0.jpg", "val2017/1.jpg", "Test set/2.jpg"), **{f"{TEXT}/c.csv": rows(*FILE_NAMES)}),
        *(PHOTOS, TEXT, "--shares", "1", "0", "0"),
    ),
    "table, a folder of test photos": (
        files(**photos("test/0.jpg", "1.jpg", "2.jpg"), **{f"{TEXT}/c.csv": rows(*FILE_NAMES)}),
        *(PHOTOS, TEXT),
    ),
    "table, list of test photos": (
        files(**TABLE, **{f"{TEXT}/test.txt": "e.jpg\nx.jpg\n"}),
        PHOTOS,
        TEXT,
        "--shards=2",
    ),
    "table, list against column": (
        files(
            **photos("a.jpg", "b.jpg"),
            **{f"{TEXT}/c.csv": split_rows(a="train", b="val"), f"{TEXT}/test.txt": "b.jpg\n"},
        ),
        *(PHOTOS, TEXT),
    ),
    "flickr8k, ambiguous list": (
        files(
            **photos("x/a.jpg", "y/a.jpg"),
            **{f"{TEXT}/Flickr8k.token.txt": numbered("x/a.jpg", "y/a.jpg")},
            **{f"{TEXT}/Flickr_8k.testImages.txt": "x/a\na.jpg\n"},
        ),
        *(PHOTOS, TEXT),
    ),
    "table, no word often enough": (files(**TABLE), PHOTOS, TEXT, "--min_count=99"),
    "table, too many missing": (files(**TABLE, **{f"{TEXT}/more.csv": rows("x.jpg", "y.jpg", "z.jpg")}), PHOTOS, TEXT),
    "table, many photos": (many, PHOTOS, TEXT, "--shards=3"),
    "nothing left": (files(**photos("z.jpg"), **{f"{TEXT}/c.csv": rows("a.jpg", "b.jpg")}), PHOTOS, TEXT, ANY),
    "no training photo": (files(**FLICKR8K, **LISTS), PHOTOS, TEXT, "--shares", "0", "0.5", "0.5"),
    "unknown": (files(**photos("a.jpg"), **{f"{TEXT}/readme.md": "x"}), PHOTOS, TEXT),
    "webdataset": (
        tars(
            **{"0": lambda: odd_members(), "below/1": lambda: [*sample("0", "Again ."), *sample("99", "One ", "Two .")]}
        ),
        *(PHOTOS, PHOTOS, ANY),
    ),
    "webdataset, splits": (
        tars(**{"x-train-0": lambda: sample("0", "One ."), "x-val-0": lambda: sample("1", "Two ."), "train/y": list}),
        *(PHOTOS, PHOTOS, ANY),
    ),
    "webdataset, against JSON": (
        tars(
            **{
                "x-train-0": lambda: [*sample("0", "One ."), *sample("1", "Two .", subset="test")],
                "x-val-0": lambda: sample("2", "Three .", subset="val"),
            }
        ),
        *(PHOTOS, PHOTOS),
    ),
    "webdataset, other photos": (
        lambda folder: [
            tars(**{"a": lambda: sample("0", "One .", "Two dogs")})(folder),
            (folder / TEXT).mkdir(),
            write_tar(folder / TEXT / "b.tar", *sample("0", "Three ."), *sample("1", "Four .")),
        ],
        *(PHOTOS, TEXT, ANY),
    ),
    "another package": (
        files(**photos(*LETTERS), **{f"{TEXT}/captions.lines": "".join(f"{n} A dog of {n} runs\n" for n in LETTERS)}),
        *(PHOTOS, TEXT),
    ),
}


def build_case(case, folder):
    """Build the records of a case in an empty folder; returns what came out, as JSON can hold it."""
    make, images, captions, *arguments = CASES[case]
    make(folder)
    output = folder / "out"
    arguments = [str(folder / each) if each == "held.txt" else each for each in arguments]
    paths = ["--images", str(folder / images), "--captions", str(folder / captions), "--output", str(output)]
    shown, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
        status = main([*paths, "--image_size=32", "--min_count=1", *arguments, *IN_MEMORY])
    error = errors.getvalue().partition("error: ")[2]

    def plain(text):
        return _TIMED.sub("in TIME", text.replace(str(folder), "DIR"))

    found = {"status": status, "shown": plain(shown.getvalue()).splitlines(), "error": plain(error).splitlines()}
    if (output / "rejected.jsonl").exists():
        found["rejected"] = [plain(line) for line in (output / "rejected.jsonl").read_text().splitlines()]
    if (output / "dataset.json").exists():
        found["vocabulary"] = _digest((output / "vocabulary.txt").read_bytes())
        found["dataset"] = _digest(json.dumps(_without_bytes(json.loads((output / "dataset.json").read_text()))))
        found["shards"] = {path.name: _shard(path) for path in sorted(output.glob("*.tfrecord"))}
    return json.loads(json.dumps(found))


def _without_bytes(described):
    """A description without what depends on the JPEG encoder, and without its own paths."""
    del described["settings"]["pillow_version"]
    for split in described["splits"].values():
        for shard in split["shards"]:
            del shard["bytes"], shard["sha256"]
    return described


def _shard(path):
    """The ids of a shard in their order, at most ten, and a digest of all that is no photo."""
    with path.open("rb") as stream:
        records = [decode_record(data) for data in tfrecord.read_frames(stream, path.name)]
    content = [(each.photo_id, each.captions, each.token_ids, each.source_ids) for each in records]
    ids = [each.photo_id for each in records]
    return [len(ids), *ids[:10], _digest(json.dumps(content))]


def _digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()[:12]
