"""Scores captions of a split: BLEU, ROUGE-L, CIDEr, perplexity, accuracy, cosine similarity, and how varied they are.

Prints a table with a column per run, one for the constant caption and one for a person, and the files it wrote:
captions.jsonl and metrics.json in RUN/eval-SPLIT (with --captions: in --output).
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfcaption.evaluation.evaluator import check_positive, evaluate, evaluate_captions, evaluation_folder
from tfcaption.evaluation.references import References, load_references
from tfcaption.evaluation.scores import score_table
from tfcaption.records.dataset_info import SPLITS
from tfcaption.runs.directory import load_run
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.paths import as_path

EXAMPLES = """examples:
  python -m tfcaption.evaluate --run runs/flickr8k_frozen --split dev
  # two runs side by side, greedily, the last checkpoint instead of the best
  python -m tfcaption.evaluate --run runs/a runs/b --split test --beam 1 --checkpoint last
  # several runs together: the mean of their probabilities
  python -m tfcaption.evaluate --run runs/a runs/b --ensemble runs/a_and_b
  # captions made elsewhere (JSONL, or the COCO results format), against the references of some records
  python -m tfcaption.evaluate --captions captions.jsonl --records records/ --split test"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.evaluate", EXAMPLES)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", nargs="+", metavar="DIR", help="one or more run directories")
    what.add_argument("--captions", metavar="FILE", help="captions made elsewhere; needs --records")
    parser.add_argument("--split", default="dev", choices=SPLITS, help="default: %(default)s")
    parser.add_argument(
        "--beam", type=int, default=3, metavar="N", help="width of the search; 1: greedy (default: %(default)s)"
    )
    parser.add_argument("--ensemble", metavar="DIR", help="score all runs together, too, and write it there")
    parser.add_argument("--limit", type=int, metavar="N", help="score the first N photos only")
    parser.add_argument("--checkpoint", default="best", choices=["best", "last"], help="default: %(default)s")
    parser.add_argument("--records", metavar="DIR", help="the records, if the data moved since the training")
    parser.add_argument("--output", metavar="DIR", help="where --captions writes captions.jsonl and metrics.json")
    arguments = parser.parse_args(argv)
    if arguments.captions and not arguments.records:
        parser.error("--captions needs --records DIR, whose references they are scored against")
    if arguments.ensemble and len(arguments.run or []) < 2:
        parser.error("--ensemble needs two or more runs")
    if arguments.output and not arguments.captions:
        parser.error("--output is for --captions; a run's scores go into its own directory")
    results = _evaluate_all(arguments)
    columns: dict[str, dict[str, Any]] = {}
    for path, result in results.items():
        columns["constant"] = result["constant"]
        columns[path if len(Path(path).name) > 24 or Path(path).name in columns else Path(path).name] = result
    if "human" in result:
        columns["human"] = result["human"]
    print(f"\n{arguments.split} split\n{score_table(columns)}")
    print(f'constant: "{columns["constant"]["caption"]}" for every photo')
    if "human" in columns:
        print("human: each photo's first reference against its others")
    written = [evaluation_folder(path, arguments.split, arguments.limit) for path in arguments.run or []]
    written += [as_path(arguments.ensemble)] if arguments.ensemble else []
    for folder in [arguments.output] if arguments.output else written:
        print(f"captions and scores: {folder}")
    return 0


def _evaluate_all(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The result of each run, or of the file of captions, by path."""
    check_positive(beam=arguments.beam, limit=arguments.limit)
    if arguments.captions:
        return {
            arguments.captions: evaluate_captions(
                arguments.captions,
                records_path=arguments.records,
                split=arguments.split,
                limit=arguments.limit,
                output=arguments.output,
            )
        }
    folders = {path: arguments.records or load_run(path).config.data.records for path in arguments.run}
    known: dict[str, References] = {}
    results = {}
    score = partial(
        evaluate,
        split=arguments.split,
        beam=arguments.beam,
        limit=arguments.limit,
        checkpoint=arguments.checkpoint,
        records_path=arguments.records,
    )
    for path, folder in folders.items():
        if folder not in known:
            known[folder] = load_references(as_path(folder), arguments.split)
        results[path] = score(path, expected=known[folder])
    if arguments.ensemble:
        first, *others = folders
        results[arguments.ensemble] = score(
            first, expected=known[folders[first]], together_with=others, output=arguments.ensemble
        )
    return results


if __name__ == "__main__":
    sys.exit(main())
