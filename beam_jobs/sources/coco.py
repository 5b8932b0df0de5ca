"""The JSON layouts: MS COCO's annotations and Karpathy's splits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.execution.rejections import MARKED
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, visible_files
from beam_jobs.sources.text_files import utf8

MARKS = ("is_precanned", "is_rejected")  # of VizWiz: captions that say "quality issues", and spam


class Karpathy(Source):
    """Karpathy's dataset_coco.json, dataset_flickr8k.json and dataset_flickr30k.json, which name the splits."""

    name, names_are_paths = "karpathy", True
    layout = "dataset_*.json with a list `images` of filename, split and sentences"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return visible_files(captions, lambda path: path.match("dataset_*.json"))

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            yield from karpathy_captions(path, read_json(path), listing)


class Coco(Source):
    """MS COCO's annotations, also those of VizWiz, whose marked captions are left out."""

    name = "coco"
    layout = "captions_train2017.json and captions_val2017.json, or one such file"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return visible_files(captions, lambda path: path.match("captions_*.json"))

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            yield from coco_captions(path, read_json(path), listing)


def karpathy_captions(path: Path, content: Any, listing: Listing) -> Iterator[CaptionLine]:
    """The captions of one of Karpathy's files; see `Source.read`."""
    for number, image in enumerate(list_under(path, content, "images")):
        where = f"{path.name}, images[{number}]"
        try:
            split, sentences = image["split"], image["sentences"]
            name = "/".join(filter(None, map(str, [image.get("filepath") or "", image["filename"]])))
            captions = [sentence["raw"] for sentence in sentences]
            cocoid = None if image.get("cocoid") is None else str(image["cocoid"])
        except (KeyError, TypeError) as error:
            raise SourceError(f"{where}: not an entry of Karpathy's JSON ({error!r})") from error
        for index, caption in enumerate(captions):
            listing.captions_in += 1
            yield CaptionLine(f"{where}.sentences[{index}]", name, caption, split, cocoid)


def coco_captions(path: Path, content: Any, listing: Listing) -> Iterator[CaptionLine]:
    """The captions of annotations like those of MS COCO; see `Source.read`."""
    images, annotations = (list_under(path, content, key) for key in ("images", "annotations"))
    try:
        names = {image["id"]: str(image["file_name"]) for image in images}
        names |= {str(number): name for number, name in names.items()}  # some files hold numbers as text
        for number, annotation in enumerate(annotations):
            where = f"{path.name}, annotations[{number}]"
            listing.captions_in += 1
            number = annotation["image_id"]
            name = names.get(number, names.get(str(number)))
            if name is None:
                detail = f"no image {number} in {path.name}"
                listing.reject("caption", where, "unknown photo", detail)
            elif marks := [mark for mark in MARKS if annotation.get(mark)]:
                listing.reject("caption", where, MARKED, f"{name}: {', '.join(marks)}")
            else:
                yield CaptionLine(where, name, annotation["caption"], None, str(number), path)
    except (KeyError, TypeError) as error:
        raise SourceError(f"{path}: not COCO's caption annotations ({error!r})") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        SourceError: it is not JSON.
    """
    try:
        with path.open("rb") as stream:
            return json.loads(utf8(stream).read())
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not JSON: {error}") from error


def list_under(path: Path, content: Any, key: str) -> list[Any]:
    """The list under a key of a JSON file.

    Raises:
        SourceError: there is none.
    """
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise SourceError(f"{path}: has no list `{key}`")
    return content[key]
