"""The model card of an export: what the Hugging Face Hub and people read of it, as one Markdown file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tfcaption.evaluation.scores import METRICS
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.display import display_text
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import UNICODE, WORDS, kind_of
from tfcaption.runs.directory import RunError
from tfcaption.runtime.paths import as_path

UNKNOWN_LICENSE = "unknown"  # as the hub calls it
_SHOWN = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
_COLUMNS = {"": "this model", "constant": "one caption for every photo", "human": "people"}  # key in metrics.json


def find_evaluations(exported: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is known of the scores of an export: the evaluations of its checkpoint in its run, test before dev.

    Args:
        exported: the content of `export.json`.

    Returns:
        The content of each `metrics.json`; where the run is not there, the scores that `export.json` has of dev.

    Raises:
        RunError: a `metrics.json` cannot be read.
    """
    found = []
    run = as_path(exported.get("run") or ".")
    for file in (run / f"eval-{split}" / "metrics.json" for split in ("test", "dev")):
        if _is_its_run(run, exported) and file.is_file():
            try:
                metrics = json.loads(file.read_text(encoding="utf-8"))
                checkpoint = "/".join(as_path(metrics["checkpoint"]).parts[-2:])
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{file}: not the scores of a run ({error}); evaluate it again") from error
            if checkpoint == exported.get("checkpoint"):
                found.append(metrics)
    return found or ([{"split": "dev", **exported["dev"]}] if exported.get("dev") else [])


def _is_its_run(run: Path, exported: Mapping[str, Any]) -> bool:
    """Whether a run was trained on the records of an export: on another machine its path may be that of another run."""
    try:
        return load_dataset_info(run).fingerprint() == exported.get("data", {}).get("records")
    except RecordError:
        return False


def model_card(
    name: str,
    exported: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    *,
    license: str = UNKNOWN_LICENSE,
    address: str,
) -> str:
    """The text of the card, with the front matter that the hub expects.

    Args:
        name: of the model.
        exported: the content of `export.json`.
        evaluations: as `find_evaluations` returns them.
        license: as the hub abbreviates it, such as `cc-by-4.0`.
        address: what `tfcaption.load` finds the model by.
    """
    front = {
        "license": license,
        "library_name": "tfcaption",
        "pipeline_tag": "image-to-text",
        "tags": ["image-captioning", "tensorflow"],
        "model-index": [{"name": name, "results": [_result(each, exported) for each in evaluations]}],
    }
    if not evaluations:
        del front["model-index"]
    sections = (
        f"# {name}\n\n{_what(exported)}",
        f"## Use\n\n{_use(address)}",
        f"## Data\n\n{_data(exported)}",
        f"## Scores\n\n{_scores(evaluations)}",
        f"## Intended use\n\n{_INTENDED}",
        f"## Limits\n\n{_limits(exported)}",
        f"## Licence\n\n{_licence(license)}",
    )
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n" + "\n\n".join(sections) + "\n"


def _result(metrics: Mapping[str, Any], exported: Mapping[str, Any]) -> dict[str, Any]:
    """One evaluation as the hub's `model-index` has it."""
    source = _source(exported)
    return {
        "task": {"type": "image-to-text", "name": "Image captioning"},
        "dataset": {"type": source, "name": source, "split": metrics["split"]},
        "metrics": [
            {"type": key, "name": METRICS[key].label, "value": round(metrics[key], 4)}
            for key in _SHOWN
            if key in metrics
        ],
    }


def _source(exported: Mapping[str, Any]) -> str:
    return str(exported.get("data", {}).get("source", "unknown"))


def _what(exported: Mapping[str, Any]) -> str:
    encoder = " and ".join(exported.get("encoder", ())) or "an image encoder"
    decoder = exported.get("decoder", "")
    tuned = ", whose last layers were trained with it" if exported.get("variant") == "finetuned" else ""
    return (
        f"Writes captions of photos: {f'the decoder `{decoder}`' if decoder else 'a decoder'} over the image encoder "
        f"{encoder}{tuned}. A TensorFlow SavedModel that tfcaption {exported.get('tfcaption', '')} made; it takes the "
        "bytes of photo files, and does decoding, resizing, search and vocabulary itself."
    )


