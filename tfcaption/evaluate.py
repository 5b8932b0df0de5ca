"""Scores trained captioners on a split: captions, BLEU, perplexity, accuracy, cosine similarity.

Prints a table with a column per run and one for the constant caption, and the files it wrote:
RUN/eval-SPLIT/captions.jsonl and metrics.json.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption import metrics, records, runs, terminal
from tfcaption.progress import Progress

EXAMPLES = """examples:
  python -m tfcaption.evaluate --run runs/flickr8k_frozen --split dev
  # two runs side by side, the last checkpoint instead of the best
  python -m tfcaption.evaluate --run runs/a runs/b --split test --checkpoint last"""

ROWS = {  # metric -> label and format
    "bleu_1": ("BLEU-1", ".4f"),
    "bleu_2": ("BLEU-2", ".4f"),
    "bleu_3": ("BLEU-3", ".4f"),
    "bleu_4": ("BLEU-4", ".4f"),
    "cosine": ("GloVe cosine", ".4f"),
    "cosine_shuffled": ("  the same, shuffled pairs", ".4f"),
    "perplexity": ("perplexity", ".2f"),
    "token_accuracy": ("token accuracy", ".4f"),
    "distinct_captions": ("distinct captions", ",d"),
    "photos": ("photos", ",d"),
}


def evaluate(
    run_path: str | Path, *, split: str = "dev", checkpoint: str = "best", records_path: str | None = None
) -> dict[str, Any]:
    """Caption and score every photo of a split once, greedily; no weight changes.

    Args:
        run_path: the run directory.
        split: train, dev or test.
        checkpoint: `best` (by dev loss) or `last`.
        records_path: the records, if the data moved since the training; photos then go through ResNet50 again.

    Returns:
        What `metrics.json` holds: scores of the run, and under `constant` those of the constant caption.

    Raises:
        RunError: no run, no checkpoint, or records other than it was trained on.
        RecordError: there is no such split, or the records are damaged.
    """
    run = runs.load_run(run_path)
    if records_path:
        run.config.data.records, run.config.data.features = records_path, None
    data = run.config.data
    if records.load_dataset_info(data.records) != run.info:
        raise runs.RunError(f"{data.records}: other records than {run.path} was trained on")
    run.info.split(split)
    start = time.monotonic()
    terminal.start_tensorflow()
    from tfcaption import input_pipeline, scoring

    features = runs.load_features(run.config, run.info)
    # By photo, and read once.
    opened = input_pipeline.open_split(
        split, run.info, data.features or data.records, features, buckets=data.length_buckets, cache=False
    )
    captioner, used = runs.load_captioner(run, checkpoint)
    references = scoring.read_references(opened)
    with Progress(len(references), unit="photos", label=f"captioning {split}") as progress:
        spoken, perplexity, accuracy = scoring.caption_split(
            captioner, opened, run.words, batch_size_photos=data.batch_size_photos, progress=progress.update
        )
    metrics.check_captions(spoken, references)  # every photo once
    train_split = input_pipeline.open_split("train", run.info, data.records, buckets=1)
    train_references = list(scoring.read_references(train_split).values())
    constant = dict.fromkeys(references, metrics.constant_caption(train_references))
    vectors = _vectors(run, [*spoken.values(), *constant.values(), *(c for r in references.values() for c in r)])
    scores, cosines = _scores(spoken, references, vectors)
    constant_scores, _ = _scores(constant, references, vectors)
    result = {
        "split": split,
        "photos": len(spoken),
        "protocol": "corpus scores, all raw references, Penn Treebank tokens without punctuation, greedy search",
        "checkpoint": used,
        **scores,
        "perplexity": perplexity,
        "token_accuracy": accuracy,
        "distinct_captions": len(set(spoken.values())),
        "constant": {
            "caption": next(iter(constant.values())),
            **constant_scores,
            "distinct_captions": 1,
            "photos": len(constant),
        },
        "seconds": round(time.monotonic() - start, 1),
    }
    output = run.path / f"eval-{split}"
    output.mkdir(exist_ok=True)
    with (output / "captions.jsonl").open("w", encoding="utf-8") as stream:
        for photo in sorted(spoken):
            line: dict[str, Any] = {"id": photo, "caption": spoken[photo], "references": references[photo]}
            if photo in cosines:
                line["cosine"] = round(cosines[photo], 4)
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    (output / "metrics.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _vectors(run: runs.Run, captions: Sequence[str]) -> metrics.Vectors:
    """Word vectors of all words in the captions, where the run has a file of them and it is still there."""
    path = run.config.model.glove
    if not path or not Path(path).is_file():
        return {}
    from tfcaption import text

    return text.read_glove(path, sorted({token for caption in captions for token in metrics.score_tokens(caption)}))


def _scores(
    spoken: dict[str, str], references: dict[str, list[str]], vectors: metrics.Vectors
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of the whole split, and the cosine of each photo."""
    scores = metrics.corpus_scores(spoken, references)
    cosines = metrics.embedding_cosine(spoken, references, vectors) if vectors else {}
    if cosines:
        unrelated = metrics.embedding_cosine(spoken, metrics.shuffled(references), vectors)
        scores["cosine"] = float(np.mean(list(cosines.values())))
        scores["cosine_shuffled"] = float(np.mean(list(unrelated.values())))
    return scores, cosines


def table(columns: dict[str, dict[str, Any]]) -> str:
    """Metrics as rows, runs as columns; a dash where a run has none."""
    names = list(columns)
    widths = [max(len(name), 10) for name in names]
    lines = [" " * 26 + "".join(f"  {name:>{width}}" for name, width in zip(names, widths, strict=True))]
    for key, (label, style) in ROWS.items():
        cells = [format(columns[name][key], style) if key in columns[name] else "-" for name in names]
        if set(cells) != {"-"}:
            lines.append(f"{label:26}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = terminal.command_parser("tfcaption.evaluate", EXAMPLES)
    parser.add_argument("--run", nargs="+", required=True, help="one or more run directories")
    parser.add_argument("--split", default="dev", choices=records.SPLITS, help="default: %(default)s")
    parser.add_argument("--checkpoint", default="best", choices=["best", "last"], help="default: %(default)s")
    parser.add_argument("--records", help="the records, if the data moved since the training")
    arguments = parser.parse_args(argv)
    columns: dict[str, dict[str, Any]] = {}
    try:
        for path in arguments.run:
            result = evaluate(
                path, split=arguments.split, checkpoint=arguments.checkpoint, records_path=arguments.records
            )
            columns["constant"] = result["constant"]
            columns[path if len(Path(path).name) > 24 or Path(path).name in columns else Path(path).name] = result
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{arguments.split} split\n{table(columns)}")
    print(f'constant caption: "{columns["constant"]["caption"]}"')
    for path in arguments.run:
        print(f"captions and scores: {Path(path) / f'eval-{arguments.split}'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
