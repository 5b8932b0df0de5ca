"""External captions: read from files and folders, assigned to their photos, scored."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcaption.evaluation.caption_formats import Entry, caption_files, mapped_entries, read_entries
from tfcaption.evaluation.photo_ids import PhotoIds
from tfcaption.evaluation.references import load_references, load_source_ids
from tfcaption.evaluation.results import LINES_FILE, EvaluationOptions, write_results
from tfcaption.evaluation.scores import score_captions
from tfcaption.metrics.corpus import ScoreError
from tfcaption.runtime.errors import UsageError


@dataclass
class AssignedCaptions:
    """Captions of the photos of one split, and those that are of other photos."""

    by_photo: dict[str, str] = field(default_factory=dict)  # photo id -> raw caption
    extra: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))  # by split, "" for no photo
    alternatives: int = 0  # captions after the best one of a photo

    def count_extra(self, records: object) -> dict[str, int]:
        """What the captions of other photos are of, in words, and their number; `records` names all photos."""
        return {
            f"of photos of {split}" if split else f"of no photo of {records}": len(found)
            for split, found in sorted(self.extra.items(), reverse=True)
        }

    def describe_extra(self, path: str, records: object) -> str:
        """The captions of other photos for a message, with examples; `path` holds the captions."""
        counts = self.count_extra(records).items()
        first = [found[0] for _, found in sorted(self.extra.items(), reverse=True)]
        parts = [
            f"{count:,} {'caption is' if count == 1 else 'captions are'} {of}, such as {entry.photo} "
            f"({entry.where(path)})"
            for (of, count), entry in zip(counts, first, strict=True)
        ]
        return f"{path}: {' and '.join(parts)}"


def assign_captions(entries: Iterable[Entry], ids: PhotoIds, split: str) -> AssignedCaptions:
    """Find the photo of each caption.

    Raises:
        ScoreError: an id could be several photos, or a photo has two captions.
    """
    assigned, first = AssignedCaptions(), dict[str, Entry]()
    for entry in entries:
        try:
            photo = ids.find(entry.photo)
        except ScoreError as error:
            raise ScoreError(f"{entry.where()}: {error}") from error
        if photo is None or ids.split_of(photo) != split:
            assigned.extra[ids.split_of(photo) if photo else ""].append(entry)
        elif entry.alternative:
            assigned.alternatives += 1
        elif photo in assigned.by_photo:
            before = first[photo].where(entry.file)
            raise ScoreError(f"{entry.where()}: {photo} already has a caption, in {before}; remove one of them")
        else:
            assigned.by_photo[photo], first[photo] = entry.caption, entry
    return assigned


def read_captions(
    captions: Path | Mapping[str, str] | Mapping[int, str],
    photos: Iterable[str],
    source_ids: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """One caption per photo of a file or folder, or of a dictionary.

    Args:
        captions: path as `read_entries` takes it, or photo -> caption.
        photos: ids of the photos that may have a caption; `captions` may have other ids for them, see `PhotoIds`.
        source_ids: numbers of some of the photos in COCO's files.

    Returns:
        photo id -> raw caption.

    Raises:
        ScoreError: the file is not such a file, an id matches no photo or several, or a photo has two captions. The
            message names the file and the line or entry.
        RecordError: a shard of the folder is missing or incomplete.
    """
    entries = mapped_entries(captions) if isinstance(captions, Mapping) else read_entries(captions)
    ids = PhotoIds({"": {photo: (source_ids or {}).get(photo, ()) for photo in photos}}, "")
    assigned = assign_captions(entries, ids, "")
    name = "captions" if isinstance(captions, Mapping) else str(captions)
    if assigned.extra:
        raise ScoreError(f"{assigned.describe_extra(name, 'the references')}; remove captions of other photos")
    if not assigned.by_photo:
        raise ScoreError(f"{name}: contains no captions")
    return assigned.by_photo


def evaluate_captions(
    path: Path,
    records: Path,
    options: EvaluationOptions,
    output: Path | None = None,
    *,
    ignore_extra: bool = False,
) -> dict[str, Any]:
    """Score external captions against the references of some records. Needs no TensorFlow.

    Args:
        path: as `read_entries` takes it; must hold a caption of every photo of the split, which may be empty.
        records: the records folder.
        options: `split` and `limit`; the others are for runs.
        output: folder for `captions.jsonl` and `metrics.json`; None writes nothing.
        ignore_extra: captions of photos that are not in the split are counted under `not_scored`, and are no error.

    Returns:
        The content of `metrics.json`: as `evaluate_run` returns it, without perplexity and token accuracy.

    Raises:
        ScoreError: the file is not such a file, holds captions of other photos, or lacks photos.
        UsageError: `output` is the folder of the captions.
        RecordError: the records or the split do not exist, or are damaged.
    """
    start = time.monotonic()
    files = caption_files(path)  # an error before the records are read
    if output is not None and output / LINES_FILE in files:
        raise UsageError(f"--output {output}: holds the captions; name another folder")
    all_references = load_references(records, options.split, options.score_tokenizer)
    ids = PhotoIds(load_source_ids(records), options.split)
    assigned = assign_captions(read_entries(path), ids, options.split)
    if assigned.extra and not ignore_extra:
        other = "name another --split, or " if any(assigned.extra) else ""
        raise ScoreError(
            f"{assigned.describe_extra(str(path), records)}; {other}add --ignore_extra to score only those of "
            f"{options.split}{_cure_of_numbers(assigned, ids)}"
        )
    references = all_references.first(options.limit)
    missing = [photo for photo in references.by_photo if photo not in assigned.by_photo]
    if missing:
        raise ScoreError(
            f"{path}: has no caption for {len(missing):,} of {len(references.by_photo):,} photos of split "
            f"{options.split}, such as {missing[0]}; every photo must have one, which may be empty"
        )
    captions = {photo: assigned.by_photo[photo] for photo in references.by_photo}
    scores, _ = score_captions(captions, references, None)
    not_scored = assigned.count_extra(records)
    if assigned.alternatives:
        not_scored["after the best one of a photo"] = assigned.alternatives
    metrics = {
        "split": options.split,
        "protocol": options.protocol(references.tokenizer, len(all_references.by_photo), searched=False),
        "captions": str(path),
        "not_scored": not_scored,
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


def _cure_of_numbers(assigned: AssignedCaptions, ids: PhotoIds) -> str:
    """What else may help where numbers are no photos."""
    if ids.has_numbers or not any(str(entry.photo).isdigit() for entry in assigned.extra.get("", [])):
        return ""
    return "; the numbers of COCO's files are known to records that build_records wrote from them in this version"
