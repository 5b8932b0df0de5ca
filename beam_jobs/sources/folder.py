"""The layout of text files beside the photos."""

from collections.abc import Iterator
from pathlib import Path

from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, text_lines
from tfcaption.preprocessing import photos


class Folder(Source):
    """Text files beside the photos: dog.jpg and dog.txt, a caption a line."""

    name = "folder"
    layout = "for each photo NAME.jpg a file NAME.txt, a caption a line"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return [*_photos_beside(sorted(captions.rglob("*.txt")))] if captions.is_dir() else []

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        beside = _photos_beside(files)
        for path in files:
            for number, caption in text_lines(path, listing):
                yield CaptionLine(f"{path.name}:{number}", beside.get(path, path.name), caption)


def _photos_beside(texts: list[Path]) -> dict[Path, str]:
    """Those text files that have a photo beside them, dog.txt a dog.jpg, with its name; each folder is listed once."""
    found: dict[Path, str] = {}
    for folder in {text.parent for text in texts}:
        here = (path for path in folder.iterdir() if path.suffix.lower() in photos.SUFFIXES and path.is_file())
        for path in sorted(here, key=lambda path: (path.suffix.lower(), not path.suffix.islower())):
            found.setdefault(folder / path.stem, path.name)
    stems = {text: text.parent / text.stem for text in texts}
    return {text: found[stem] for text, stem in stems.items() if stem in found}
