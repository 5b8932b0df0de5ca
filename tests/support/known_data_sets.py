"""Small data sets built like those that people have: each a function that fills a folder.

Each returns what must be read: photo's file name without ending -> captions.
"""

import hashlib
import json
import zlib

import pyarrow
import pyarrow.parquet
from PIL import Image

from tests.support.photos import encoded
from tests.support.tars import member, write_tar


def picture(name):
    """A JPEG of a colour of its own."""
    number = zlib.crc32(name.encode())
    return encoded(Image.new("RGB", (8, 8), (number & 255, number >> 8 & 255, number >> 16 & 255)), "JPEG")


def photo(path):
    """Write the picture of a file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(path.name))


def text(path, content):
    """Write a text file; what is no text as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def vizwiz(folder):
    """Of four captions of a photo one is precanned and one is rejected; test.json has no captions."""
    expected = {}
    for split in ("train", "val", "test"):
        images = [
            {"file_name": f"VizWiz_{split}_{i:08d}.jpg", "id": i, "vizwiz_url": "https://x", "text_detected": True}
            for i in range(2)
        ]
        for image in images:
            photo(folder / split / image["file_name"])
            if split != "test":
                said = [f"A can of {image['id']} beans , side {k} ." for k in (0, 3)]
                expected[image["file_name"].removesuffix(".jpg")] = said
        content = {"info": {"description": "VizWiz-Captions"}, "images": images}
        if split != "test":
            content["annotations"] = [
                {
                    **{"caption": f"A can of {number} beans , side {k} .", "image_id": number, "id": 4 * number + k},
                    **{"is_precanned": k == 1, "is_rejected": k == 2, "text_detected": True},
                }
                for number in range(2)
                for k in range(4)
            ]
        text(folder / "annotations" / f"{split}.json", content)
    return expected


def textcaps(folder):
    """An entry for each caption, which has the others, too; the photos of train and val lie in one folder."""
    expected = {}
    for split, names in {"train": ["0a", "0b"], "val": ["0c"], "test": ["0d"]}.items():
        data = []
        for name in names:
            photo(folder / "train_images" / f"{name}.jpg")
            said = [f"A sign says {name} , seen {k} times ." for k in range(5)]
            if split != "test":
                expected[name] = said
            entry = {"question": "", "image_id": name, "image_classes": ["Sign"], "image_width": 8, "set_name": split}
            entry |= {"image_name": name, "image_path": f"train/{name}.jpg"}
            given = {"reference_strs": said, "reference_tokens": [["a"]] * 5}
            entries = [entry] if split == "test" else [{**entry, "caption_str": each, **given} for each in said]
            data += [{**each, "caption_id": number} for number, each in enumerate(entries)]
        content = {"dataset_type": split, "dataset_name": "textcaps", "dataset_version": "0.1", "data": data}
        text(folder / f"TextCaps_0.1_{split}.json", content)
    return expected


def nocaps(folder):
    """Like COCO's, with the domain of each photo."""
    domains = ("in-domain", "near-domain", "out-domain", "near-domain")
    images = [
        {
            **{"id": number, "license": 0, "height": 8, "width": 8, "domain": domain, "date_captured": "2018-11-06"},
            **{
                "open_images_id": f"00{number}",
                "file_name": f"00{number}.jpg",
                "coco_url": f"https://x/00{number}.jpg",
            },
        }
        for number, domain in enumerate(domains)
    ]
    for image in images:
        photo(folder / "images" / image["file_name"])
    annotations = [
        {"image_id": number, "id": 10 * number + k, "caption": f"Thing {number} , said {k} times ."}
        for number in range(4)
        for k in range(10)
    ]
    content = {"licenses": [{"id": 0}], "info": {"year": 2018}, "images": images, "annotations": annotations}
    text(folder / "nocaps_val_4500_captions.json", content)
    return {f"00{number}": [f"Thing {number} , said {k} times ." for k in range(10)] for number in range(4)}


