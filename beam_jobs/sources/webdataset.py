"""WebDataset's tar files as a caption layout: photos and captions are read in place."""

import io
import json
from collections import defaultdict
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Location, Source, decoded_lines, path_below
from beam_jobs.sources.table import CAPTION_COLUMNS, split_column, usual_column
from beam_jobs.sources.tar_members import Member, members, tar_files
from beam_jobs.sources.text_files import stream_lines
from tfcaption.preprocessing import photos
from tfcaption.records.folder_kinds import PHOTO_SUFFIXES

TEXT, JSON = ".txt", ".json"
MAX_TEXT_BYTES = 1_000_000  # of a caption member


class WebDataset(Source):
    """Tar files of photos and their captions; `--images` and `--captions` name the same ones."""

    name, names_are_paths = "webdataset", True
    layout = "a .tar file or a folder of them, with members KEY.jpg and KEY.txt (a caption a line), KEY.json, or both"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return tar_files(captions)

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            photo_of, texts = _contents(path, listing)
            with path.open("rb") as stream:
                for key, text_members in texts.items():
                    contents = {}
                    for suffix, member in text_members.items():
                        stream.seek(member.offset)
                        contents[suffix] = f"{path.name}/{member.path}", stream.read(member.size)
                    for line in _captions(contents, listing, columns):
                        if key in photo_of:
                            yield line._replace(photo=f"{path}/{photo_of[key]}", file=path)
                        else:
                            listing.reject(
                                "caption", line.where, "unknown photo", f"{path.name} has no photo of this key"
                            )

    def photos(self, images: Path, captioned: Container[str]) -> dict[str, list[Location]]:
        """See `Source.photos`."""
        tars = tar_files(images)
        if not tars:
            raise SourceError(f"--images {images}: holds no .tar; name the path of --captions")
        locations: dict[str, list[Location]] = defaultdict(list)
        for path in tars:
            for member in members(path):
                if member.suffix in PHOTO_SUFFIXES and not member.problem:
                    locations[f"{path_below(images, path)}/{member.path}"].append(
                        Location(str(path), member.offset, member.size)
                    )
        return locations


def _contents(path: Path, listing: Listing) -> tuple[dict[str, str], dict[str, dict[str, Member]]]:
    """The photos (key -> path) and the captions (key -> suffix -> member) of a tar file.

    Members that must not be read are rejected; members that are neither photos nor captions are ignored.
    """
    photo_of: dict[str, str] = {}
    texts: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in members(path):
        if member.suffix in (TEXT, JSON):
            if problem := _text_problem(member, texts):
                listing.captions_in += 1
                listing.reject("caption", f"{path.name}/{member.path}", *problem)
            else:
                texts[member.key][member.suffix] = member
        elif member.problem:
            listing.reject("photo", member.path, "unsafe member", f"{path.name}: {member.problem}")
        elif member.suffix in PHOTO_SUFFIXES and (
            member.key not in photo_of or Path(photo_of[member.key]).suffix.lower() in photos.UNREAD_SUFFIXES
        ):
            photo_of[member.key] = member.path
    return photo_of, texts


def _text_problem(member: Member, texts: dict[str, dict[str, Member]]) -> tuple[str, str] | None:
    """Reason and detail of the rejection of a caption member; None if it can be read."""
    if member.problem:
        return "unsafe member", member.problem
    if member.size > MAX_TEXT_BYTES:
        return "malformed line", f"{member.size:,} bytes of captions for one photo; at most {MAX_TEXT_BYTES:,} are read"
    if member.suffix in texts.get(member.key, ()):
        return "duplicate id", "an earlier member has the same name"
    return None


def _captions(contents: dict[str, tuple[str, bytes]], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
    """The captions of a photo, without its name; one that both files hold counts once.

    A text file that holds nothing but one caption of the JSON file is that caption, whatever line breaks it has.
    """
    where, row = _json_object(*contents[JSON], listing) if JSON in contents else ("", {})
    column = columns.split or split_column(row) or "split"
    split = row.get(column)
    caption = row.get(columns.caption or usual_column(row, CAPTION_COLUMNS) or "")
    captions = caption if isinstance(caption, list) else [caption]
    broken = [each.split() for each in captions if isinstance(each, str) and "\n" in each.strip()]
    lines = set()
    if TEXT in contents and contents[TEXT][1].decode(errors="replace").removeprefix("\ufeff").split() not in broken:
        name, data = contents[TEXT]
        for number, line in decoded_lines(stream_lines(io.BytesIO(data)), name, listing):
            lines.add(line.strip())
            yield CaptionLine(f"{name}:{number}", "", line, split, column=column)
    for index, each in enumerate(captions):
        if each is not None and not (isinstance(each, str) and each.strip() in lines):
            listing.captions_in += 1
            yield CaptionLine(f"{where}[{index}]", "", each, split, column=column)


def _json_object(where: str, data: bytes, listing: Listing) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        row, problem = None, f"not JSON: {error}"
    else:
        problem = f"not a JSON object: {data[:80]!r}"
    if not isinstance(row, dict):
        listing.captions_in += 1
        listing.reject("caption", where, "malformed line", problem)
        row = {}
    return where, row
