"""Reads the captions in files of any form: JSON lines, lists and objects, tables, and folders that hold them."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcaption.evaluation.results import LINES_FILE
from tfcaption.metrics.corpus import ScoreError
from tfcaption.records.dataset_info import CAPTIONS_FILE, ShardInfo
from tfcaption.records.folder_kinds import describe_folder
from tfcaption.records.photo_names import CAPTION_COLUMNS, PHOTO_COLUMNS, usual_column
from tfcaption.records.reading import check_shards
from tfcaption.records.tables import table_reader

_LISTS = ("annotations", "predictions", "results", "captions")  # of entries, in an object
_BLANK = re.compile(r"[\s\ufeff]*")  # between JSON values; files that were joined have marks between them
_LONGEST_HEADER = 4096  # characters of a table's first line
_EXPECTED = '{"image_id": ..., "caption": ...}'


@dataclass(frozen=True)
class Entry:
    """One caption of a file."""

    file: str
    position: str  # the line, or the entry of a list
    photo: str | int
    caption: str
    alternative: bool = False  # one of the next best captions of the photo before it

    def where(self, file: str = "") -> str:
        """Where it is, for messages that name `file` already."""
        return self.position if self.file == file else f"{self.file}, {self.position}"


def read_entries(path: Path) -> Iterator[Entry]:
    """The captions of a file or folder.

    - JSON: objects `{"image_id": ..., "caption": ...}`, one after the other (JSON lines) or in a list, which may be
      in an object under `annotations`, `predictions`, `results` or `captions`; or an object PHOTO -> caption. Other
      keys are ignored. The usual names of columns may stand for both keys. Of an object with `images`, as COCO's
      annotations have them, `image_id` is a number of those.
    - A table with a header, such as image,caption; or lines PHOTO<TAB>CAPTION, of which several for one photo are its
      captions, best first.
    - A folder that `caption_images` or an evaluation wrote.

    The text is UTF-8, or UTF-16 or UTF-32 as programs of Windows write it.

    Raises:
        ScoreError: the file is missing or of another form, or an entry lacks its photo or its caption. The message
            names the file and the line or entry.
        RecordError: a shard of the folder is missing or incomplete.
    """
    for file in caption_files(path):
        text = _text(file)
        header = _header(text)
        if header:
            yield from _table_entries(text, str(file), header)
        elif text.lstrip().startswith(tuple('[{"')):
            yield from _json_entries(text, str(file))
        else:
            yield from _tab_entries(text, str(file))


def mapped_entries(captions: Mapping[str, str] | Mapping[int, str]) -> Iterator[Entry]:
    """The entries of a dictionary PHOTO -> caption, whose keys may be numbers of any kind, as NumPy's.

    Raises:
        ScoreError: a caption is not a string.
    """
    for photo, caption in captions.items():
        yield _entry("captions", repr(photo), photo if isinstance(photo, str) else int(photo), caption)


def caption_files(path: Path) -> list[Path]:
    """The files that hold the captions of a file or folder; for the errors, see `read_entries`."""
    if path.name == CAPTIONS_FILE and _shards(path):
        path = path.parent
    if path.is_file():
        return [path]
    if not path.exists():
        raise ScoreError(f"{path}: no such file or folder of captions")
    if (path / CAPTIONS_FILE).is_file() and (shards := _shards(path / CAPTIONS_FILE)):
        check_shards(path, shards, description=CAPTIONS_FILE, job="caption_images")
        return [path / shard.name for shard in shards if shard.records]
    if (path / LINES_FILE).is_file():
        return [path / LINES_FILE]
    if next(path.glob("captions-*.jsonl"), None):
        raise ScoreError(f"{path}: {CAPTIONS_FILE} is missing, so they are incomplete; run caption_images again")
    raise ScoreError(
        f"{path}: is {describe_folder(path)}, not a folder of captions; name a file, or a folder that caption_images "
        "or an evaluation wrote, such as runs/mine/eval-dev"
    )


def _shards(description: Path) -> list[ShardInfo]:
    """The shards that a folder of captions describes; none where the file is no such description."""
    try:
        return [ShardInfo.model_validate(shard) for shard in json.loads(_text(description))["shards"]]
    except (ScoreError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        return content.decode(json.detect_encoding(content)).removeprefix("\ufeff")
    except OSError as error:
        raise ScoreError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ScoreError(f"{file}, line {line}: is not UTF-8; save the file as UTF-8") from error


# --- JSON --------------------------------------------------------------------------------------------------


def _json_entries(text: str, file: str) -> Iterator[Entry]:
    for line, value in _json_values(text, file):
        yield from _entries(value, file, f"line {line}")


def _json_values(text: str, file: str) -> Iterator[tuple[int, Any]]:
    """All values of JSON text, one after the other, with the line where each begins."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_repeats)
    line, counted, position = 1, 0, _end_of_blank(text, 0)
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise ScoreError(
                f"{file}, line {error.lineno}: is not JSON ({error.msg}); expected one object per line, or one list of "
                "objects"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ScoreError(f"{file}, line {line}: is not JSON of captions: {error}") from error
        yield line, value
        position = _end_of_blank(text, end)


def _end_of_blank(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    return found.end() if found else start


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of equal keys Python would keep the last one without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has {json.dumps(repeated, ensure_ascii=False)} twice; remove one of them")
    return found


def _entries(value: Any, file: str, position: str) -> Iterator[Entry]:
    """The entries of one value: of a list, of an object that holds a list, or of an object that is one."""
    if isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from _object_entries(item, file, f"entry {number}")
    elif listed := next((key for key in _LISTS if _holds_entries(value, key)), None):
        names = _names_by_number(value)
        for item in value[listed] if names else ():
            if isinstance(item, dict) and isinstance(item.get("image_id"), str | int):
                item["image_id"] = names.get(item["image_id"], item["image_id"])
        yield from _entries(value[listed], file, position)
    else:
        yield from _object_entries(value, file, position)


def _holds_entries(value: Any, key: str) -> bool:
    """Whether an object has a list of entries, or an object of them, under a key, and is no entry itself."""
    inner = value.get(key) if isinstance(value, dict) else None
    if isinstance(inner, list) and inner and isinstance(inner[0], dict) and usual_column(inner[0], PHOTO_COLUMNS):
        return True
    return isinstance(inner, list | dict) and not usual_column(value, PHOTO_COLUMNS)


def _names_by_number(value: dict[str, Any]) -> dict[str | int, str]:
    """The names of photos by their ids in `images`, as COCO's annotations list them."""
    images = value.get("images")
    return {
        image["id"]: image["file_name"]
        for image in (images if isinstance(images, list) else ())
        if isinstance(image, dict)
        and isinstance(image.get("id"), str | int)
        and isinstance(image.get("file_name"), str)
    }


def _object_entries(value: Any, file: str, position: str) -> Iterator[Entry]:
    """The entry that an object is, or those of an object PHOTO -> caption."""
    if not isinstance(value, dict):
        raise ScoreError(f"{file}, {position}: must be {_EXPECTED}, not {json.dumps(value)[:60]}")
    photo, caption = usual_column(value, PHOTO_COLUMNS), usual_column(value, CAPTION_COLUMNS)
    if photo is None and caption is None:
        for name, each in value.items():
            yield _entry(file, f"{position}, {name}", name, each)
    elif caption is not None:
        yield _entry(file, position, value.get(photo) if photo else None, value[caption])
    elif "error" not in value:  # the server answers with an error for a photo that it could not read
        keys = ", ".join(value)
        raise ScoreError(f"{file}, {position}: the caption must be a string, not NoneType; its keys are {keys:.60}")


def _entry(file: str, position: str, photo: Any, caption: Any, *, alternative: bool = False) -> Entry:
    """A checked entry; a list of one caption is that caption, as in {"7": [{"caption": "a dog"}]}."""
    if isinstance(photo, float) and photo.is_integer():  # as tables of numbers write them
        photo = int(photo)
    if not isinstance(photo, str | int) or isinstance(photo, bool) or photo == "":
        raise ScoreError(f"{file}, {position}: needs an image_id or id, a string or a whole number, not {photo!r}")
    if isinstance(caption, list) and len(caption) == 1:
        caption = caption[0]
    if isinstance(caption, dict):
        caption = caption.get(usual_column(caption, CAPTION_COLUMNS), caption)
    if not isinstance(caption, str):
        kind = type(caption).__name__
        raise ScoreError(f"{file}, {position}: the caption must be a string, not {kind}: {caption!r:.60}")
    return Entry(file, position, photo, caption, alternative)


# --- Tables ------------------------------------------------------------------------------------------------


def _header(text: str) -> list[str]:
    """The names of the columns in the first line; empty if they name no photo and caption."""
    names: list[str] = next(_rows(text[:_LONGEST_HEADER]), [])
    return names if usual_column(names, PHOTO_COLUMNS) and usual_column(names, CAPTION_COLUMNS) else []


def _rows(text: str) -> Any:
    """A csv.reader of a table."""
    text = text.lstrip()
    return table_reader(io.StringIO(text, newline=""), text.partition("\n")[0])


def _table_entries(text: str, file: str, header: list[str]) -> Iterator[Entry]:
    photo, caption = (header.index(usual_column(header, names) or "") for names in (PHOTO_COLUMNS, CAPTION_COLUMNS))
    rows = _rows(text)
    next(rows)
    try:
        for cells in rows:
            position = f"line {rows.line_num}"
            if cells and len(cells) != len(header):
                raise ScoreError(
                    f"{file}, {position}: has {len(cells)} cells, the header {len(header)}; write captions in "
                    "quotation marks"
                )
            if cells:
                yield _entry(file, position, cells[photo].strip(), cells[caption])
    except csv.Error as error:
        raise ScoreError(f"{file}, line {rows.line_num}: {error}") from error


def _tab_entries(text: str, file: str) -> Iterator[Entry]:
    """Lines PHOTO<TAB>CAPTION, as `tfcaption.caption` prints them."""
    before = None
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        photo, tab, caption = line.rstrip("\n").partition("\t")
        if line.strip():
            if not tab:
                raise ScoreError(
                    f"{file}, line {number}: is neither JSON nor PHOTO<TAB>CAPTION, and no line of a table with "
                    f"columns such as image,caption; expected {_EXPECTED} in each line"
                )
            yield _entry(file, f"line {number}", photo, caption, alternative=photo == before)
            before = photo
