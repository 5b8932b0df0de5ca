"""Captions made elsewhere: JSONL or COCO results files, and which photo each of their captions belongs to."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tfcaption.metrics.corpus import ScoreError
from tfcaption.runtime.paths import as_path


def read_captions(path: str | Path, photos: Iterable[str]) -> dict[str, str]:
    """Read one caption per photo from a file.

    Args:
        path: JSONL with `{"id" or "image_id": ..., "caption": ...}` a line, such as our own `captions.jsonl`, or one
            JSON list of such objects, the COCO results format; further keys are ignored.
        photos: ids of the photos that may have one. An id in the file may lack the extension that the photo's id has,
            or have one that it lacks; a number may be that at the end of a COCO file name.

    Returns:
        photo id -> raw caption.

    Raises:
        ScoreError: the file is missing, empty or no such JSON, an id names no photo or several, a photo comes twice,
            or a caption is no string; the message names the file and the line (of a list, the entry).
    """
    names = _PhotoNames(photos)
    captions: dict[str, str] = {}
    places: dict[str, str] = {}
    for place, entry in _entries(as_path(path)):
        where = f"{path}, {place}"
        if not isinstance(entry, dict):
            raise ScoreError(f'{where}: must be {{"image_id": ..., "caption": ...}}, not {json.dumps(entry)[:60]}')
        given, caption = entry.get("image_id", entry.get("id")), entry.get("caption")
        if not isinstance(given, str | int) or isinstance(given, bool):
            raise ScoreError(f"{where}: needs an image_id or id, a string or a whole number")
        if not isinstance(caption, str):
            raise ScoreError(f"{where}: the caption must be a string, not {type(caption).__name__}: {caption!r}")
        photo = names.find(given, where)
        if photo in captions:
            raise ScoreError(f"{where}: {photo} has a caption already, in {places[photo]}")
        captions[photo], places[photo] = caption, place
    if not captions:
        raise ScoreError(f"{path}: no captions in it")
    return captions


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Each entry, and where in the file it stands."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScoreError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        raise ScoreError(f"{path}, line {before + 1}: is not UTF-8") from error
    if content.lstrip().startswith("["):
        for index, entry in enumerate(_parse(content, path, 1), start=1):
            yield f"entry {index}", entry
        return
    for number, line in enumerate(content.split("\n"), start=1):  # not splitlines: a caption may hold U+2028
        if line.strip():
            yield f"line {number}", _parse(line, path, number)


def _parse(content: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise ScoreError(
            f"{path}, line {first_line + error.lineno - 1}: is no JSON ({error.msg}); expected an object a line, "
            "or one list of objects"
        ) from error


def _stem(name: str) -> str:
    return name.removesuffix(Path(name).suffix)


class _PhotoNames:
    """Finds the photo that an id means."""

    def __init__(self, photos: Iterable[str]) -> None:
        self._photos = set(photos)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_number: dict[int, list[str]] = defaultdict(list)
        for photo in sorted(self._photos):
            stem = _stem(photo)
            if stem != photo:
                self._by_stem[stem].append(photo)
            number = stem.rpartition("_")[2]  # COCO_val2014_000000391895.jpg, 000000391895.jpg
            if len(number) == 12 and number.isdecimal():
                self._by_number[int(number)].append(photo)

    def find(self, given: str | int, where: str) -> str:
        """The photo's id, or a ScoreError that names the place."""
        name = str(given)
        if name in self._photos:
            return name
        stem = _stem(name)
        found = self._by_stem.get(name) or ([stem] if stem in self._photos else [])
        if not found and isinstance(given, int):
            found = self._by_number.get(given, [])
        if not found:
            raise ScoreError(f"{where}: {name} is no photo of this split")
        if len(found) > 1:
            raise ScoreError(f"{where}: {name} could be {' or '.join(found)}; write the whole id")
        return found[0]