def lists_of_objects(folder):
    """As LAVIS has them: a caption an entry for training, a list of captions for the other splits."""
    for number in range(4):
        photo(folder / "val2014" / f"COCO_val2014_{number}.jpg")
    train = [
        {"caption": f"A dog , {k} .", "image": f"val2014/COCO_val2014_{number}.jpg", "image_id": f"coco_{number}"}
        for number in range(2)
        for k in range(2)
    ]
    text(folder / "coco_karpathy_train.json", train)
    for number, split in ((2, "val"), (3, "test")):
        entry = {"image": f"val2014/COCO_val2014_{number}.jpg", "caption": ["A cat .", "One cat ."]}
        text(folder / f"coco_karpathy_{split}.json", [entry])
    said = [["A dog , 0 .", "A dog , 1 ."]] * 2 + [["A cat .", "One cat ."]] * 2
    return {f"COCO_val2014_{number}": each for number, each in enumerate(said)}


def captions_by_photo(folder):
    """An object of photo -> captions, whose keys lack the ending."""
    for number in range(4):
        photo(folder / "photos" / f"10{number}_69.jpg")
    content = {f"10{number}_69": [f"A child in dress {number} .", "She runs ."] for number in range(4)}
    text(folder / "descriptions.json", content)
    return content


def objects_by_id(folder):
    """An object of id -> object with a file."""
    for number in range(4):
        photo(folder / "photos" / f"{number}.jpg")
    content = {
        str(number): {"file": f"{number}.jpg", "caption": ["A dog .", "It runs ."], "split": split}
        for number, split in enumerate(("train", "train", "val", "test"))
    }
    text(folder / "data.json", content)
    return {str(number): ["A dog .", "It runs ."] for number in range(4)}


def lists_by_split(folder):
    """As medical reports are kept: lists under the names of the splits, the photo's path in a list."""
    for number in range(4):
        photo(folder / "images" / "CXR" / f"{number}.png")
    entries = [{"id": n, "image_path": [f"CXR/{n}.png"], "caption": f"The heart of {n} is normal ."} for n in range(4)]
    text(folder / "annotation.json", {"train": entries[:2], "val": entries[2:3], "test": entries[3:]})
    return {str(number): [f"The heart of {number} is normal ."] for number in range(4)}


