"""JSON files as a caption layout, whatever their names: their form says where the captions are."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Source, caption_files
from beam_jobs.sources.caption_values import captions_in
from beam_jobs.sources.coco import coco_captions, karpathy_captions, list_under, read_json
from beam_jobs.sources.columns import caption_columns
from beam_jobs.sources.rows import Row, row_captions
from beam_jobs.sources.splits import named_split
from beam_jobs.sources.text_files import utf8
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.photo_names import CAPTION_COLUMNS, PHOTO_COLUMNS, usual_column

_READ_TO_RECOGNISE = 1 << 16  # bytes, at the beginning and at the end: the whole may be large
_DECODER = json.JSONDecoder()
_MOST_DEPTH = 8  # lists and objects in one another, in a text that ends in the middle of them
_SPACE, _COMMA, _NAME = re.compile(r"\s*"), re.compile(r"\s*,"), re.compile(r'\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_KEY, _CAPTION = "photo", "caption"  # columns of an entry of `_captions_by_photo`
Reader = Callable[[Path, Any, Listing, Columns], Iterator[CaptionLine]]


class Form(NamedTuple):
    """A form of JSON files with captions."""

    name: str  # for people
    read: Reader


class JsonFiles(Source):
    """JSON files that are recognised by what they hold."""

    name = "json"
    layout = "a .json file like those of VizWiz or TextCaps, a list of objects, or an object of photo -> captions"

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return caption_files(captions, lambda path: path.suffix.lower() == ".json" and form_of(path) is not None)

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            form = form_of(path)
            if form is None:
                raise SourceError(
                    f"{path}: JSON of no known form; write a list of objects with image and caption, or an object of "
                    "photo -> captions"
                )
            listing.notes.append(f"form: {form.name}")
            yield from form.read(path, read_json(path), listing, columns)


def form_of(path: Path) -> Form | None:
    """The form of a JSON file, by its beginning and its end; None if it is of no form that has captions."""
    with path.open("rb") as stream:
        text = utf8(stream)
        head = text.read(_READ_TO_RECOGNISE).decode(errors="replace").lstrip()
        text.seek(max(0, text.seek(0, 2) - _READ_TO_RECOGNISE))
        ends_with_captions = b'"caption"' in text.read()
    begun = _begun(head)
    if isinstance(begun, list):
        return ROWS if begun and isinstance(begun[0], dict) else None
    if not isinstance(begun, dict):
        return None
    first = {key: value[0] for key, value in begun.items() if isinstance(value, list) and value}
    first = {key: value for key, value in first.items() if isinstance(value, dict)}
    if "sentences" in first.get("images", ()):
        return KARPATHY
    if "caption" in first.get("annotations", ()) or ("images" in first and ends_with_captions):
        return COCO
    if {"caption_str", "reference_strs"} & first.get("data", {}).keys():
        return TEXTCAPS
    if first and all(map(named_split, begun)):
        return ROWS_BY_SPLIT
    return CAPTIONS_BY_PHOTO if begun and all(_is_captioned(*entry) for entry in begun.items()) else None


def _begun(text: str, at: int = 0, depth: int = 0) -> Any:
    """The value at a position of a text that may end in the middle of it; of a list then only the first element.

    None where lists and objects lie too deep in one another.
    """
    if depth > _MOST_DEPTH:
        return None
    at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    try:
        return _DECODER.raw_decode(text, at)[0]
    except (ValueError, RecursionError):
        opening = text[at : at + 1]
    if opening == "[":
        first = _begun(text, at + 1, depth + 1)
        return [] if first is None else [first]
    return dict(_begun_pairs(text, at + 1, depth + 1)) if opening == "{" else None


def _begun_pairs(text: str, at: int, depth: int) -> Iterator[tuple[str, Any]]:
    """The first keys and values of an object, whose text may end in the middle of it."""
    while pair := _NAME.match(text, at):
        try:
            key = json.loads(pair[1], strict=False)
        except ValueError:  # an escape that JSON does not know
            return
        try:
            value, at = _DECODER.raw_decode(text, pair.end())
        except (ValueError, RecursionError):
            if (value := _begun(text, pair.end(), depth)) not in (None, [], {}):
                yield key, value
            return
        yield key, value
        if not (comma := _COMMA.match(text, at)):
            return
        at = comma.end()


def _is_captioned(key: str, value: Any) -> bool:
    """Whether a key is a photo or an id, and its value captions: one of both must look like it."""
    if usual_column([key], (*PHOTO_COLUMNS, *CAPTION_COLUMNS)):
        return False
    if isinstance(value, dict) and usual_column(value, PHOTO_COLUMNS) and caption_columns(value):
        return True
    captions = captions_in(value)
    texts = [caption for caption in captions if isinstance(caption, str)]
    listed = isinstance(value, list | dict)
    return texts == captions and (is_photo_name(key) or (listed and any(len(text.split()) > 2 for text in texts)))


def list_rows(path: Path, listing: Listing) -> Iterator[tuple[int, Row]]:
    """The objects of a list in JSON with their numbers.

    Raises:
        SourceError: the file is not JSON.
    """
    for where, row in _objects(f"{path.name}:{{}}", read_json(path), listing):
        yield int(where.rpartition(":")[2]), row


def _objects(where: str, rows: list[Any], listing: Listing) -> Iterator[tuple[str, Row]]:
    """The objects of a list, each with its place: `where` with its number, from 1."""
    for number, row in enumerate(rows, start=1):
        listing.captions_in += 1
        if isinstance(row, dict):
            yield where.format(number), row
        else:
            listing.reject("caption", where.format(number), "malformed line", f"not a JSON object: {row!s:.80}")


def _rows(path: Path, content: Any, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
    return row_captions(path, _objects(f"{path.name}:{{}}", content, listing), listing, columns)


def _rows_by_split(path: Path, content: Any, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
    for split, rows in content.items():
        if not isinstance(rows, list):
            raise SourceError(f"{path}: `{split}` is not a list, as the others are; make it one, or remove it")
        for line in row_captions(path, _objects(f"{path.name}, {split}[{{}}]", rows, listing), listing, columns):
            yield line if line.split else line._replace(split=split)


def _captions_by_photo(path: Path, content: Any, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
    def entries() -> Iterator[tuple[str, Row]]:
        for key, value in content.items():
            listing.captions_in += 1
            row = value if isinstance(value, dict) else {_CAPTION: value}
            named = not is_photo_name(key) and isinstance(value, dict) and usual_column(value, PHOTO_COLUMNS)
            yield f"{path.name}, {key}", {**row, _KEY: row[named] if named else key}

    return row_captions(path, entries(), listing, columns._replace(photo=columns.photo or _KEY))


def _textcaps(path: Path, content: Any, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
    """An entry for each caption, which has all captions of its photo as `reference_strs`, too."""
    whole = set[str]()  # photos whose captions all came with one entry
    for number, entry in enumerate(list_under(path, content, "data")):
        where = f"{path.name}, data[{number}]"
        try:
            photo, image_id = entry.get("image_path") or entry["image_id"], entry.get("image_id")
        except (AttributeError, KeyError, TypeError) as error:
            raise SourceError(f"{where}: not an entry of TextCaps ({error!r})") from error
        photo, caption = str(photo), entry.get("caption_str")
        if caption is None and photo in whole:
            continue
        listing.captions_in += 1
        if caption is None:
            caption = entry.get("reference_strs")
            whole.add(photo)
        if caption is None:
            listing.reject("caption", where, "malformed line", "lacks caption_str and reference_strs")
        else:
            source_id = None if image_id is None else str(image_id)
            yield CaptionLine(where, photo, caption, entry.get("set_name"), source_id, path, "set_name")


ROWS = Form("a list of objects", _rows)
ROWS_BY_SPLIT = Form("lists of objects by split", _rows_by_split)
CAPTIONS_BY_PHOTO = Form("captions by photo", _captions_by_photo)
COCO = Form("annotations like COCO's", lambda path, content, listing, _: coco_captions(path, content, listing))
KARPATHY = Form("images like Karpathy's", lambda path, content, listing, _: karpathy_captions(path, content, listing))
TEXTCAPS = Form("entries of TextCaps", _textcaps)
