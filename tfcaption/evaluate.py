"""Scores captions of a split: BLEU, ROUGE-L, CIDEr-D, perplexity, accuracy, cosine similarity, diversity.

Prints a table with a column per run, one for the constant caption and one for human captions, the captions of some
photos beside a reference, and where it wrote captions.jsonl and metrics.json: RUN/eval-SPLIT (with --captions:
--output).
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcaption.decoding.options import CaptionOptions, add_caption_options, given_options
from tfcaption.evaluation.rerank_weights import RerankWeights, check_photos, check_split, read_weights
from tfcaption.evaluation.results import LINES_FILE, RERANKED, EvaluationOptions, candidate_search, split_name
from tfcaption.records.dataset_info import SPLITS
from tfcaption.records.display import display_text
from tfcaption.runs.directory import Run, load_run_dataset
from tfcaption.runs.fingerprint import run_fingerprint
from tfcaption.runtime.command import add_subjects, command_parser, reports_errors, subjects
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.model_folder import find_run

EXAMPLES = r"""examples:
  python -m tfcaption.evaluate runs/flickr8k_frozen --split dev
  # two runs side by side, by greedy search, the last checkpoint instead of the best
  python -m tfcaption.evaluate runs/a runs/b --split test --beam 1 --checkpoint last
  # captions that may repeat three words in the same order
  python -m tfcaption.evaluate runs/a --no_repeat_ngram 0
  # an ensemble of several runs: the mean of their probabilities
  python -m tfcaption.evaluate runs/a runs/b --ensemble runs/a_and_b
  # choose among the hypotheses of the ensemble and of each run by weights that are cross-fitted on dev, ...
  python -m tfcaption.evaluate runs/a runs/b --ensemble runs/a_and_b --rerank
  # ... and by these weights on test
  python -m tfcaption.evaluate runs/a runs/b --split test --ensemble runs/a_and_b_test \
      --rerank runs/a_and_b/reranked/rerank.json
  # external captions, in the COCO results format for example, against the references of some records
  python -m tfcaption.evaluate --captions results.json --records records/ --split test
  # Chinese captions by characters
  python -m tfcaption.evaluate runs/chinese --score_tokenizer characters
  # what tfcaption.caption --json printed or beam_jobs.caption_images wrote, of which only the photos of dev count
  python -m tfcaption.evaluate --captions captions/ --records records/ --ignore_extra"""
PHOTOS_SHOWN = 5


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked against each other."""
    parser = command_parser("tfcaption.evaluate", EXAMPLES)
    add_subjects(parser, "--run", metavar="RUN", several=True, help="run directories")
    parser.add_argument(
        "--captions", type=as_path, metavar="PATH", help="external captions: a file or folder; needs --records"
    )
    parser.add_argument(
        "--ignore_extra", action="store_true", help="of --captions, leave out those of photos that are not in the split"
    )
    parser.add_argument("--split", type=split_name, default="dev", choices=SPLITS, help="default: %(default)s")
    parser.add_argument(
        "--ensemble", type=as_path, metavar="DIR", help="also score all runs together, into this folder"
    )
    parser.add_argument(
        "--rerank",
        nargs="?",
        const=True,
        metavar="WEIGHTS",
        help="also choose among the hypotheses of all searches, into the subfolder reranked; by weights that are "
        "cross-fitted on the split, or by those of a rerank.json",
    )
    parser.add_argument(
        "--score_tokenizer",
        choices=["treebank", "characters", "unicode"],
        help="what counts as one token in the scores: words as in coco-caption, characters as for Chinese, or both "
        "by script; default: by the tokenizer of the records",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="score the first N photos only")
    parser.add_argument("--checkpoint", default="best", choices=["best", "last"], help="default: %(default)s")
    parser.add_argument("--records", type=as_path, metavar="DIR", help="the records, if they moved since training")
    parser.add_argument("--output", type=as_path, metavar="DIR", help="folder for the scores of --captions")
    add_caption_options(parser, takes_exports=False, nbest="all of the beam")
    arguments = parser.parse_args(argv)
    arguments.runs = subjects(parser, arguments, required=not arguments.captions)
    if arguments.captions and arguments.runs:
        parser.error("name runs or --captions, not both")
    if arguments.captions and not arguments.records:
        parser.error("--captions needs --records DIR, whose references they are scored against")
    if arguments.ensemble and len(arguments.runs) < 2:
        parser.error("--ensemble needs two or more runs")
    if arguments.rerank and arguments.captions:
        parser.error("--rerank is for runs")
    if arguments.rerank and len(arguments.runs) > 1 and not arguments.ensemble:
        parser.error("--rerank of several runs needs --ensemble DIR")
    if arguments.ignore_extra and not arguments.captions:
        parser.error("--ignore_extra is for --captions")
    if arguments.output and not arguments.captions:
        parser.error("--output is for --captions; a run's scores go into its own directory")
    return arguments


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = parse_arguments(argv)
    search = CaptionOptions().updated(given_options(arguments), all_shown=True)
    options = EvaluationOptions(
        arguments.split, search, arguments.limit, arguments.checkpoint, arguments.score_tokenizer
    )
    if arguments.captions:
        from tfcaption.evaluation.caption_files import evaluate_captions

        metrics = evaluate_captions(
            arguments.captions, arguments.records, options, arguments.output, ignore_extra=arguments.ignore_extra
        )
        for reason, count in metrics["not_scored"].items():
            print(f"captions not scored: {count:,} {reason}")
        results = {arguments.captions: metrics}
        folders = [arguments.output] if arguments.output else []
    else:
        runs = [find_run(as_path(path)) for path in arguments.runs]
        datasets = [load_run_dataset(run, arguments.records) for run in runs]
        weights = load_weights(arguments.rerank, runs, options)
        start_tensorflow()
        from tfcaption.evaluation.evaluator import evaluate_runs

        reranked = bool(arguments.rerank)
        results = evaluate_runs(runs, datasets, options, arguments.ensemble, reranked=reranked, weights=weights)
        folders = [options.folder(run.path) for run in runs] + ([arguments.ensemble] if arguments.ensemble else [])
        folders += [options.reranked_folder([run.path for run in runs], arguments.ensemble)] if reranked else []
    print_scores(arguments.split, results)
    print_captions([(path.name, folder) for path, folder in zip(results, folders, strict=False)])
    for folder in folders:
        print(f"captions and scores: {folder}")
    return 0


