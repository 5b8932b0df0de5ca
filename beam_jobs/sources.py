"""Caption layouts -> photos with their captions and split, and what had to be left out, each with its reason."""

import os
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfcaption import photos, records
from tfcaption.records import Rejection

CAPTION_FILE = "Flickr8k.token.txt"
SPLIT_FILES = {split: f"Flickr_8k.{split}Images.txt" for split in records.SPLITS}
DEFAULT_SHARES = {"train": 0.75, "dev": 0.125, "test": 0.125}


class SourceError(ValueError):
    """Input that no job can start from; the message names the file and the cure."""


@dataclass(frozen=True)
class CaptionedPhoto:
    """One photo as a source lists it, before anything was read of it."""

    id: str
    path: str
    captions: tuple[str, ...]  # raw
    split: str


@dataclass
class Listing:
    """All that a source holds: the photos to write, and what is left out already."""

    photos: list[CaptionedPhoto] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for the user, e.g. how the splits were decided
    captions_in: int = 0

    def reject(self, kind: str, name: str, reason: str, detail: str = "", *, captions: int = 0) -> None:
        """Leave out a photo (with so many captions) or a caption, by name and with the reason."""
        self.rejections.append(Rejection(kind=kind, id=name, reason=reason, detail=detail, captions=captions))

    @property
    def photos_in(self) -> int:
        """Photos to write and photos rejected (not those that split files leave out)."""
        return len(self.photos) + sum(rejection.kind == "photo" for rejection in self.rejections)


def read_flickr8k(
    images: str | Path, captions: str | Path, *, shares: Mapping[str, float] = DEFAULT_SHARES, seed: int = 0
) -> Listing:
    """Read the layout of the official Flickr8k archives.

    `Flickr8k.token.txt` has a line `NAME#K<TAB>CAPTION` per caption; `Flickr_8k.trainImages.txt`, `devImages` and
    `testImages` list the photos of each split; the photos lie in `images` or a folder below. Photos that no split
    file lists are divided, by a hash of their id, among the splits whose file is missing; where all three files
    are there, they are left out as the data set's authors did.

    Args:
        images: folder of the photos.
        captions: folder of the text files.
        shares: how the splits without a file share the photos, train/dev/test.
        seed: of that hash.

    Returns:
        The photos in the order of their ids, and the rejections.

    Raises:
        SourceError: a folder or the caption file is missing or empty, or a photo is in two splits.
    """
    images, captions = Path(images), Path(captions)
    if not images.is_dir():
        raise SourceError(f"--images {images}: no such folder; it must hold the photos")
    if not captions.is_dir():
        raise SourceError(f"--captions {captions}: no such folder; it must hold {CAPTION_FILE}")
    listing = Listing()
    texts = _read_captions(captions / CAPTION_FILE, listing)
    split_of = _read_splits(captions)
    missing = [split for split, name in SPLIT_FILES.items() if not (captions / name).is_file()]
    files = _find_photos(images, texts.keys())
    for name in sorted(texts.keys() | split_of.keys() | files.keys()):
        paths = files.get(name, [])
        if not texts.get(name):
            where = f"listed in {SPLIT_FILES[split_of[name]]}" if name in split_of else str(paths[0])
            listing.reject("photo", name, "no captions", where)
        elif not paths:
            listing.reject("photo", name, "missing photo", f"not found below {images}", captions=len(texts[name]))
        elif len(paths) > 1:
            listing.reject("photo", name, "ambiguous photo", "; ".join(map(str, paths)), captions=len(texts[name]))
        elif name not in split_of and not missing:
            listing.reject("unused", name, "in no split file", captions=len(texts[name]))
        else:
            split = split_of.get(name) or _split_by_hash(name, missing, shares, seed)
            listing.photos.append(CaptionedPhoto(name, str(paths[0]), tuple(texts[name]), split))
    listing.notes.append(_split_note(missing, listing, split_of))
    return listing


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file with their numbers; any line end, a byte-order mark and blank lines ignored."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise SourceError(f"{path}: is UTF-16 text; save it as UTF-8")
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line.strip(b"\r\n")


