"""Nothing that lies below the user's paths is lost: what is neither captions nor a photo is named with a reason."""

import os
from collections.abc import Iterable
from pathlib import Path

from beam_jobs.execution.rejections import RejectionCounts, named_reasons
from beam_jobs.sources.base import Listing, path_below
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.runtime.paths import entries_below, is_hidden, is_local

NO_PHOTO = "no photo beside it"  # of a text file that would be the captions of a photo
OTHER = "neither photo nor captions"
# Reasons that hint at lost captions or photos. Other files, such as a README or hidden ones, are only counted.
_WARNED = (NO_PHOTO, "photo in another place", "broken link", "not a regular file", "unreadable folder")


def name_unread(
    listing: Listing,
    roots: Iterable[Path],
    photos: Iterable[str],
    text_endings: tuple[str, ...],
    output: Path | None = None,
) -> None:
    """Add a rejection of the kind "file" for each file below the user's folders that was not read.

    Args:
        listing: its `accounted` files were read as captions or lists of photos, or are named already.
        roots: what the user names, the folder of the photos first; a file among them counts as read.
        photos: paths of the files of all photos.
        text_endings: of files that hold captions where a photo lies beside them.
        output: folder that the job writes, whose files are not named.
    """
    folders: dict[str, str] = {}  # path -> the same without links

    def own(path: str) -> str:
        if not is_local(path):
            return path
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return f"{folders[folder]}/{name}"

    own_output = None if output is None else own(str(output / "x")).removesuffix("x")
    known = {own(path) for path in (*map(str, listing.accounted), *photos)}
    for root in (root for root in roots if root.is_dir()):
        for path, problem in entries_below(root):
            own_path = own(str(path))
            if own_path not in known and not (own_output and own_path.startswith(own_output)):
                known.add(own_path)
                reason, _, detail = (problem or _reason(path, root, text_endings)).partition(": ")
                listing.reject("file", path_below(root, path), reason, detail)
    warned = RejectionCounts.of(each for each in listing.rejections if each.kind == "file" and each.reason in _WARNED)
    if warned.total:
        listing.warnings.append(f"files that are not used: {named_reasons(warned)}")


def _reason(path: Path, root: Path, text_endings: tuple[str, ...]) -> str:
    if is_hidden(path.relative_to(root)):
        return "hidden file"
    if is_photo_name(path.name):
        return "photo in another place"
    return NO_PHOTO if path.suffix.lower() in text_endings else OTHER
