"""The JSON layouts: MS COCO's annotations and Karpathy's splits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.execution.rejections import MARKED
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, visible_files

MARKS = ("is_precanned", "is_rejected")  # of VizWiz: captions that say "quality issues", and spam


class JsonFiles(Source):
    """JSON files whose names match one pattern."""

    pattern: str

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return [path for path in visible_files(captions) if path.match(self.pattern)]


class Karpathy(JsonFiles):
    """Karpathy's dataset_coco.json, dataset_flickr8k.json and dataset_flickr30k.json, which name the splits."""

    name, pattern, names_are_paths = "karpathy", "dataset_*.json", True
    layout = "dataset_*.json with a list `images` of filename, split and sentences"

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            (images,) = _lists(path, "images")
            for number, image in enumerate(images):
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


class Coco(JsonFiles):
    """MS COCO's annotations, also those of VizWiz, whose marked captions are left out."""

    name, pattern = "coco", "captions_*.json"
    layout = "captions_train2017.json and captions_val2017.json, or one such file"

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            images, annotations = _lists(path, "images", "annotations")
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


def _lists(path: Path, *keys: str) -> list[list[Any]]:
    """The lists under some keys of a JSON file."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise SourceError(f"{path}: has no list `{key}`")
    return [content[key] for key in keys]
