"""The caption layouts that come with the package."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from beam_jobs.sources import CaptionLine, Columns, Listing, Source, text_lines
from beam_jobs.splits import known_split
from beam_jobs.tables import Table
from beam_jobs.text_files import SourceError
from beam_jobs.web_dataset import WebDataset
from tfcaption.preprocessing import photos
from tfcaption.records.dataset_info import SPLITS


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
    split_files: ClassVar = {split: f"Flickr_8k.{split}Images.txt" for split in SPLITS}


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
                    captions = [sentence["raw"] for sentence in sentences]
                except (KeyError, TypeError) as error:
                    raise SourceError(f"{where}: not what dataset_*.json holds ({error!r})") from error
                for index, caption in enumerate(captions):
                    listing.captions_in += 1
                    yield CaptionLine(f"{where}.sentences[{index}]", str(name), caption, known_split(split, where))


class Coco(JsonFiles):
    """MS COCO's annotations: train and val files make the splits train and dev; one alone is divided by a hash."""

    name, pattern = "coco", "captions_*.json"
    layout = "captions_train2017.json and captions_val2017.json, or one such file"

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            split = None
            if len(files) > 1:
                split = known_split(path.stem.removeprefix("captions_").rstrip("0123456789"), path.name)
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
                        yield CaptionLine(where, name, annotation["caption"], split)
            except (KeyError, TypeError) as error:
                raise SourceError(f"{path}: not COCO's annotations of captions ({error!r})") from error


class Folder(Source):
    """Text files beside the photos: dog.jpg and dog.txt, a caption a line."""

    name = "folder"
    layout = "for each photo NAME.jpg a file NAME.txt, a caption a line"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return [*_photos_beside(sorted(captions.rglob("*.txt")))] if captions.is_dir() else []

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        beside = _photos_beside(files)
        for path in files:
            for number, caption in text_lines(path, listing):
                yield CaptionLine(f"{path.name}:{number}", beside.get(path, path.name), caption)


LAYOUTS: tuple[type[Source], ...] = (Flickr8k, Flickr30k, Karpathy, Coco, Folder, Table, WebDataset)


def _lists(path: Path, *keys: str) -> list[list[Any]]:
    """Some lists in a JSON file."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise SourceError(f"{path}: has no list `{key}`")
    return [content[key] for key in keys]


def _photos_beside(texts: list[Path]) -> dict[Path, str]:
    """Those text files that have a photo beside them, dog.txt a dog.jpg, with its name; each folder is listed once."""
    found: dict[Path, str] = {}
    for folder in {text.parent for text in texts}:
        here = (path for path in folder.iterdir() if path.suffix.lower() in photos.SUFFIXES and path.is_file())
        for path in sorted(here, key=lambda path: (path.suffix.lower(), not path.suffix.islower())):
            found.setdefault(folder / path.stem, path.name)
    stems = {text: text.parent / text.stem for text in texts}
    return {text: found[stem] for text, stem in stems.items() if stem in found}
