"""Recognises the caption layout of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.execution.paths import as_path
from beam_jobs.sources.addresses import Addresses
from beam_jobs.sources.base import Columns, Source, check_exists
from beam_jobs.sources.coco import Coco, Karpathy
from beam_jobs.sources.flickr import Flickr8k, Flickr30k
from beam_jobs.sources.folder import Folder
from beam_jobs.sources.grouping import bucket_count
from beam_jobs.sources.json_files import JsonFiles
from beam_jobs.sources.parquet import Parquet
from beam_jobs.sources.table import Table
from beam_jobs.sources.webdataset import WebDataset
from tfcaption.records.dataset_info import Rejection
from tfcaption.runtime.paths import is_hidden, is_local

LAYOUTS: tuple[type[Source], ...] = (
    Flickr8k,
    Flickr30k,
    Karpathy,
    Coco,
    Folder,
    Addresses,
    Table,
    JsonFiles,
    WebDataset,
    Parquet,
)
ENTRY_POINTS = "tfcaption.sources"
AUTO = "auto"
_USUAL = Columns()
_TOLD_FILES = 4  # one more than a message names
_TRIED_FOLDERS = 20  # for a hint in a message


def known_layouts() -> dict[str, Source]:
    """All layouts by name, in the order in which `auto` tries them: the built-in ones, then those of other packages."""
    known = {layout.name: layout() for layout in LAYOUTS}
    for entry in entry_points(group=ENTRY_POINTS):
        known.setdefault(entry.name, entry.load()())
    return known


@dataclass(frozen=True)
class DataSet:
    """A data set as the user names it, and its layout."""

    layout: Source
    images: Path
    captions: Path
    files: tuple[Path, ...]  # that hold captions; a folder of them, for a layout of very many
    buckets: int  # of captions, see `grouping`
    columns: Columns = _USUAL
    shares: Mapping[str, float] | None = None  # None: the splits that the data set names
    seed: int = 0
    output: str | None = None  # folder that the job writes; its files are not part of the data set
    photos_as_named: bool = False  # names in the captions are paths below `images`, and nothing is listed
    photos_in_files: bool = False  # photos are parts of files (tars), see `Source.photo_files`
    name: str = ""  # of one of several data sets that become one; its photos' ids begin with it
    files_of_others: tuple[Path, ...] = ()  # that hold the captions of the other data sets

    @property
    def folder(self) -> Path:
        """The folder of the captions."""
        return self.captions if self.captions.is_dir() else self.captions.parent

    def for_workers(self) -> "DataSet":
        """The same without most of its files, which workers get as parts; a step of a pipeline must stay small."""
        return replace(self, files=self.files[:_TOLD_FILES], files_of_others=())

    def own_id(self, name: str) -> str:
        """The id of a photo or of a rejection in the records, from that within this data set."""
        return f"{self.name}/{name}" if self.name else name

    def own(self, rejection: Rejection) -> Rejection:
        """A rejection with the id that it has in the records."""
        return rejection.model_copy(update={"id": self.own_id(rejection.id)})


def find_data_set(
    images: str | Path,
    captions: str | Path,
    *,
    source: str = AUTO,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    columns: Columns = _USUAL,
    output: str | None = None,
    photos_as_named: bool = False,
) -> DataSet:
    """Recognise the layout of a data set; no photo is looked for, and no caption is read.

    Args:
        images: folder of the photos or a folder above it (a layout that contains the photos may take a file).
        captions: file or folder of the captions.
        source: name of the layout, or `auto`: the first layout that finds its files.
        shares: share of each split. All photos are divided by the hash, whatever splits the data set names. None: those
            count, and `DEFAULT_SHARES` for photos without one.
        seed: of that hash.
        columns: names of a table's columns, where they are unusual. A given column of splits overrules names of files.
        output: folder that the job writes; it may lie below the others, and its files are not named as unread.
        photos_as_named: the captions name the path of each photo below `images`, and nothing else is looked at there.

    Raises:
        SourceError: a file is missing or of no known layout.
    """
    images, captions = as_path(images), as_path(captions)
    check_exists(images, captions)
    layout, files = _find_layout(source, captions)
    layout = layout.for_photos(images, files)
    in_files = not photos_as_named and bool(layout.photo_files(images))
    buckets = bucket_count(files, with_photos=layout.holds_photos(files))
    return DataSet(
        *(layout, images, captions, tuple(files), buckets, columns, shares, seed, output, photos_as_named, in_files)
    )


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
    raise SourceError(
        f"--captions {captions}: holds no captions of a known layout{_below(captions, known)}; these are known{cure}:\n"
        f"{listed}"
    )


def _below(captions: Path, known: Mapping[str, Source]) -> str:
    """The first folder directly in a local one that holds captions, as a message names it; empty if there is none."""
    inside = sorted(captions.iterdir()) if captions.is_dir() and is_local(captions) else []
    folders = [path for path in inside if path.is_dir() and not is_hidden(path.relative_to(captions))]
    for folder in folders[:_TRIED_FOLDERS]:
        if layout := next((layout for layout in known.values() if layout.files(folder)), None):
            return f", but {folder} does ({layout.name}): name that"
    return ""