def _use(address: str) -> str:
    return (
        "```python\nimport tfcaption\n\n"
        f'captioner = tfcaption.load("{address}")\n'
        'print(captioner.caption("photo.jpg").text)\n```\n\n'
        "Without tfcaption, `tf.saved_model.load` gives the signature `serving_default`: `images`, (batch,) string, to "
        "`captions` and `scores`."
    )


def _data(exported: Mapping[str, Any]) -> str:
    data = exported.get("data", {})
    rows = [
        f"| {split} | {photos:,} | {data.get('captions', {}).get(split, 0):,} |"
        for split, photos in data.get("photos", {}).items()
    ]
    table = "\n".join(["| split | photos | captions |", "| --- | --- | --- |", *rows])
    size = exported.get("vocabulary_size")
    known = f" The model knows {size:,} {_units(exported)}." if size else ""
    return f"Captions in the layout `{_source(exported)}`.{known}\n\n{table}"


def _units(exported: Mapping[str, Any]) -> str:
    """What its tokens are; exports of earlier versions do not name their tokenizer, they have words."""
    return "words" if kind_of(exported.get("tokenizer", WORDS)) in (WORDS, UNICODE) else "pieces of words"


def _scores(evaluations: Sequence[Mapping[str, Any]]) -> str:
    if not evaluations:
        return "It was not evaluated before it was published."
    return "\n\n".join(map(_score_table, evaluations))


def _score_table(metrics: Mapping[str, Any]) -> str:
    """Scores of one split beside those of the constant caption and of people, as far as they are known."""
    columns = {title: metrics if not key else metrics.get(key) for key, title in _COLUMNS.items()}
    known = {title: scores for title, scores in columns.items() if scores}
    lines = [f"| {metrics['split']} | {' | '.join(known)} |", f"| --- |{' --- |' * len(known)}"]
    for key in _SHOWN:
        if key in metrics:
            cells = (format(scores[key], ".3f") if key in scores else "" for scores in known.values())
            lines.append(f"| {METRICS[key].label} | {' | '.join(cells)} |")
    notes = [f"{metrics['photos']:,} photos"] if "photos" in metrics else []
    notes += [metrics["protocol"]] if "protocol" in metrics else []
    text = f"{'; '.join(notes)}." if notes else ""
    if metrics.get("constant"):
        caption = display_text(str(metrics["constant"]["caption"]))
        text += f" One caption for every photo: “{caption}”."
    if metrics.get("human"):
        text += " People: the first reference of each photo against its others."
    return "\n".join(lines) + f"\n\n{text.strip()}".rstrip()


_INTENDED = (
    "Captions of photos like those that it was trained on: drafts of alternative texts that a person checks, words to "
    "find photos by, research. Not for decisions about people, and not where a wrong caption does harm."
)


def _limits(exported: Mapping[str, Any]) -> str:
    photos = exported.get("data", {}).get("photos", {}).get("train")
    amount = f"{photos:,} photos" if photos else "its training photos"
    return "\n".join(
        (
            f"- It learnt from {amount}. Of other kinds of photos it says what it has learnt to say of these.",
            "- A caption may be wrong and sound sure. Its score says how probable the words are, not whether they are "
            "true.",
            f"- It names frequent things, and only with the {_units(exported)} of its vocabulary, in the language of "
            "its captions.",
            "- What the training captions assume of people, it repeats.",
            "- The scores compare words with references of the same data set; they do not measure truth.",
        )
    )


def _licence(license: str) -> str:
    stated = "Not stated." if license == UNKNOWN_LICENSE else f"`{license}`, for the model."
    return f"{stated} Photos and captions that it was trained on have terms of their own."
