"""External captions: files of JSONL or COCO results, read, assigned to their photos, scored."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tfcaption.evaluation.references import load_references
from tfcaption.evaluation.results import EvaluationOptions, write_results
from tfcaption.evaluation.scores import score_captions
from tfcaption.metrics.corpus import ScoreError


def read_captions(path: Path, photos: Iterable[str]) -> dict[str, str]:
    """Read one caption per photo from a file.

    Args:
        path: JSONL with `{"id" or "image_id": ..., "caption": ...}` per line, such as our own `captions.jsonl`, or one
            JSON list of such objects (the COCO results format). Other keys are ignored.
        photos: ids of the photos that may have a caption. An id in the file may lack the extension of the photo's id,
            or have one that the photo's id lacks. A number may be the number at the end of a COCO file name.

    Returns:
        photo id -> raw caption.

    Raises:
        ScoreError: the file is missing, empty or not such JSON, an id matches no photo or several, a photo has two
            captions, or a caption is not a string. The message names the file and the line (in a list, the entry).
    """
    ids = _PhotoIds(photos)
    captions: dict[str, str] = {}
    positions: dict[str, str] = {}
    for position, entry in _entries(path):
        where = f"{path}, {position}"
        if not isinstance(entry, dict):
            raise ScoreError(f'{where}: must be {{"image_id": ..., "caption": ...}}, not {json.dumps(entry)[:60]}')
        given, caption = entry.get("image_id", entry.get("id")), entry.get("caption")
        if not isinstance(given, str | int) or isinstance(given, bool):
            raise ScoreError(f"{where}: needs an image_id or id, a string or a whole number")
        if not isinstance(caption, str):
            raise ScoreError(f"{where}: the caption must be a string, not {type(caption).__name__}: {caption!r}")
        photo = ids.find(given, where)
        if photo in captions:
            raise ScoreError(f"{where}: {photo} already has a caption, in {positions[photo]}; remove one of them")
        captions[photo], positions[photo] = caption, position
    if not captions:
        raise ScoreError(f"{path}: contains no captions")
    return captions


def evaluate_captions(
    path: Path, records: Path, options: EvaluationOptions, output: Path | None = None
) -> dict[str, Any]:
    """Score external captions against the references of some records. Needs no TensorFlow.

    Args:
        path: as `read_captions` takes it; must hold a caption of every photo of the split.
        records: the records folder.
        options: `split` and `limit`; the others are for runs.
        output: folder for `captions.jsonl` and `metrics.json`; None writes nothing.

    Returns:
        The content of `metrics.json`: as `evaluate_run` returns it, without perplexity and token accuracy.

    Raises:
        ScoreError: the file is not such a file, or lacks photos.
        RecordError: the records or the split do not exist, or are damaged.
    """
    start = time.monotonic()
    if not path.is_file():
        raise ScoreError(f"{path}: no such file of captions")
    all_references = load_references(records, options.split)
    captions = read_captions(path, all_references.by_photo)
    references = all_references.first(options.limit)
    missing = [photo for photo in references.by_photo if photo not in captions]
    if missing:
        raise ScoreError(
            f"{path}: has no caption for {len(missing):,} of {len(references.by_photo):,} photos of split "
            f"{options.split}, such as {missing[0]}; every photo must have one"
        )
    captions = {photo: captions[photo] for photo in references.by_photo}
    scores, _ = score_captions(captions, references, None)
    metrics = {
        "split": options.split,
        "protocol": options.protocol(len(all_references.by_photo), searched=False),
        "captions": str(path),
        **scores,
        "seconds": round(time.monotonic() - start, 1),
    }
    if output is not None:
        lines = (
            {"id": photo, "caption": caption, "references": references.by_photo[photo]}
            for photo, caption in sorted(captions.items())
        )
        write_results(output, metrics, lines)
    return metrics


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Each entry, with its position in the file in words."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScoreError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        lines_before = error.object[: error.start].count(b"\n")
        raise ScoreError(f"{path}, line {lines_before + 1}: is not UTF-8") from error
    if content.lstrip().startswith("["):
        for index, entry in enumerate(_parse(content, path, 1), start=1):
            yield f"entry {index}", entry
        return
    for number, line in enumerate(content.split("\n"), start=1):  # not splitlines: a caption may contain U+2028
        if line.strip():
            yield f"line {number}", _parse(line, path, number)


def _parse(content: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise ScoreError(
            f"{path}, line {first_line + error.lineno - 1}: is not JSON ({error.msg}); expected one object per line, "
            "or one list of objects"
        ) from error


def _stem(name: str) -> str:
    return name.removesuffix(Path(name).suffix)


class _PhotoIds:
    """Finds the photo that an id in a file stands for."""

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
        """The photo's id.

        Raises:
            ScoreError: no photo matches, or several do; the message begins with `where`.
        """
        name = str(given)
        if name in self._photos:
            return name
        stem = _stem(name)
        matches = self._by_stem.get(name) or ([stem] if stem in self._photos else [])
        if not matches and isinstance(given, int):
            matches = self._by_number.get(given, [])
        if not matches:
            raise ScoreError(f"{where}: {name} is not a photo of this split")
        if len(matches) > 1:
            raise ScoreError(f"{where}: {name} could be {' or '.join(matches)}; write the whole id")
        return matches[0]