def nested_fields(folder):
    """Objects in objects, and a list of them."""
    for number in range(4):
        photo(folder / "photos" / f"{number}.jpg")
    rows = [
        {
            "image": {"file_name": f"{number}.jpg", "width": 8},
            "annotations": [{"text": "A dog .", "by": 1}, {"text": "It runs .", "by": 2}],
            "meta": {"split": split},
        }
        for number, split in enumerate(("train", "train", "val", "test"))
    ]
    text(folder / "data.json", rows)
    text(folder / "lines" / "data.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    return {str(number): ["A dog .", "It runs ."] for number in range(4)}


def karpathy_of_another_name(folder):
    """Karpathy's form in data.json."""
    for number in range(4):
        photo(folder / "photos" / f"{number}.jpg")
    images = [
        {
            "filename": f"{number}.jpg",
            "imgid": number,
            "split": split,
            "sentences": [{"raw": f"Dog {number} .", "tokens": []}],
        }
        for number, split in enumerate(("train", "restval", "val", "test"))
    ]
    text(folder / "data.json", {"images": images, "dataset": "own"})
    return {str(number): [f"Dog {number} ."] for number in range(4)}


def imagefolder_of_splits(folder):
    """A metadata.csv in each folder of a split."""
    expected = {}
    for split in ("train", "test"):
        lines = ["file_name,text"]
        for number in range(2):
            name = f"{split[:2]}{number:04d}"
            photo(folder / split / f"{name}.png")
            lines.append(f"{name}.png,A {split} dog {number} .")
            expected[name] = [f"A {split} dog {number} ."]
        text(folder / split / "metadata.csv", "\n".join([*lines, ""]))
    return expected


def imagefolder_of_all(folder):
    """One metadata.jsonl above the folders of the splits."""
    rows, expected = [], {}
    for split in ("train", "validation"):
        for number in range(2):
            name = f"{split[:2]}{number:04d}"
            photo(folder / split / f"{name}.png")
            expected[name] = [f"A {split} dog {number} .", "A dog ."]
            rows.append({"file_name": f"{split}/{name}.png", "text": expected[name]})
    text(folder / "metadata.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    return expected


def kaggle_flickr8k(folder):
    """captions.txt beside Images/; some captions have commas and quotation marks."""
    lines = ["image,caption"]
    for number in range(4):
        photo(folder / "Images" / f"10{number}_69.jpg")
        lines += [f'10{number}_69.jpg,"A child , in a pink dress ."', f"10{number}_69.jpg,A girl going , there ."]
    text(folder / "captions.txt", "\n".join([*lines, ""]))
    return {f"10{number}_69": ["A child , in a pink dress .", "A girl going , there ."] for number in range(4)}


def kaggle_flickr30k(folder):
    """results.csv with bars, in which one line lacks one; Kaggle's archive has the folder of photos twice."""
    lines = ["image_name| comment_number| comment"]
    for number in range(4):
        photo(folder / "flickr30k_images" / f"10{number}.jpg")
        lines += [f'10{number}.jpg| {k}| Two "young" , guys , {number} .' for k in range(2)]
    text(folder / "results.csv", "\n".join([*lines, "103.jpg| 4   A dog runs across the grass .", ""]))
    return {f"10{number}": [f'Two "young" , guys , {number} .'] * 2 for number in range(4)}


def parquet(path, rows, row_group_size=2):
    """Write a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=row_group_size)


def hugging_face(folder):
    """Several files and splits, photos as structures, a list of captions a row."""
    expected = {}
    files = {"train-00000-of-00002": range(5), "train-00001-of-00002": range(5, 8), "test-00000-of-00001": range(8, 10)}
    for file, numbers in files.items():
        rows = []
        for number in numbers:
            expected[f"COCO_{number}"] = said = [f"A dog of {number} .", "It runs ."]
            image = {"bytes": picture(str(number)), "path": f"COCO_{number}.jpg"}
            rows.append({"image": image, "caption": said, "sentids": [2 * number, 2 * number + 1], "img_id": number})
        parquet(folder / "data" / f"{file}.parquet", rows)
    text(folder / "README.md", "dataset_info:")
    return expected


def hugging_face_row_for_each_caption(folder):
    """Photos without paths, repeated for each caption, also across row groups; folders of splits."""
    expected = {}
    for split, names in {"train": ["a", "b"], "validation": ["c"]}.items():
        rows = []
        for name in names:
            data = picture(name)
            said = [f"The {k}th of {name} ." for k in range(5)]
            expected[hashlib.blake2b(data, digest_size=12).hexdigest()] = said
            rows += [{"image": {"bytes": data, "path": None}, "text": caption} for caption in said]
        parquet(folder / "default" / split / "0000.parquet", rows)
    return expected


def parquet_of_paths(folder):
    """Paths instead of photos, and captions in columns with numbers."""
    for number in range(4):
        photo(folder / "images" / f"{number}.jpg")
    names = {number: {"bytes": None, "path": f"images/{number}.jpg"} for number in range(4)}
    rows = [
        {"image": image, "caption_0": f"Dog {number} .", "caption_1": "It runs ."} for number, image in names.items()
    ]
    parquet(folder / "captions.parquet", rows)
    return {str(number): [f"Dog {number} .", "It runs ."] for number in range(4)}


def img2dataset_parquet(folder):
    """Every third photo could not be downloaded."""
    rows, expected = [], {}
    for number in range(9):
        lost, key = number % 3 == 2, f"{number:09d}"
        if not lost:
            expected[key] = [f"A bus {number} ."]
        status = {"status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"}
        rows.append(
            {
                **{"url": f"https://x/{number}.jpg", "caption": f"A bus {number} .", "key": key},
                **(status if lost else {"status": "success", "error_message": None}),
                **{"width": None if lost else 8, "exif": "{}", "sha256": "0" * 64},
                "jpg": None if lost else picture(key),
            }
        )
    parquet(folder / "00000.parquet", rows)
    text(folder / "00000_stats.json", {"count": 9, "successes": 6, "status_dict": {"success": 6}})
    return expected


def img2dataset_webdataset(folder):
    """A tar with .jpg, .txt and .json of each photo; beside it the Parquet file of all addresses, and figures."""
    folder.mkdir(exist_ok=True)
    members, expected = [], {}
    for number in range(4):
        key, caption = f"{number:09d}", f"A bus {number} ."
        about = {"url": f"https://x/{number}.jpg", "caption": caption, "key": key, "status": "success", "width": 8}
        members += [member(f"{key}.jpg", picture(key)), member(f"{key}.txt", caption.encode())]
        members.append(member(f"{key}.json", json.dumps(about).encode()))
        expected[key] = [caption]
    write_tar(folder / "00000.tar", *members)
    parquet(folder / "00000.parquet", [{"url": "https://x/0.jpg", "caption": "A bus 0 .", "key": "000000000"}])
    text(folder / "00000_stats.json", {"count": 4, "successes": 4})
    return expected


def img2dataset_files(folder):
    """.jpg, .txt and .json of each photo in folders of shards, beside them the Parquet file of all addresses."""
    expected = {}
    for number in range(4):
        key, caption = f"{number:09d}", f"A bus {number} ."
        photo(folder / "00000" / f"{key}.jpg")
        text(folder / "00000" / f"{key}.txt", caption)
        text(
            folder / "00000" / f"{key}.json", {"url": "https://x", "caption": caption, "key": key, "status": "success"}
        )
        expected[key] = [caption]
    parquet(folder / "00000.parquet", [{"url": "https://x/0.jpg", "caption": "A bus 0 .", "key": "000000000"}])
    text(folder / "00000_stats.json", {"count": 4, "successes": 4})
    return expected


def imagefolder_in_parquet(folder):
    """A metadata.parquet in each folder of a split."""
    expected = {}
    for split in ("train", "test"):
        rows = []
        for number in range(2):
            name = f"{split[:2]}{number:04d}"
            photo(folder / split / f"{name}.png")
            rows.append({"file_name": f"{name}.png", "text": f"A {split} dog {number} ."})
            expected[name] = [rows[-1]["text"]]
        parquet(folder / split / "metadata.parquet", rows)
    return expected


NAMES_OF_DOWNLOADS = {
    "line": lambda number, address: f"{number}.jpg",
    "nine digits": lambda number, address: f"{number:09d}.jpg",
    "crc32": lambda number, address: str(zlib.crc32(address.encode())),
    "line and crc32": lambda number, address: f"{number}_{zlib.crc32(address.encode())}",
    "md5": lambda number, address: f"{hashlib.md5(address.encode()).hexdigest()}.jpg",
    "address": lambda number, address: f"bus {number}.png",
}


def conceptual_captions(folder, naming="line", first="caption"):
    """Two of six photos could not be downloaded."""
    lines, expected = [], {}
    for number in range(6):
        address, caption = f"https://x.org/{number}/bus%20{number}.png?w=3", f"a very typical bus {number}"
        lines.append("\t".join((caption, address) if first == "caption" else (address, caption)))
        if number not in (1, 4):
            name = NAMES_OF_DOWNLOADS[naming](number, address)
            photo(folder / "training" / name)
            expected[name.partition(".")[0]] = [caption]
    text(folder / "Train_GCC-training.tsv", "\n".join([*lines, ""]))
    return expected
