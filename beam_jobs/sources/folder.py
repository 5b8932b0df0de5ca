"""The layout of text and JSON files beside the photos."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath

from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, holds_photo, visible_files
from beam_jobs.sources.caption_values import captions_of_files, holds_captions
from beam_jobs.sources.pairing import JSON_ENDING, TEXT_ENDINGS, photos_of_texts
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES
from tfcaption.runtime.paths import files_in, is_hidden


class Folder(Source):
    """Text files beside the photos: dog.jpg and dog.txt, a caption a line; or dog.json with captions."""

    name, names_are_paths = "folder", True
    layout = "for each photo NAME.jpg a file NAME.txt or NAME.caption, a caption a line, or NAME.json with captions"
    text_endings = TEXT_ENDINGS

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        if not captions.is_dir():
            return []
        files = visible_files(captions, below=True)
        texts = [path for path in files if path.suffix.lower() in TEXT_ENDINGS]
        photo_of = _photos_beside(texts)
        if found := [text for text in texts if text in photo_of]:
            return found
        texts = [path for path in files if path.suffix.lower() == JSON_ENDING]
        photo_of = _photos_beside(texts)
        return [text for text in texts if text in photo_of and holds_captions(text.read_bytes())]

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        photo_of = _photos_beside(files)
        texts_of: dict[Path, list[Path]] = defaultdict(list)
        for text in files:
            texts_of[photo_of.get(text, text)].append(text)
        for path, photo in photo_of.items():
            if (
                path.suffix.lower() == JSON_ENDING
                and path not in listing.accounted
                and holds_captions(path.read_bytes())
            ):
                listing.accounted.add(path)
                texts_of[photo].append(path)
        for photo, texts in texts_of.items():
            contents = [(text.name, text.read_bytes()) for text in texts]
            for line in captions_of_files(contents, listing, columns):
                yield line._replace(photo=str(photo))


def _photos_beside(texts: Sequence[Path]) -> dict[Path, Path]:
    """Text or JSON file -> the photo beside it, for all such files in the folders of `texts` that have one."""
    found: dict[Path, Path] = {}
    for folder in sorted({text.parent for text in texts}):  # each is listed once
        beside = {path.name: path for path in files_in(folder) if not is_hidden(PurePath(path.name))}
        pairs = photos_of_texts(sorted(beside, key=_preference), partial(_holds_photo, folder))
        found |= {beside[text]: beside[photo] for text, photo in pairs.items()}
    return found


def _holds_photo(folder: Path, name: str) -> bool:
    return holds_photo(folder / name)


def _preference(name: str) -> tuple[bool, str, bool, str]:
    """Key that sorts photos of one name: those that can be read first, since converted photos lie beside the HEICs."""
    suffix = PurePath(name).suffix
    return suffix.lower() in UNREAD_SUFFIXES, suffix.lower(), not suffix.islower(), name
