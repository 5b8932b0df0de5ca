"""The layout of text and JSON files beside the photos."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path, PurePath

from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, holds_photo, visible_files
from beam_jobs.sources.caption_values import captions_of_files, holds_captions
from beam_jobs.sources.pairing import JSON_ENDING, TEXT_ENDINGS, photos_of_texts
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES
from tfcaption.runtime.paths import entries_below, is_hidden, is_local

_TOLD = 4  # files that `Listing.files` names of very many


class Folder(Source):
    """Text files beside the photos: dog.jpg and dog.txt, a caption a line; or dog.json with captions."""

    name, names_are_paths = "folder", True
    layout = "for each photo NAME.jpg a file NAME.txt or NAME.caption, a caption a line, or NAME.json with captions"
    text_endings = TEXT_ENDINGS

    def files(self, captions: Path) -> list[Path]:
        """The folder itself, if it holds one such text; see `Source.files`."""
        if not captions.is_dir():
            return []
        found = (texts or jsons for _, texts, jsons in map(_pairs, _folders(captions)))
        return [captions] if any(found) else []

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`. Where any photo has a text file, JSON files in folders without one hold no captions."""
        for path in files:
            if not path.is_dir():
                yield from _captions(*_pairs(visible_files(path.parent), only=path), listing, columns)
                continue
            with_text, only_json = False, list[Path]()
            for folder in _folders(path):
                photo_of, texts, jsons = _pairs(folder)
                with_text = with_text or bool(texts)
                if texts:
                    yield from _captions(photo_of, texts, jsons, listing, columns)
                elif jsons:
                    only_json.append(folder[0].parent)
            for each in only_json if not with_text else ():
                yield from _captions(*_pairs(visible_files(each)), listing, columns)


def _folders(root: Path) -> Iterator[list[Path]]:
    """The visible files of each folder below a folder."""
    visible = (path for path, problem in entries_below(root) if not problem and not is_hidden(path.relative_to(root)))
    # Object stores list files in the order of their names, those of a folder among those of the folders in it.
    ordered = visible if is_local(root) else sorted(visible, key=attrgetter("parent"))
    return (list(files) for _, files in groupby(ordered, key=attrgetter("parent")))


def _pairs(files: Sequence[Path], only: Path | None = None) -> tuple[dict[Path, Path], list[Path], list[Path]]:
    """Of the files of one folder: text or JSON file -> photo beside it; such texts; such JSON files with captions.

    Args:
        files: not hidden.
        only: the one text that counts, with a photo beside it or not.
    """
    beside = {path.name: path for path in files}
    looks_like_one = partial(_holds_photo, files[0].parent) if files else bool
    pairs = photos_of_texts(sorted(beside, key=_preference), looks_like_one)
    photo_of = {beside[text]: beside[photo] for text, photo in pairs.items()}
    jsons = [path for path in photo_of if path.suffix.lower() == JSON_ENDING and path != only]
    texts = [only] if only else sorted(path for path in photo_of if path.suffix.lower() != JSON_ENDING)
    return photo_of, texts, [path for path in jsons if holds_captions(path.read_bytes())]


def _captions(
    photo_of: dict[Path, Path], texts: list[Path], jsons: list[Path], listing: Listing, columns: Columns
) -> Iterator[CaptionLine]:
    """The captions of the photos of one folder."""
    files_of: dict[Path, list[Path]] = defaultdict(list)
    for path in [*texts, *jsons]:
        files_of[photo_of.get(path, path)].append(path)
    listing.accounted.update(texts, jsons)
    listing.files = sorted([*listing.files, *(texts or sorted(jsons))])[:_TOLD]
    for photo, paths in files_of.items():
        for line in captions_of_files([(path.name, path.read_bytes()) for path in paths], listing, columns):
            yield line._replace(photo=str(photo))


def _holds_photo(folder: Path, name: str) -> bool:
    return holds_photo(folder / name)


def _preference(name: str) -> tuple[bool, str, bool, str]:
    """Key that sorts photos of one name: those that can be read first, since converted photos lie beside the HEICs."""
    suffix = PurePath(name).suffix
    return suffix.lower() in UNREAD_SUFFIXES, suffix.lower(), not suffix.islower(), name
