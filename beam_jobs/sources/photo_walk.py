"""The photos of a folder or a pattern, found one at a time, since a list of all may not fit into memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apache_beam.io.filesystem import FileSystem

from beam_jobs.execution.paths import as_path
from tfcaption.preprocessing.photos import walk_photos
from tfcaption.runtime.errors import UsageError

_WILDCARD = re.compile(r"[*?[]")


@dataclass(frozen=True)
class PhotoWalk:
    """Where the photos are that a user names."""

    images: str  # as the user names them
    root: str  # folder above all of them
    pattern: str  # of their paths below it; empty: all
    file: str = ""  # name of the only photo

    @classmethod
    def of(cls, images: str) -> "PhotoWalk":
        """The photos of a folder, with all folders below it, of a file, or of a pattern below a folder.

        Args:
            images: any path that Beam's filesystems know. What exists is not a pattern, such as a folder `photos [1]`.
        """
        path = as_path(images)
        if path.is_file():
            return cls(images, str(path.parent), "", path.name)
        folder, pattern = _folder_and_pattern(images)
        return cls(images, str(folder), pattern)

    def ids(self) -> Iterator[str]:
        """The ids of the photos: their paths below the root, with `/`; in no particular order.

        Raises:
            UsageError: the name of one is not printable.
        """
        if self.file:
            yield self.file
            return
        if self.pattern and not _WILDCARD.search(self.pattern.partition("/")[0]):
            return
        folder = as_path(self.root)
        matches = re.compile(FileSystem.translate_pattern(self.pattern or "**")).match
        for path in walk_photos(folder):
            photo = path.relative_to(folder).as_posix()
            if matches(photo):
                if not photo.isprintable():  # nor could a line of JSON hold it, where its bytes are not UTF-8
                    raise UsageError(f"--images {self.images}: {photo!r} is not a printable name; rename it")
                yield photo

    @property
    def nothing_found(self) -> str:
        """What to say where there is no photo."""
        return f"--images {self.images}: no photo found; name a folder or a pattern such as 'photos/*.jpg'"


def _folder_and_pattern(images: str) -> tuple[Path, str]:
    """The longest leading part of a pattern that is a folder, whatever its name, and the pattern below it."""
    parts = images.split("/")
    for count in range(len(parts), 0, -1):
        folder = as_path("/".join(parts[:count]) or "/")
        if folder.is_dir():
            return folder, "/".join(parts[count:])
    return Path(), images
