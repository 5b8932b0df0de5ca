"""The caption layouts that come with the package."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from beam_jobs.sources import CaptionLine, Columns, Listing, Source, SourceError, text_lines
from tfcaption import photos, records

# Column names in use, most telling first; the first one that is there counts.
PHOTO_COLUMNS = ("image", "photo", "image_name", "file_name", "filename", "file", "image_id", "path", "id")
CAPTION_COLUMNS = ("caption", "captions", "text", "comment", "sentence", "raw")
SPLIT_COLUMNS = ("split",)
# What data sets call their splits. COCO's restval is what Karpathy's split adds to the training photos.
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "restval": "train"},
    **{"dev": "dev", "val": "dev", "valid": "dev", "validation": "dev"},
    "test": "test",
}


class Numbered(Source):
    """Lines NAME#K<TAB>CAPTION."""

    file_name: str

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        path = captions / self.file_name if captions.is_dir() else captions
        return [path] if path.name == self.file_name and path.is_file() else []

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        seen: dict[str, int] = {}
        (path,) = files
        for number, text in text_lines(path, listing):
            where = f"{path.name}:{number}"
            key, tab, caption = text.partition("\t")
            name, hash_sign, index = key.strip().rpartition("#")
            if not tab or not hash_sign or not name or not index.isdecimal():
                listing.reject("caption", where, "malformed line", f"not NAME#K<TAB>CAPTION: {text[:80]!r}")
            elif key in seen:
                listing.reject("caption", where, "duplicate id", f"{key} is also in line {seen[key]}")
            else:
                seen[key] = number
                yield CaptionLine(where, name, caption)


class Flickr8k(Numbered):
    """The official archives of Flickr8k."""

    name, file_name = "flickr8k", "Flickr8k.token.txt"
    layout = "Flickr8k.token.txt with lines NAME#K<TAB>CAPTION, and Flickr_8k.{train,dev,test}Images.txt"
    split_files: ClassVar = {split: f"Flickr_8k.{split}Images.txt" for split in records.SPLITS}


class Flickr30k(Numbered):
    """The official archive of Flickr30k."""

    name, file_name = "flickr30k", "results_20130124.token"
    layout = "results_20130124.token with lines NAME#K<TAB>CAPTION"


class JsonFiles(Source):
    """JSON files with names of one pattern."""

    pattern: str

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        found = sorted(captions.glob(self.pattern)) if captions.is_dir() else [captions]
        return [path for path in found if path.match(self.pattern)]


class Karpathy(JsonFiles):
    """Karpathy's dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json, with splits."""

    name, pattern = "karpathy", "dataset_*.json"
    layout = "dataset_*.json with a list `images` of filename, split and sentences"

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            (images,) = _lists(path, "images")
            for number, image in enumerate(images):
                where = f"{path.name}, images[{number}]"
                try:
                    name, split, sentences = image["filename"], image["split"], image["sentences"]
                    captions = [str(sentence["raw"]) for sentence in sentences]
                except (KeyError, TypeError) as error:
                    raise SourceError(f"{where}: not what dataset_*.json holds ({error!r})") from error
                for index, caption in enumerate(captions):
                    listing.captions_in += 1
                    yield CaptionLine(f"{where}.sentences[{index}]", str(name), caption, _split(split, where))


class Coco(JsonFiles):
    """MS COCO's annotations: train and val files make the splits train and dev; one alone is divided by a hash."""

    name, pattern = "coco", "captions_*.json"
    layout = "captions_train2017.json and captions_val2017.json, or one such file"

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            split = None
            if len(files) > 1:
                split = _split(path.stem.removeprefix("captions_").rstrip("0123456789"), path.name)
            images, annotations = _lists(path, "images", "annotations")
            try:
                names = {image["id"]: str(image["file_name"]) for image in images}
                for number, annotation in enumerate(annotations):
                    where = f"{path.name}, annotations[{number}]"
                    listing.captions_in += 1
                    name = names.get(annotation["image_id"])
                    if name is None:
                        detail = f"no image {annotation['image_id']} in {path.name}"
                        listing.reject("caption", where, "unknown photo", detail)
                    else:
                        yield CaptionLine(where, name, str(annotation["caption"]), split)
            except (KeyError, TypeError) as error:
                raise SourceError(f"{path}: not COCO's annotations of captions ({error!r})") from error


