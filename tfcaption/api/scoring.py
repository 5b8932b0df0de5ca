"""`score`: BLEU, ROUGE-L and CIDEr-D of captions, from dictionaries or from COCO's files."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfcaption.evaluation.caption_files import read_captions
from tfcaption.metrics.corpus import ScoreError, corpus_scores
from tfcaption.metrics.score_tokenizers import TREEBANK, score_tokenizer
from tfcaption.runtime.paths import as_path


def score(
    hypotheses: Mapping[str, str] | Mapping[int, str] | str | os.PathLike[str],
    references: Mapping[str, Sequence[str]] | Mapping[int, Sequence[str]] | str | os.PathLike[str],
    tokenizer: str = TREEBANK.name,
) -> dict[str, float]:
    """Corpus BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D, as coco-caption computes them, without Java.

    Captions are raw text; the default tokenizer is the Penn Treebank's, as in coco-caption, written in Python. Most
    captioning repositories carry a copy of coco-caption for these numbers.

        tfcaption.score({"a.jpg": "a dog runs"}, {"a.jpg": ["A dog runs in the grass .", "The dog is running ."]})
        tfcaption.score("results.json", "captions_val2014.json")

    Args:
        hypotheses: photo -> caption, the photo's name or COCO's number; or a file or folder of captions: all that
            `tfcaption evaluate --captions` takes, such as the COCO results format.
        references: photo -> captions, of the same photos; or a file of COCO annotations, of which those photos count
            that have a hypothesis.
        tokenizer: `treebank`; `characters`, as Chinese is scored; or `unicode`, words, but characters of the scripts
            that put no spaces between words.

    Returns:
        `bleu_1` .. `bleu_4` and `rouge_l`, from 0 to 1; `cider`, from 0 to 10.

    Raises:
        UsageError: there is no such tokenizer.
        ScoreError: a file is not of its format, a caption is not a string, or the photos differ.
        RecordError: a shard of the folder of captions is missing or incomplete.
    """
    tokenize = score_tokenizer(tokenizer).tokenize
    if isinstance(references, Mapping):
        by_photo = {str(photo): captions for photo, captions in references.items()}
        return corpus_scores(read_captions(_as_captions(hypotheses), by_photo), by_photo, tokenize)
    annotated, numbers = _read_annotations(references)
    captions = read_captions(_as_captions(hypotheses), annotated, numbers)
    return corpus_scores(captions, {photo: annotated[photo] for photo in captions}, tokenize)


def _as_captions(hypotheses: Any) -> Any:
    return hypotheses if isinstance(hypotheses, Mapping) else as_path(hypotheses)


def _read_annotations(path: str | os.PathLike[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The captions of COCO annotations in the order of the file, and the photos' numbers.

    Returns:
        Photo -> captions, and photo -> its number as text; the photo is the name in the list `images`, or the number.
    """
    file = as_path(path)
    if not file.is_file():
        raise ScoreError(f"{file}: no such file")
    try:
        content: Any = json.loads(file.read_bytes())
        annotations = [(str(each["image_id"]), each["caption"]) for each in content["annotations"]]
        names = {str(image["id"]): str(image["file_name"]) for image in content.get("images", [])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = '{"annotations": [{"image_id": ..., "caption": ...}, ...]}'
        raise ScoreError(f"{file}: not COCO annotations of captions, {wanted}: {error!r}") from error
    by_photo: dict[str, list[str]] = {}
    numbers: dict[str, list[str]] = {}
    for number, caption in annotations:
        photo = names.get(number, number)
        by_photo.setdefault(photo, []).append(caption)
        numbers[photo] = [number]
    return by_photo, numbers
