"""Photos that are held out for scores elsewhere, and those of them that a training split holds."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.execution.paths import as_path
from beam_jobs.sources.base import Listing
from beam_jobs.sources.flickr import Flickr8k
from beam_jobs.sources.text_files import photo_names
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.examples import photo_of

HELD_OUT_SPLITS = ("dev", "test")
# A photo that is NUMBER_SECRET.jpg in Flickr8k is NUMBER.jpg in Flickr30k; COCO_SPLIT2014_NUMBER.jpg in COCO's
# files of 2014 is NUMBER.jpg in those of 2017.
_NUMBERED = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d+)(?:_[0-9a-f]{10})?\.jpe?g", re.ASCII | re.IGNORECASE)


def comparable(name: str) -> str:
    """What the names of one photo have in common in several data sets: its number on Flickr or in COCO, or the name."""
    numbered = _NUMBERED.fullmatch(name)
    return numbered[1] if numbered else name


def held_out_photos(paths: Iterable[str | Path]) -> dict[str, str]:
    """Comparable name of each photo that is held out -> where that is said.

    Args:
        paths: files that list photos, a name a line (as Flickr_8k.testImages.txt), and records folders, of which the
            dev and test splits count.

    Raises:
        SourceError, RecordError: a path is missing or neither of these.
    """
    return {comparable(name): where for path in map(as_path, paths) for where, name in _names(path)}


def held_out_beside(captions: Path, source: str) -> list[Path]:
    """Flickr8k's official dev and test files, where they lie beside captions of another layout."""
    if source == Flickr8k.name:
        return []
    folder = captions if captions.is_dir() else captions.parent
    files = [folder / Flickr8k.split_files[split] for split in HELD_OUT_SPLITS]
    return [file for file in files if file.is_file()]


def check_held_out(listing: Listing, paths: Sequence[str | Path], *, allow_overlap: bool) -> None:
    """See that no photo to train on is held out.

    Args:
        listing: of the data set; where overlap is allowed, it gets a note with the number of photos.
        paths: as `held_out_photos` takes them.
        allow_overlap: only note it.

    Raises:
        SourceError: there are such photos; the message has their number and some of them.
    """
    held_out = held_out_photos(paths)
    training = [photo.id for photo in listing.photos if photo.split == "train"]
    found = [(name, held_out[comparable(name)]) for name in training if comparable(name) in held_out]
    if not found:
        return
    examples = "; ".join(f"{name}, {where}" for name, where in found[:3])
    more = "; ..." if len(found) > 3 else ""
    text = f"photos of the training split that are held out elsewhere: {len(found):,} ({examples}{more})"
    if not allow_overlap:
        raise SourceError(
            f"{text}. A captioner trained on them scores too well there: take their captions out, "
            "or insist with --allow_overlap"
        )
    listing.notes.append(text)


def _names(path: Path) -> Iterator[tuple[str, str]]:
    """The photos that are held out by a file or records folder, each after where that is said."""
    if path.is_file():
        yield from photo_names(path)
        return
    if not path.is_dir():
        raise SourceError(f"--held_out {path}: no such file or folder")
    info = load_dataset_info(path)
    for split in HELD_OUT_SPLITS:
        for shard in info.splits[split].shards if split in info.splits else ():
            with (path / shard.name).open("rb") as stream:
                for data in tfrecord.read_frames(stream, str(path / shard.name)):
                    yield f"{split} of {path}", photo_of(data)[0]
