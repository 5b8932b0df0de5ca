"""WebDataset's tar files as a caption layout: photos and captions are read in place."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from beam_jobs.errors import SourceError
from beam_jobs.execution.reading import read_photo
from beam_jobs.sources.accounting import NO_PHOTO, OTHER
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Location, Source, visible_files
from beam_jobs.sources.caption_values import captions_of_files
from beam_jobs.sources.pairing import TEXT_ENDINGS, ending, is_text, photos_of_texts
from beam_jobs.sources.tar_members import Member, is_tar, members
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES, is_photo_content, is_photo_name
from tfcaption.runtime.paths import is_hidden

MAX_TEXT_BYTES = 1_000_000  # of a caption member


class WebDataset(Source):
    """Tar files of photos and their captions; `--images` and `--captions` name the same ones."""

    name, names_are_paths = "webdataset", True
    layout = "a .tar file or a folder of them, with members KEY.jpg and KEY.txt (a caption a line), KEY.json, or both"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return _tar_files(captions)

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            with path.open("rb") as stream:
                for photo, texts in _captioned_members(path, listing).items():
                    contents = []
                    for member in texts:
                        stream.seek(member.offset)
                        contents.append((f"{path.name}/{member.path}", stream.read(member.size)))
                    for line in captions_of_files(contents, listing, columns):
                        yield line._replace(photo=f"{path}/{photo}", file=path)

    def holds_photos(self, files: Sequence[Path]) -> bool:
        """See `Source.holds_photos`."""
        return True

    def photo_files(self, images: Path) -> list[Path]:
        """See `Source.photo_files`."""
        tars = _tar_files(images)
        if not tars:
            raise SourceError(f"--images {images}: holds no .tar; name the path of --captions")
        return tars

    def photos(self, file: Path, listing: Listing, *, captioned: bool) -> Iterator[tuple[str, Location]]:
        """See `Source.photos`."""
        if not captioned:
            _captioned_members(file, listing)
        for member in members(file):
            if not member.problem and not is_text(member.path):
                yield member.path, Location(str(file), member.offset, member.size)


def _tar_files(path: Path) -> list[Path]:
    return visible_files(path, is_tar, below=True)


def _captioned_members(path: Path, listing: Listing) -> dict[str, list[Member]]:
    """Path of a photo in a tar file -> the members that hold its captions; all other members get a rejection."""
    found: dict[str, Member] = {}
    for member in members(path):
        name = f"{path.name}/{member.path}"
        if member.problem and is_text(member.path):
            listing.captions_in += 1
            listing.reject("caption", name, "unsafe member", member.problem)
        elif member.problem:
            listing.reject("photo", member.path, "unsafe member", f"{path.name}: {member.problem}")
        elif is_hidden(PurePosixPath(member.path)):
            listing.reject("file", name, "hidden file")
        elif member.path in found and is_text(member.path):
            listing.captions_in += 1
            listing.reject("caption", name, "duplicate id", "an earlier member has the same name")
        else:
            found[member.path] = member
    order = sorted(found, key=lambda name: ending(name) in UNREAD_SUFFIXES)
    photo_of = photos_of_texts(order, lambda name: _is_photo(path, found[name]), by_key=True)
    photos = {*filter(is_photo_name, found), *photo_of.values()}
    texts_of: dict[str, list[Member]] = defaultdict(list)
    for name, member in found.items():
        if name in photos:
            continue
        if name not in photo_of:
            listing.reject("file", f"{path.name}/{name}", NO_PHOTO if ending(name) in TEXT_ENDINGS else OTHER)
        elif member.size > MAX_TEXT_BYTES:
            listing.captions_in += 1
            detail = f"{member.size:,} bytes of captions for one photo; at most {MAX_TEXT_BYTES:,} are read"
            listing.reject("caption", f"{path.name}/{name}", "malformed line", detail)
        else:
            texts_of[photo_of[name]].append(member)
    return texts_of


def _is_photo(path: Path, member: Member) -> bool:
    return is_photo_content(read_photo(str(path), member.offset, member.size))