def _is_safe_name(name: str) -> bool:
    """A plain file name: no folder, no `..`, nothing that cannot be printed."""
    return name not in (".", "..") and not any(c in "/\\" or not c.isprintable() for c in name)


def _read_captions(path: Path, listing: Listing) -> dict[str, list[str]]:
    """Photo id -> raw captions in the file's order; bad lines are rejected by FILE:LINE."""
    if not path.is_file():
        raise SourceError(f"{path}: no such file; it must hold lines NAME#K<TAB>CAPTION")
    texts: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        listing.captions_in += 1
        where = f"{path.name}:{number}"
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            listing.reject("caption", where, "not UTF-8", f"byte {error.start} of {line[:60]!r}")
            continue
        key, tab, caption = text.partition("\t")
        name, hash_sign, index = key.strip().rpartition("#")
        if not tab or not hash_sign or not name or not index.isdecimal():
            listing.reject("caption", where, "malformed line", f"not NAME#K<TAB>CAPTION: {text[:80]!r}")
        elif not _is_safe_name(name):
            listing.reject("caption", where, "unsafe name", f"{name[:80]!r} must be a plain file name")
        elif key in seen:
            listing.reject("caption", where, "duplicate id", f"{key} is also in line {seen[key]}")
        else:
            seen[key] = number
            if not any(character.isalnum() for character in caption):
                listing.reject("caption", where, "empty caption", f"{key}: {caption[:80]!r}")
                texts[name]  # the photo is known, though it may have no caption left
            else:
                texts[name].append(caption.strip())
    if not listing.captions_in:
        raise SourceError(f"{path}: is empty")
    return texts


def _read_splits(folder: Path) -> dict[str, str]:
    """Photo id -> split, from the split files that are there."""
    split_of: dict[str, str] = {}
    where_of: dict[str, str] = {}
    for split, file_name in SPLIT_FILES.items():
        path = folder / file_name
        if not path.is_file():
            continue
        for number, line in _lines(path):
            where = f"{path}, line {number}"
            try:
                name = line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise SourceError(f"{where}: not UTF-8; save the file as UTF-8") from error
            if not _is_safe_name(name):
                raise SourceError(f"{where}: {name[:80]!r} must be a plain file name")
            if split_of.setdefault(name, split) != split:
                raise SourceError(f"{where}: {name} is in two splits, see {where_of[name]}; remove one of them")
            where_of[name] = where
    return split_of


def _find_photos(images: Path, captioned: Container[str]) -> dict[str, list[Path]]:
    """File name -> where it lies below `images`; links to folders are not followed.

    Files that neither have a caption nor a photo's ending (readme.txt) are no photos, nor are the hidden files that
    archives made on a Mac carry beside each photo (__MACOSX/._NAME.jpg).
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for folder, _, names in os.walk(images):
        for name in names:
            is_photo = name in captioned or Path(name).suffix.lower() in photos.SUFFIXES
            if is_photo and not name.startswith("."):
                found[name].append(Path(folder) / name)
    return found


def _split_by_hash(name: str, splits: list[str], shares: Mapping[str, float], seed: int) -> str:
    """One of `splits`, in proportion to their shares."""
    total = sum(shares[split] for split in splits)
    if not total:
        return splits[0]
    position, bound = records.hash_share(name, seed=seed) * total, 0.0
    for split in splits:
        bound += shares[split]
        if position < bound:
            return split
    return next(split for split in reversed(splits) if shares[split])


def _split_note(missing: list[str], listing: Listing, split_of: Mapping[str, str]) -> str:
    if not missing:
        return "splits: as the split files say"
    hashed = Counter(photo.split for photo in listing.photos if photo.id not in split_of)
    given = ", ".join(SPLIT_FILES[split] for split in missing)
    return f"splits: no {given}; by a hash of the photo id: " + (
        ", ".join(f"{count:,} to {split}" for split, count in sorted(hashed.items())) or "no photo was left over"
    )


READERS = {"flickr8k": read_flickr8k}
