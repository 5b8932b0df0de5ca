"""The layout of text files beside the photos."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from beam_jobs.execution.rejections import some_of
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, text_lines
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES, is_photo_name


class Folder(Source):
    """Text files beside the photos: dog.jpg and dog.txt, a caption a line."""

    name, names_are_paths = "folder", True
    layout = "for each photo NAME.jpg a file NAME.txt, a caption a line"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return [*_photo_names(sorted(captions.rglob("*.txt")))] if captions.is_dir() else []

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        photo_names = _photo_names(files)
        texts = {text for folder in {path.parent for path in files} for text in folder.glob("*.txt")}
        if alone := sorted(text.name for text in texts - set(files) if not text.name.startswith(".")):
            listing.warnings.append(
                f"{len(alone):,} text files without a photo beside them, not used: {some_of(alone)}"
            )
        for path in files:
            for number, caption in text_lines(path, listing):
                yield CaptionLine(
                    f"{path.name}:{number}", str(path.with_name(photo_names.get(path, path.name))), caption
                )


def _photo_names(texts: Sequence[Path]) -> dict[Path, str]:
    """Text file -> name of the photo beside it (dog.txt -> dog.jpg), without text files that have none."""
    names: dict[Path, str] = {}  # path without suffix -> name
    for folder in {text.parent for text in texts}:  # each is listed once
        photos = [path for path in folder.iterdir() if is_photo_name(path.name) and path.is_file()]
        for path in sorted(photos, key=_preference):
            names.setdefault(folder / path.stem, path.name)
    stems = {text: text.parent / text.stem for text in texts}
    return {text: names[stem] for text, stem in stems.items() if stem in names}


def _preference(path: Path) -> tuple[bool, str, bool]:
    """Key that sorts photos of one name: those that can be read first, since converted photos lie beside the HEICs."""
    suffix = path.suffix.lower()
    return suffix in UNREAD_SUFFIXES, suffix, not path.suffix.islower()
