"""Evaluates runs and ensembles of runs: captions and scores every photo of a split once."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfcaption.evaluation.opening import first_photos, open_runs
from tfcaption.evaluation.predictions import caption_split
from tfcaption.evaluation.references import References, load_references
from tfcaption.evaluation.rerank_weights import RerankWeights
from tfcaption.evaluation.reranker import evaluate_reranked
from tfcaption.evaluation.results import ATTENTION_GRID, EvaluationOptions, write_results
from tfcaption.evaluation.scores import score_captions
from tfcaption.input_pipeline.options import NO_CACHE
from tfcaption.input_pipeline.split import open_split
from tfcaption.models.encoder import STAGES
from tfcaption.models.ensemble import CaptionModel, Ensemble
from tfcaption.records.dataset import Dataset
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run
from tfcaption.runtime.progress import Progress


def evaluate_runs(
    runs: Sequence[Run],
    datasets: Sequence[Dataset],
    options: EvaluationOptions,
    ensemble: Path | None = None,
    *,
    reranked: bool = False,
    weights: RerankWeights | None = None,
) -> dict[Path, dict[str, Any]]:
    """Evaluate several runs; those on the same records share one reading of the references.

    Args:
        runs: as `load_run` returns them.
        datasets: of each run, as `load_run_dataset` returns it.
        options: split, search, checkpoint.
        ensemble: folder for the scores of all runs together; None: they are not evaluated together.
        reranked: also choose among the hypotheses of all runs by a reranking, see `evaluate_reranked`; of several runs
            only with `ensemble`.
        weights: of the reranking; None: they are fitted.

    Returns:
        Run directory (and `ensemble`, and the folder of the reranking) -> content of `metrics.json`, see
        `evaluate_run`.
    """
    known: dict[str, References] = {}
    results = {}
    for run, dataset in zip(runs, datasets, strict=True):
        records = dataset.info.fingerprint()
        if records not in known:
            known[records] = load_references(dataset.records, options.split, options.score_tokenizer)
        results[run.path] = evaluate_run(run, dataset, options, known[records])
    earliest = min(datasets, key=lambda dataset: STAGES.index(dataset.stage))  # all runs can start from it
    references = known[earliest.info.fingerprint()]
    if ensemble is not None:
        results[ensemble] = evaluate_ensemble(runs, earliest, options, ensemble, references)
    if reranked:
        folder = options.reranked_folder([run.path for run in runs], ensemble)
        results[folder] = evaluate_reranked(runs, earliest, options, folder, references, weights)
    return results


def evaluate_run(
    run: Run,
    dataset: Dataset,
    options: EvaluationOptions,
    references: References | None = None,
    *,
    writes: bool = True,
) -> dict[str, Any]:
    """Caption and score every photo of a split once; no weight changes.

    Writes `captions.jsonl` and `metrics.json` into `eval-SPLIT` of the run directory (`eval-SPLIT-first-LIMIT`).

    Args:
        run: as `load_run` returns it.
        dataset: as `load_run_dataset` returns it for this run.
        options: split, search, checkpoint.
        references: as `load_references` returns them for this split; None: they are read here.
        writes: write these files; False: where another process does the same.

    Returns:
        The content of `metrics.json`: scores of the run, under `constant` those of the constant caption, and under
        `human` those of each photo's first reference against its others, where every photo has several.

    Raises:
        RunError: the run has no such checkpoint.
        RecordError: there is no such split, or the records are damaged.
    """
    captioner, checkpoint = load_captioner(run, options.checkpoint)
    output = options.folder(run.path) if writes else None
    return _evaluate(captioner, checkpoint, run, dataset, options, references, output)


def evaluate_ensemble(
    runs: Sequence[Run],
    dataset: Dataset,
    options: EvaluationOptions,
    output: Path,
    references: References | None = None,
) -> dict[str, Any]:
    """Evaluate several runs as one captioner: the mean of their probabilities.

    Args:
        runs: trained on the same records, with any decoders.
        dataset: of the earliest stage that any of them trains from; if their encoders differ, the photos of its records
            are read instead.
        options: split, search, checkpoint.
        output: folder for `captions.jsonl` and `metrics.json`.
        references: as for `evaluate_run`.

    Returns:
        As `evaluate_run`.

    Raises:
        RunError: the runs were trained on different records, or have no such checkpoint.
    """
    captioners, checkpoint, dataset = open_runs(runs, dataset, options.checkpoint)
    return _evaluate(Ensemble(captioners), checkpoint, runs[0], dataset, options, references, output)


def _evaluate(
    captioner: CaptionModel,
    checkpoint: str,
    run: Run,
    dataset: Dataset,
    options: EvaluationOptions,
    references: References | None,
    output: Path | None,
) -> dict[str, Any]:
    start = time.monotonic()
    data, split = run.config.data, options.split
    opened = open_split(split, dataset, buckets=data.length_buckets, cache=NO_CACHE)  # a row a photo, read once
    references = references or load_references(dataset.records, split, options.score_tokenizer)
    references = references.first(options.limit)
    with (
        first_photos(opened, options.limit) as chosen,
        Progress(chosen.photos, unit="photos", label=f"captioning {split}") as progress,
    ):
        predictions = caption_split(
            captioner,
            chosen,
            run.vocabulary,
            batch_size_photos=data.batch_size_photos,
            options=options.search,
            attention=True,
            progress=progress.update,
        )
    scores, cosines = score_captions(predictions.captions, references, run.config.model.glove)
    described = run.info.splits[split]
    metrics = {
        "split": split,
        "protocol": options.protocol(references.tokenizer, described.photos, searched=True),
        "checkpoint": checkpoint,
        "search": options.search.as_json(),
        **scores,
        "perplexity": predictions.perplexity,
        "token_accuracy": predictions.token_accuracy,
        "reference_oov_rate": described.oov_rate,  # of the whole split
        **({} if dataset.has_grid or not predictions.attention else {ATTENTION_GRID: False}),
        "seconds": round(time.monotonic() - start, 1),
    }
    if output is None:
        return metrics
    lines = [
        {
            "id": photo,
            "caption": caption,
            "score": predictions.nbest[photo][0].score,
            "nbest": [hypothesis._asdict() for hypothesis in predictions.nbest[photo][: options.search.nbest]],
            "references": references.by_photo[photo],
            **({"cosine": round(cosines[photo], 4)} if photo in cosines else {}),
            **(
                {"attention": [word._asdict() for word in predictions.attention[photo]]}
                if predictions.attention
                else {}
            ),
        }
        for photo, caption in sorted(predictions.captions.items())
    ]
    write_results(output, metrics, lines)
    return metrics
