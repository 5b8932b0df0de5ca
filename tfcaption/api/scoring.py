"""`score`: BLEU, ROUGE-L and CIDEr-D of captions, from dictionaries or from COCO's files."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfcaption.evaluation.caption_files import read_captions
from tfcaption.metrics.corpus import ScoreError, corpus_scores
from tfcaption.runtime.paths import as_path


def score(
    hypotheses: Mapping[str, str] | Mapping[int, str] | str | os.PathLike[str],
    references: Mapping[str, Sequence[str]] | Mapping[int, Sequence[str]] | str | os.PathLike[str],
) -> dict[str, float]:
    """Corpus BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D, as coco-caption computes them, without Java.

    Captions are raw text; the tokenizer is the Penn Treebank's, as in coco-caption, written in Python. Most captioning
    repositories carry a copy of coco-caption for these numbers.

        tfcaption.score({"a.jpg": "a dog runs"}, {"a.jpg": ["A dog runs in the grass .", "The dog is running ."]})
        tfcaption.score("results.json", "captions_val2014.json")

    Args:
        hypotheses: photo id, a string or COCO's number -> caption; or a file: the COCO results format, or a line of
            JSON for each photo.
        references: photo id -> captions, of the same photos; or a file of COCO annotations, of which those photos count
            that have a hypothesis.

    Returns:
        `bleu_1` .. `bleu_4` and `rouge_l`, from 0 to 1; `cider`, from 0 to 10.

    Raises:
        ScoreError: a file is not of its format, a caption is not a string, or the photos differ.
    """
    if isinstance(references, Mapping):
        by_photo: dict[str, Sequence[str]] = {str(photo): captions for photo, captions in references.items()}
    else:
        by_photo = dict(_read_annotations(references))
    if isinstance(hypotheses, Mapping):
        captions = {str(photo): caption for photo, caption in hypotheses.items()}
    else:
        captions = read_captions(as_path(hypotheses), by_photo)
    if not isinstance(references, Mapping):
        by_photo = {photo: found for photo, found in by_photo.items() if photo in captions}
    return corpus_scores(captions, by_photo)


def _read_annotations(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The captions of COCO annotations: image id, as text -> captions in the order of the file."""
    file = as_path(path)
    if not file.is_file():
        raise ScoreError(f"{file}: no such file")
    try:
        content: Any = json.loads(file.read_bytes())
        annotations = [(str(each["image_id"]), each["caption"]) for each in content["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        wanted = '{"annotations": [{"image_id": ..., "caption": ...}, ...]}'
        raise ScoreError(f"{file}: not COCO annotations of captions, {wanted}: {error!r}") from error
    by_photo: dict[str, list[str]] = {}
    for photo, caption in annotations:
        by_photo.setdefault(photo, []).append(caption)
    return by_photo