class Table(Source):
    """A CSV or TSV file with a header, or JSON lines, a caption a row; captions may be a list in JSON lines."""

    name = "table"
    layout = "a .csv, .tsv, .txt or .jsonl file with columns such as image and caption (--columns names them)"
    _endings = (".csv", ".tsv", ".jsonl", ".txt")

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        found = sorted(captions.iterdir()) if captions.is_dir() else [captions]
        tables = [path for path in found if path.suffix.lower() in self._endings and path.is_file()]
        return [path for path in tables if path.suffix.lower() == ".jsonl" or _has_header(path)]

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            rows = _json_rows(path, listing) if path.suffix.lower() == ".jsonl" else _csv_rows(path, listing)
            keys: list[str | None] | None = None
            for number, row in rows:
                where = f"{path.name}:{number}"
                if keys is None:
                    keys = _keys(path, row, columns)
                photo, caption, split = (row.get(key) if key else None for key in keys)
                if photo is None or caption is None:
                    listing.reject("caption", where, "malformed line", f"lacks {keys[0]} or {keys[1]}")
                    continue
                captions = caption if isinstance(caption, list) else [caption]
                listing.captions_in += len(captions) - 1
                for each in captions:
                    # Tables name photos with folders, too; the file's own name is what it is found by.
                    name = str(photo).replace("\\", "/").rpartition("/")[2]
                    yield CaptionLine(where, name, str(each), _split(split, where) if split else None)


class Folder(Source):
    """Text files beside the photos: dog.jpg and dog.txt, a caption a line."""

    name = "folder"
    layout = "for each photo NAME.jpg a file NAME.txt, a caption a line"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return [path for path in sorted(captions.rglob("*.txt")) if _photo_beside(path)] if captions.is_dir() else []

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            photo = _photo_beside(path)
            for number, caption in text_lines(path, listing):
                yield CaptionLine(f"{path.name}:{number}", photo or path.name, caption)


LAYOUTS: tuple[type[Source], ...] = (Flickr8k, Flickr30k, Karpathy, Coco, Folder, Table)


def _lists(path: Path, *keys: str) -> list[list[Any]]:
    """Some lists in a JSON file."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise SourceError(f"{path}: has no list `{key}`")
    return [content[key] for key in keys]


def _split(name: Any, where: str) -> str:
    if str(name).lower() not in SPLIT_NAMES:
        raise SourceError(f"{where}: split {name!r}; known are {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[str(name).lower()]


def _has_header(path: Path) -> bool:
    """Whether the first line names a column that holds photos and one that holds captions, or could with --columns."""
    with path.open("rb") as stream:
        first = stream.readline(4096).decode("utf-8-sig", errors="replace")
    names = _header(first)
    return len(names) > 1 and (path.suffix.lower() != ".txt" or bool({*names} & {*CAPTION_COLUMNS}))


def _delimiter(line: str) -> str:
    """Flickr30k's results.csv has `|`, others a tab, a semicolon or a comma."""
    return max(",\t|;", key=line.count)


def _header(line: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line.rstrip("\r\n")], delimiter=_delimiter(line)), [])]


def _csv_rows(path: Path, listing: Listing) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the number of their last line; those with more cells than columns are rejected."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        first = stream.readline()
        header, delimiter = _header(first), _delimiter(first)
        # Where cells are set apart by `|`, quotation marks are words' own.
        if delimiter == "|":
            reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(stream, delimiter=delimiter)
        for cells in reader:
            number = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            listing.captions_in += 1
            where = f"{path.name}:{number}"
            if any("\ufffd" in cell for cell in cells):
                listing.reject("caption", where, "not UTF-8", str(cells)[:80])
            elif len(cells) != len(header):
                detail = f"{len(cells)} cells, the header has {len(header)}: {str(cells)[:80]}"
                listing.reject("caption", where, "malformed line", detail)
            else:
                yield number, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _json_rows(path: Path, listing: Listing) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in text_lines(path, listing):
        try:
            row = json.loads(line)
        except ValueError as error:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            listing.reject("caption", f"{path.name}:{number}", "malformed line", f"no JSON object: {line[:80]}")


def _keys(path: Path, row: dict[str, Any], columns: Columns) -> list[str | None]:
    """Names of the columns of photo, caption and split (None: there is none)."""
    keys: list[str | None] = []
    for what, asked, usual in zip(
        Columns._fields, columns, (PHOTO_COLUMNS, CAPTION_COLUMNS, SPLIT_COLUMNS), strict=True
    ):
        key = asked or next((name for name in usual if name in row), None)
        if (asked and asked not in row) or (key is None and what != "split"):
            raise SourceError(
                f"{path}: no column {asked or f'that holds the {what}'}; it has {', '.join(map(str, row))}; "
                "name them with --columns PHOTO CAPTION [SPLIT]"
            )
        keys.append(key)
    return keys


def _photo_beside(text: Path) -> str | None:
    beside = (f"{text.stem}{ending}" for ending in sorted(photos.SUFFIXES))
    return next((name for name in beside if (text.parent / name).is_file()), None)
