"""Photos that other data sets hold out for evaluation, which no training split should hold."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.execution.paths import as_path
from beam_jobs.sources.flickr import Flickr8k
from beam_jobs.sources.matching import file_name, suffixes
from beam_jobs.sources.text_files import photo_names
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.examples import photo_of
from tfcaption.records.reading import read_shard

HELD_OUT_SPLITS = ("dev", "test")
# NUMBER_SECRET.jpg of Flickr8k is NUMBER.jpg of Flickr30k; COCO_SPLIT2014_NUMBER.jpg of COCO 2014 is NUMBER.jpg of
# COCO 2017.
_NUMBERED = re.compile(r"(COCO_[a-z]+\d{4}_)?(\d+)(_[0-9a-f]{10})?\.jpe?g", re.ASCII | re.IGNORECASE)
# A number like those of Flickr, or as long as those of COCO, is that of one photo, whatever the folder. A shorter one
# with zeros before it is not: img2dataset counts the photos of each data set like that.
_UNIQUE = re.compile(r"[1-9]\d{8,}|\d{12}", re.ASCII)


def comparable(name: str) -> str:
    """A name for a photo that is the same in several data sets: its number on Flickr or in COCO, else its file name.

    With the folders of the name, unless the number is unique on Flickr or in COCO.
    """
    number, unique = photo_number(name)
    if not number:
        return name
    return number if unique else name.removesuffix(file_name(name)) + number


def photo_number(name: str) -> tuple[str, bool]:
    """The number of a photo on Flickr or in COCO, and whether the name shows that it is one.

    Empty if the name is not a number; a short one, as in `12.jpg`, may be anything.
    """
    numbered = _NUMBERED.fullmatch(file_name(name))
    if not numbered:
        return "", False
    prefix, number, secret = numbered.groups()
    return number, bool(prefix or secret or _UNIQUE.fullmatch(number))


def held_out_photos(paths: Iterable[str | Path]) -> dict[str, str]:
    """Comparable name of each held-out photo -> the file and line, or the split of records, that holds it out.

    Args:
        paths: files that list photos, a name a line (as Flickr_8k.testImages.txt), and folders of records, whose dev
            and test splits are held out.

    Raises:
        SourceError, RecordError: a path is missing or neither of these.
    """
    return {comparable(name): where for path in map(as_path, paths) for where, name in _names(path)}


def held_out_beside(captions: Path, source: str) -> list[Path]:
    """Flickr8k's official dev and test files, if captions of another layout are in their folder."""
    if source == Flickr8k.name:
        return []
    folder = captions if captions.is_dir() else captions.parent
    files = [folder / Flickr8k.split_files[split] for split in HELD_OUT_SPLITS]
    return [file for file in files if file.is_file()]


class HeldOut:
    """Photos that other data sets hold out, found under any name that the photos of a data set may have.

    Args:
        photos: see `held_out_photos`.
    """

    def __init__(self, photos: Mapping[str, str]) -> None:
        self._photos = photos
        self._ends = {end: where for name, where in photos.items() for end in suffixes(name)}

    def where(self, photo_id: str) -> str:
        """Where a photo is held out; empty if it is not."""
        if not self._photos:
            return ""
        same = comparable(photo_id)  # either name may have more folders
        found = (self._photos[end] for end in suffixes(same) if end in self._photos)
        return self._ends.get(same) or next(found, "")


def _names(path: Path) -> Iterator[tuple[str, str]]:
    """(where, name) of each photo that a file or a folder of records holds out."""
    if path.is_file():
        yield from photo_names(path)
        return
    if not path.is_dir():
        raise SourceError(f"--held_out {path}: no such file or folder")
    info = load_dataset_info(path)
    for split in HELD_OUT_SPLITS:
        for shard in info.splits[split].shards if split in info.splits else ():
            for record in read_shard(path / shard.name):
                yield f"{split} of {path}", photo_of(record)[0]
