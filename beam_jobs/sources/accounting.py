"""Nothing that lies below the user's paths is lost: what is neither captions nor a photo is named with a reason."""

from pathlib import Path

from beam_jobs.sources.items import FoundFile
from tfcaption.preprocessing.photos import is_photo_name

NO_PHOTO = "no photo beside it"  # of a text file that would be the captions of a photo
OTHER = "neither photo nor captions"
# Reasons that hint at lost captions or photos. Other files, such as a README or hidden ones, are only counted.
TOLD = (NO_PHOTO, "photo in another place", "broken link", "not a regular file", "unreadable folder")


def unread_reason(file: FoundFile, text_endings: tuple[str, ...]) -> str:
    """Why a file was not read, with a detail after a colon.

    Args:
        file: below the user's folders.
        text_endings: of files that hold captions where a photo lies beside them.
    """
    path = Path(file.path)
    if file.problem:
        return file.problem
    if file.hidden:
        return "hidden file"
    if is_photo_name(path.name):
        return "photo in another place"
    return NO_PHOTO if path.suffix.lower() in text_endings else OTHER