def load_weights(rerank: str | bool | None, runs: Sequence[Run], options: EvaluationOptions) -> RerankWeights | None:
    """The weights that `--rerank` names, checked to be for these runs, search and tokens; None where it names none.

    Raises:
        UsageError: they cannot be read, or are for others, or must be fitted on too few photos, or the split is train.
    """
    if rerank:
        check_split(options.split)
    if rerank is True:
        photos = min(run.info.split(options.split).photos for run in runs)
        check_photos(photos if options.limit is None else min(options.limit, photos))
    if not isinstance(rerank, str):
        return None
    from tfcaption.metrics.score_tokenizers import tokenizer_for  # as in `print_scores`

    path = as_path(rerank)
    weights = read_weights(path)
    fingerprints = [run_fingerprint(run, options.checkpoint) for run in runs]
    tokenizer = tokenizer_for(runs[0].info.settings.tokenizer, options.score_tokenizer)
    weights.check(path, fingerprints, candidate_search(options.search), tokenizer.name)
    return weights


def print_scores(split: str, results: Mapping[Path, dict[str, Any]]) -> None:
    """Print the results side by side, with the constant caption and human captions."""
    from tfcaption.evaluation.scores import score_table  # NumPy and the metrics take 0.2 s, which --help need not
    from tfcaption.metrics.score_tokenizers import score_tokenizer

    columns: dict[str, dict[str, Any]] = {}
    for path, metrics in results.items():
        columns["constant"] = metrics["constant"]
        if RERANKED in metrics:
            columns[f"reranked ({metrics[RERANKED]})"] = metrics
            continue
        columns[str(path) if len(path.name) > 24 or path.name in columns else path.name] = metrics
    if "human" in metrics:
        columns["human"] = metrics["human"]
    used = dict.fromkeys(score_tokenizer(metrics["score_tokenizer"]).description for metrics in results.values())
    print(f"\n{split} split, scored by {' and '.join(used)}\n{score_table(columns)}")
    print(f'constant: "{columns["constant"]["caption"]}" for every photo')
    if "human" in columns:
        print("human: each photo's first reference against its others")


def print_captions(folders: Sequence[tuple[str, Path]]) -> None:
    """Print the first photos' captions, each run's below one of the photo's references.

    Args:
        folders: (name, folder with captions.jsonl) of each run.
    """
    photos: dict[str, list[tuple[str, str]]] = {}
    for name, folder in folders:
        with (folder / LINES_FILE).open(encoding="utf-8") as stream:
            for line in map(json.loads, itertools.islice(stream, PHOTOS_SHOWN)):
                rows = photos.setdefault(line["id"], [("reference", line["references"][0])])
                rows.append((name, line["caption"]))
    width = max((len(name) for rows in photos.values() for name, _ in rows), default=0)
    for photo, rows in photos.items():
        print(f"\n{photo}")
        for name, caption in rows:
            print(f"  {name:{width}}  {display_text(caption)}")


if __name__ == "__main__":
    sys.exit(main())
