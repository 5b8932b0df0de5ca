"""Reads a data set of any caption layout into a listing: photos with captions and split, and rejections."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.rejections import some_of
from beam_jobs.sources.base import CaptionedPhoto, Columns, Listing, Location, Source, check_exists
from beam_jobs.sources.coco import Coco, Karpathy
from beam_jobs.sources.flickr import Flickr8k, Flickr30k
from beam_jobs.sources.folder import Folder
from beam_jobs.sources.splits import divide, read_split_files
from beam_jobs.sources.table import Table
from beam_jobs.sources.text_files import is_safe_name
from beam_jobs.sources.webdataset import WebDataset
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES
from tfcaption.records.dataset_info import SPLITS

LAYOUTS: tuple[type[Source], ...] = (Flickr8k, Flickr30k, Karpathy, Coco, Folder, Table, WebDataset)
DEFAULT_SHARES = {"train": 0.75, "dev": 0.125, "test": 0.125}
ENTRY_POINTS = "tfcaption.sources"
AUTO = "auto"
FEWEST_DEV_PHOTOS = 50  # with fewer, the scores of two epochs differ by chance more than by what was learned
_USUAL = Columns()


def known_layouts() -> dict[str, Source]:
    """All layouts by name, in the order in which `auto` tries them: the built-in ones, then those of other packages."""
    known = {layout.name: layout() for layout in LAYOUTS}
    for entry in entry_points(group=ENTRY_POINTS):
        known.setdefault(entry.name, entry.load()())
    return known


def read_source(
    images: str | Path,
    captions: str | Path,
    *,
    source: str = AUTO,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    columns: Columns = _USUAL,
) -> Listing:
    """Read a data set.

    The captions, or split files beside them, name the split of a photo. Photos that no split file lists are divided by
    a hash of their id among the splits whose file is missing, see `divide`. If no file is missing, such photos are
    unused, as the authors of the data set intended. Photos that no caption names are unused too, unless the layout
    says that every photo has captions.

    Args:
        images: folder of the photos or a folder above it (a layout that contains the photos may take a file).
        captions: file or folder of the captions.
        source: name of the layout, or `auto`: the first layout that finds its files.
        shares: share of each split in the photos that are divided by the hash.
        seed: of that hash.
        columns: names of a table's columns, where they are unusual.

    Returns:
        The photos in the order of their ids, the rejections, and warnings about what was found.

    Raises:
        SourceError: a file is missing, empty or of no known layout, or a photo is in two splits.
    """
    images, captions = as_path(images), as_path(captions)
    check_exists(images, captions)
    layout, files = _find_layout(source, captions)
    listing = Listing(source=layout.name)
    captions_of, split_of, source_ids_of = _read_captions(layout, files, listing, columns)
    folder = captions if captions.is_dir() else captions.parent
    listed = read_split_files(folder, layout.split_files)
    missing = [split for split in SPLITS if not (folder / layout.split_files.get(split, "none")).is_file()]
    if split_of:
        missing = []
    split_of |= listed
    locations_of = layout.photos(images, captions_of.keys())
    respelt = _match_spellings(captions_of.keys(), locations_of)
    found: dict[str, tuple[Location, list[str]]] = {}
    for name in sorted(captions_of.keys() | split_of.keys() | locations_of.keys()):
        texts, locations = captions_of.get(name, []), locations_of.get(name, [])
        if not texts:
            where = str(locations[0]) if locations else ""
            if name in listed:
                where = f"listed in {layout.split_files[listed[name]]}"
            expected = name in captions_of or name in split_of or layout.every_photo_captioned
            listing.reject("photo" if expected else "unused", name, "no captions", where)
        elif not locations:
            listing.reject("photo", name, "missing photo", f"not found below {images}", captions=len(texts))
        elif len(locations) > 1:
            listing.reject("photo", name, "ambiguous photo", _some(locations), captions=len(texts))
        elif name not in split_of and not missing:
            listing.reject("unused", name, "in no split", captions=len(texts))
        else:
            found[name] = locations[0], texts
    by_hash = divide(found.keys() - split_of.keys(), missing, shares, seed)
    split_of |= by_hash
    listing.photos += [
        CaptionedPhoto(name, location, tuple(texts), split_of[name], tuple(source_ids_of[name]))
        for name, (location, texts) in found.items()
    ]
    more = ", ..." if len(files) > 3 else ""
    listing.notes.append(f"source: {layout.name} ({', '.join(path.name for path in files[:3])}{more})")
    listing.notes.append(_split_note(layout, missing, by_hash))
    if respelt:
        examples = [f"{name} is {found}" for name, found in respelt.items()]
        listing.notes.append(f"{_photos(len(respelt))} found by another spelling of the name: {some_of(examples)}")
    listing.warnings += _warnings(listing, divided=bool(by_hash))
    return listing


def _match_spellings(captioned: AbstractSet[str], locations_of: dict[str, list[Location]]) -> dict[str, str]:
    """Find photos whose names differ from those in the captions only in case or in how accents are composed.

    Such photos move to the name in the captions, where only one name of each side is left with that spelling.

    Args:
        captioned: names in the captions.
        locations_of: name -> locations; changed.

    Returns:
        Name in the captions -> name of the file.
    """
    wanted, left = _by_spelling(captioned - locations_of.keys()), _by_spelling(locations_of.keys() - captioned)
    pairs = ((names, left.get(spelling, [])) for spelling, names in wanted.items())
    found = {names[0]: files[0] for names, files in sorted(pairs) if len(names) == len(files) == 1}
    for name, file in found.items():
        locations_of[name] = locations_of.pop(file)
    return found


def _by_spelling(names: Iterable[str]) -> dict[str, list[str]]:
    spelt: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spelt[unicodedata.normalize("NFC", name).casefold()].append(name)
    return spelt


def _some(locations: list[Location]) -> str:
    more = f"; and {len(locations) - 5:,} more" if len(locations) > 5 else ""
    return "; ".join(map(str, sorted(locations)[:5])) + more


def _find_layout(source: str, captions: Path) -> tuple[Source, list[Path]]:
    known = known_layouts()
    if source != AUTO:
        if source not in known:
            raise SourceError(f"--source {source}: no such layout; known are {', '.join([AUTO, *known])}")
        files = known[source].files(captions)
        if not files:
            raise SourceError(f"--captions {captions}: no captions of the layout {source}: {known[source].layout}")
        return known[source], files
    for layout in known.values():
        if files := layout.files(captions):
            return layout, files
    listed = "\n".join(f"  {layout.name:10}  {layout.layout}" for layout in known.values())
    raise SourceError(f"--captions {captions}: holds no captions of a known layout; these are known:\n{listed}")


def _read_captions(
    layout: Source, files: list[Path], listing: Listing, columns: Columns
) -> tuple[dict[str, list[str]], dict[str, str], dict[str, dict[str, None]]]:
    """Photo id -> raw captions, -> split where the captions name it, -> source ids; bad captions are rejected."""
    captions_of: dict[str, list[str]] = defaultdict(list)
    split_of: dict[str, str] = {}
    source_ids_of: dict[str, dict[str, None]] = defaultdict(dict)  # in their order
    for where, name, caption, split, source_id in layout.read(files, listing, columns):
        if not is_safe_name(name):
            listing.reject("caption", where, "unsafe name", f"{name[:80]!r} must be a plain file name")
            continue
        if source_id is not None:
            source_ids_of[name][source_id] = None
        if problem := _caption_problem(caption):
            listing.reject("caption", where, problem, f"{name}: {caption!r:.80}")
            captions_of[name]  # makes the photo known, even if it has no other caption
        else:
            captions_of[name].append(caption.strip())
        if split is not None and split_of.setdefault(name, split) != split:
            raise SourceError(f"{where}: {name} is in two splits, {split_of[name]} and {split}; remove one of them")
    if not listing.captions_in:
        raise SourceError(f"{files[0]}: is empty")
    return captions_of, split_of, source_ids_of


def _caption_problem(caption: Any) -> str:
    """Why a caption cannot be used; empty if it can."""
    if not isinstance(caption, str):  # JSON may hold numbers, null and lists
        return "not text"
    if not any(character.isalnum() for character in caption):
        return "empty caption"
    try:
        caption.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON may hold
        return "not UTF-8"
    return ""


def _split_note(layout: Source, missing: list[str], by_hash: Mapping[str, str]) -> str:
    if not missing:
        return f"splits: from {'the split files' if layout.split_files else 'the captions'}"
    absent = ", ".join(layout.split_files[split] for split in missing if split in layout.split_files)
    return f"splits: {f'no {absent}; ' if absent else ''}by a hash of the photo id: " + (
        ", ".join(f"{count:,} to {split}" for split, count in sorted(Counter(by_hash.values()).items())) or "no photos"
    )


def _warnings(listing: Listing, *, divided: bool) -> list[str]:
    """What is unusual in a listing; `divided`: photos were divided by the hash."""
    warnings = []
    missing, unused = (
        [rejection.id for rejection in listing.rejections if (rejection.kind, rejection.reason) == kind_and_reason]
        for kind_and_reason in (("photo", "missing photo"), ("unused", "no captions"))
    )
    if unused:
        warnings.append(f"{_photos(len(unused))} that no caption names, not used: {some_of(unused)}")
    stems = {_stem(name): name for name in unused}
    if twice := [f"{name} is {stems[_stem(name)]}" for name in missing if _stem(name) in stems]:
        warnings.append(f"{_photos(len(twice))} may have another ending in the captions: {some_of(twice)}?")
    if unread := [photo.id for photo in listing.photos if Path(photo.id).suffix.lower() in UNREAD_SUFFIXES]:
        warnings.append(f"{_photos(len(unread))} in HEIC, which is not read; convert to JPEG: {some_of(unread)}")
    dev = sum(photo.split == "dev" for photo in listing.photos)
    if listing.photos and dev < FEWEST_DEV_PHOTOS:
        cure = "; --shares gives it more" if divided else ""
        warnings.append(f"dev has {_photos(dev)}: its scores say little{cure}")
    return warnings


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _stem(name: str) -> str:
    """Equal for names that differ in the ending, in case, or in how accents are composed."""
    return unicodedata.normalize("NFC", Path(name).stem).casefold()
