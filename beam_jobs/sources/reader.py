"""Reads a data set of any caption layout into a listing: photos with captions and split, and rejections."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.rejections import RejectionCounts, named_reasons, some_of
from beam_jobs.sources.accounting import name_unread
from beam_jobs.sources.advice import advice, count_photos
from beam_jobs.sources.base import (
    CaptionedPhoto,
    CaptionLine,
    Columns,
    Listing,
    Location,
    Source,
    check_exists,
    path_below,
)
from beam_jobs.sources.caption_values import caption_problem, captions_in
from beam_jobs.sources.coco import Coco, Karpathy
from beam_jobs.sources.flickr import Flickr8k, Flickr30k
from beam_jobs.sources.folder import Folder
from beam_jobs.sources.held_out import HELD_OUT_SPLITS
from beam_jobs.sources.matching import Matches, file_name, match_names, short_names
from beam_jobs.sources.official_splits import (
    BY_HASH,
    Evidence,
    OfficialSplits,
    SplitLists,
    official_splits,
    read_split_lists,
)
from beam_jobs.sources.splits import SPLIT_NAMES, divide, named_split
from beam_jobs.sources.table import Table
from beam_jobs.sources.text_files import UNSAFE_NAME, is_absolute, normal_name
from beam_jobs.sources.webdataset import WebDataset
from tfcaption.records.dataset_info import DEFAULT_SHARES, SPLITS, Rejection

LAYOUTS: tuple[type[Source], ...] = (Flickr8k, Flickr30k, Karpathy, Coco, Folder, Table, WebDataset)
ENTRY_POINTS = "tfcaption.sources"
AUTO = "auto"
_USUAL = Columns()


def known_layouts() -> dict[str, Source]:
    """All layouts by name, in the order in which `auto` tries them: the built-in ones, then those of other packages."""
    known = {layout.name: layout() for layout in LAYOUTS}
    for entry in entry_points(group=ENTRY_POINTS):
        known.setdefault(entry.name, entry.load()())
    return known


@dataclass
class _Photo:
    """A photo that captions name."""

    captions: list[str] = field(default_factory=list)  # raw
    in_other_files: frozenset[str] = frozenset()  # captions of the files before the one that is being read
    source_ids: dict[str, None] = field(default_factory=dict)  # in their order
    evidence: Evidence = field(default_factory=Evidence)
    locations: list[Location] = field(default_factory=list)


def read_source(
    images: str | Path,
    captions: str | Path,
    *,
    source: str = AUTO,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    columns: Columns = _USUAL,
    output: str | Path | None = None,
) -> Listing:
    """Read a data set.

    Photos are found by their names in the captions, see `match_names`. Their splits are those that the data set names,
    see `official_splits`. Where it names none, photos are divided by a hash of their id, see `divide`; so are photos
    that no list of a split names, among the splits that have no list. Other photos without a split are unused, as the
    authors of the data set intended. Photos that no caption names are unused too, unless the layout says that every
    photo has captions.

    Args:
        images: folder of the photos or a folder above it (a layout that contains the photos may take a file).
        captions: file or folder of the captions.
        source: name of the layout, or `auto`: the first layout that finds its files.
        shares: share of each split. All photos are divided by the hash, whatever splits the data set names. None: those
            count, and `DEFAULT_SHARES` for photos without one.
        seed: of that hash.
        columns: names of a table's columns, where they are unusual. A given column of splits overrules names of files.
        output: folder that the job writes; it may lie below the others, and its files are not named as unread.

    Returns:
        The photos in the order of their ids, the rejections, and warnings about what was found.

    Raises:
        SourceError: a file is missing, empty or of no known layout, a photo is in two splits, or names speak of splits
            that cannot be used.
    """
    images, captions = as_path(images), as_path(captions)
    check_exists(images, captions)
    layout, files = _find_layout(source, captions)
    listing = Listing(source=layout.name, accounted={*files})
    folder = captions if captions.is_dir() else captions.parent
    named, column = _read_captions(layout, files, listing, columns, (images, folder), check_splits=shares is None)
    locations_of = layout.photos(images, {file_name(name) for name in named}, listing)
    matches = match_names(named, locations_of)
    photos = _by_id(layout, named, matches, locations_of)
    lists = read_split_lists(folder, layout.split_files, photos, files)
    official = overruled = OfficialSplits({}, [*SPLITS], "")
    evidence = {name: photo.evidence for name, photo in photos.items()}
    try:
        named_splits = official_splits(evidence, lists, captions, column=column, column_decides=bool(columns.split))
        official, overruled = (named_splits, overruled) if shares is None else (official, named_splits)
    except SourceError:  # where --shares decides, they need not agree
        if shares is None:
            raise
    rejections = list(_rejections(layout, photos, official, lists, images))
    used_paths = {*matches.path_of.values(), *chain(*matches.ambiguous.values())}
    for path, name in short_names(locations_of.keys() - used_paths).items():
        if not layout.split_files or name not in lists.without_captions:  # those are among `_rejections`
            kind = "photo" if layout.every_photo_captioned else "unused"
            rejections.append(Rejection(kind=kind, id=name, reason="no captions", detail=str(locations_of[path][0])))
    listing.accounted |= lists.files.keys()
    photo_files = (location.path for locations in locations_of.values() for location in locations)
    written = None if output is None else as_path(output)
    name_unread(listing, (images, captions), photo_files, layout.text_endings, written)
    listing.rejections += sorted(rejections, key=lambda rejection: rejection.id)
    found = {name: photos[name] for name in sorted(photos.keys() - {rejection.id for rejection in rejections})}
    by_hash = divide(found.keys() - official.split_of.keys(), official.unlisted, shares or DEFAULT_SHARES, seed)
    split_of = official.split_of | by_hash
    listing.photos += [
        CaptionedPhoto(name, photo.locations[0], tuple(photo.captions), split_of[name], tuple(photo.source_ids))
        for name, photo in found.items()
    ]
    more = ", ..." if len(files) > 3 else ""
    examples = ", ".join(path_below(captions, path) for path in files[:3])
    listing.notes.append(f"source: {layout.name} ({examples}{more})")
    listing.notes.append(_split_note(layout, lists, official, by_hash, overruled=shares is not None))
    if respelt := matches.respelt:
        pairs = some_of([f"{name} is {file_name(path)}" for name, path in sorted(respelt.items())])
        listing.notes.append(f"{count_photos(len(respelt))} found by another spelling of the name: {pairs}")
    held_out = {name for name, split in overruled.split_of.items() if split in HELD_OUT_SPLITS}
    if leaked := [name for name, split in by_hash.items() if split == "train" and name in held_out]:
        listing.warnings.append(
            f"--shares overrules the splits from {overruled.said_by}: now in train are {count_photos(len(leaked))} of "
            f"dev and test: {some_of(leaked)}"
        )
    listing.warnings += advice(listing, divided=bool(by_hash))
    return listing


def _by_id(
    layout: Source, named: dict[str, _Photo], matches: Matches, locations_of: Mapping[str, list[Location]]
) -> dict[str, _Photo]:
    """Photo id -> photo with its locations, from the photos by name."""
    id_of = short_names(named) if layout.names_are_paths else {}
    photos = {}
    for name, photo in named.items():
        path = matches.path_of.get(name)
        paths = [path] if path is not None else matches.ambiguous.get(name, [])
        photo.locations = [location for path in paths for location in locations_of[path]]
        if path is not None:
            photo.evidence.folder = "/".join(dict.fromkeys([*path.split("/")[:-1], *name.split("/")[:-1]]))
        photos[id_of.get(name, name)] = photo
    return photos


def _rejections(
    layout: Source, photos: Mapping[str, _Photo], official: OfficialSplits, lists: SplitLists, images: Path
) -> Iterator[Rejection]:
    """The photos that captions or official lists name and that cannot be used."""
    ambiguous = Counter(photo.locations[0] for photo in photos.values() if photo.locations)
    for name, photo in photos.items():
        captions = len(photo.captions)
        kind, reason, detail = "photo", "", ""
        if not captions:
            reason, detail = "no captions", str(photo.locations[0]) if photo.locations else ""
        elif not photo.locations:
            reason, detail = "missing photo", f"not found below {images}"
        elif len(photo.locations) > 1:
            reason, detail = "ambiguous photo", _some(photo.locations)
        elif ambiguous[photo.locations[0]] > 1:
            reason, detail = "ambiguous photo", f"{photo.locations[0]}, of which there are other names"
        elif name not in official.split_of and not official.unlisted:
            kind, reason = "unused", "in no split"
        if reason:
            yield Rejection(kind=kind, id=name, reason=reason, detail=detail, captions=captions)
    if layout.split_files:
        for name, path in lists.without_captions.items():
            yield Rejection(kind="photo", id=name, reason="no captions", detail=f"listed in {path.name}")


def _some(locations: list[Location]) -> str:
    more = f"; and {len(locations) - 5:,} more" if len(locations) > 5 else ""
    return "; ".join(map(str, sorted(locations)[:5])) + more


def _find_layout(source: str, captions: Path) -> tuple[Source, list[Path]]:
    known = known_layouts()
    if source != AUTO:
        if source not in known:
            raise SourceError(f"--source {source}: no such layout; known are {', '.join([AUTO, *known])}")
        files = known[source].files(captions)
        if not files and captions.is_file():  # a file of the layout under another name
            files = [captions]
        if not files:
            raise SourceError(
                f"--captions {captions}: no captions of the layout {source}: {known[source].layout}; name a file of "
                "another name itself"
            )
        return known[source], files
    for layout in known.values():
        if files := layout.files(captions):
            return layout, files
    listed = "\n".join(f"  {layout.name:10}  {layout.layout}" for layout in known.values())
    cure = " (--source names the one of a file that is called otherwise)" if captions.is_file() else ""
    raise SourceError(f"--captions {captions}: holds no captions of a known layout; these are known{cure}:\n{listed}")


def _read_captions(
    layout: Source,
    files: list[Path],
    listing: Listing,
    columns: Columns,
    folders: tuple[Path, Path],
    *,
    check_splits: bool,
) -> tuple[dict[str, _Photo], str]:
    """The photos by their names, and the column that names their splits; bad captions are rejected."""
    photos: dict[str, _Photo] = defaultdict(_Photo)
    unknown: dict[str, str] = {}  # column -> where it does not name a split
    column, repeated = "", list[str]()
    for line in layout.read(files, listing, columns):
        name = _normal_name(line, layout, folders)
        if not name:
            listing.reject("caption", line.where, "unsafe name", f"{line.photo[:80]!r} {UNSAFE_NAME}")
            continue
        photo = photos[name]  # known now, even if it has no good caption
        if line.source_id is not None:
            photo.source_ids[line.source_id] = None
        if line.file is not None and line.file not in photo.evidence.files:
            photo.evidence.files.add(line.file)
            photo.in_other_files = frozenset(photo.captions)
        captions = captions_in(line.caption)
        listing.captions_in += len(captions) - 1
        for caption in captions:
            if problem := caption_problem(caption):
                listing.reject("caption", line.where, problem, f"{name}: {caption!r:.80}")
            elif caption.strip() in photo.in_other_files:
                repeated.append(line.where)
            else:
                photo.captions.append(caption.strip())
        if line.split in (None, ""):
            continue
        split = named_split(str(line.split))
        if split is None:
            unknown.setdefault(line.column, f"{line.where}: {line.column} {line.split!r:.80}")
        elif check_splits and photo.evidence.split not in (None, split):
            raise SourceError(
                f"{line.where}: {name} is in two splits, {photo.evidence.split} and {split}; remove one of them"
            )
        else:
            photo.evidence.split, column = split, line.column
    listing.captions_in -= len(repeated)
    if repeated:
        listing.notes.append(f"captions that several files hold, counted once: {len(repeated):,} ({some_of(repeated)})")
    if not listing.captions_in:
        reasons = named_reasons(RejectionCounts.of(listing.rejections))
        raise SourceError(f"{files[0]}: " + (f"holds no captions: {reasons}" if reasons else "is empty"))
    for faulty, where in unknown.items():
        if check_splits and faulty in (column, "split", columns.split):
            raise SourceError(f"{where}; known are {', '.join(SPLIT_NAMES)}; correct it, or {BY_HASH}")
        if check_splits:
            listing.notes.append(f"{where} is no split, so this column is not used")
    return photos, column


def _normal_name(line: CaptionLine, layout: Source, folders: tuple[Path, Path]) -> str:
    """A photo's name as its id has it; empty if it is unsafe.

    A path that the reader made, and an absolute one below the folder of photos or captions, is taken from there.
    """
    name = line.photo
    if layout.names_are_paths or is_absolute(name):
        starts = (f"{each}/" for folder in folders for each in (folder, folder.absolute()))
        name = next((name.removeprefix(start) for start in starts if name.startswith(start)), name)
    elif line.file is not None and line.file.parent != folders[1]:  # names in a table are those of its folder
        name = f"{path_below(folders[1], line.file.parent)}/{name}"
    return normal_name(name)


def _split_note(
    layout: Source, lists: SplitLists, official: OfficialSplits, by_hash: Mapping[str, str], *, overruled: bool
) -> str:
    """Where the splits come from."""
    if official.said_by and not official.unlisted:
        return f"splits: from {official.said_by}"
    divided = ", ".join(f"{count:,} to {split}" for split, count in sorted(Counter(by_hash.values()).items()))
    absent = ", ".join(name for name in layout.split_files.values() if name not in {path.name for path in lists.files})
    reason = "as --shares says, " if overruled else ""
    if official.said_by:
        reason = f"from {official.said_by}; the rest "
    elif absent and not overruled:
        reason = f"no {absent}; "
    return f"splits: {reason}by a hash of the photo id: {divided or 'no photos'}"
