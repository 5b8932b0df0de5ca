"""Reranks: chooses among the hypotheses that an ensemble and its runs find for each photo, and scores the choice."""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption.evaluation.candidates import Candidates, collect_candidates, hypothesis_features
from tfcaption.evaluation.opening import first_photos, open_runs
from tfcaption.evaluation.photo_features import pooled_features
from tfcaption.evaluation.reference_regression import MOST_PHOTOS, ReferenceRegression
from tfcaption.evaluation.references import References, load_training_references
from tfcaption.evaluation.rerank_weights import (
    FOLDS,
    WEIGHTS_FILE,
    RerankWeights,
    check_photos,
    check_split,
    feature_names,
    model_names,
    write_weights,
)
from tfcaption.evaluation.reranking import CrossFit, Fit, cross_fit, fit, fold_numbers
from tfcaption.evaluation.results import RERANKED, EvaluationOptions, candidate_search, write_results
from tfcaption.evaluation.scores import score_captions
from tfcaption.input_pipeline.options import NO_CACHE
from tfcaption.input_pipeline.split import open_split
from tfcaption.metrics.cider import Cider
from tfcaption.metrics.score_tokenizers import Tokenize
from tfcaption.records.captions import Hypothesis
from tfcaption.records.dataset import Dataset
from tfcaption.runs.directory import Run
from tfcaption.runs.fingerprint import run_fingerprint
from tfcaption.runtime.progress import Progress


def evaluate_reranked(
    runs: Sequence[Run],
    dataset: Dataset,
    options: EvaluationOptions,
    output: Path,
    references: References,
    weights: RerankWeights | None = None,
) -> dict[str, Any]:
    """Score the captions that a reranking chooses among the hypotheses of the runs and of their ensemble.

    Without weights they are cross-fitted: the photos are divided into folds by a hash of their ids, and the caption of
    each photo is chosen by weights from the other folds, so that no photo's references choose its caption. Weights from
    all photos are then written to `rerank.json`, for other splits. Document frequencies of CIDEr-D, in the features and
    in the scores that the weights are fitted to, are those of the training captions. The features of the training
    photos are read, too, or computed where the dataset holds photos.

    Args:
        runs: as for `evaluate_ensemble`, or one run.
        dataset: as for `evaluate_ensemble`.
        options: split, search, checkpoint; each search keeps `candidate_search` hypotheses.
        output: folder for `captions.jsonl`, `metrics.json` and `rerank.json`.
        references: as `load_references` returns them for this split.
        weights: of a reranking of these runs; None: they are fitted.

    Returns:
        The content of `metrics.json`: as `evaluate_run`, without perplexity and token accuracy.

    Raises:
        UsageError: the split is train, or has fewer photos than there are folds.
        RunError: see `evaluate_ensemble`.
    """
    start = time.monotonic()
    check_split(options.split)
    references = references.first(options.limit)
    if weights is None:
        check_photos(len(references.by_photo))
    options = dataclasses.replace(options, search=candidate_search(options.search))
    captioners, checkpoint, dataset = open_runs(runs, dataset, options.checkpoint)
    config, split = runs[0].config, options.split
    size = config.data.batch_size_photos
    training, opened = (
        open_split(name, dataset, buckets=config.data.length_buckets, cache=NO_CACHE) for name in ("train", split)
    )
    with first_photos(opened, options.limit) as chosen:
        with Progress(chosen.photos, unit="photos", label=f"hypotheses of {split}") as progress:
            candidates = collect_candidates(
                captioners,
                chosen,
                runs[0].vocabulary,
                batch_size_photos=size,
                options=options.search,
                progress=progress.update,
            )
        with Progress(chosen.photos, unit="photos", label=f"features of {split}") as progress:
            pooled = pooled_features(captioners, chosen, batch_size_photos=size, progress=progress.update)
    with Progress(min(training.photos, MOST_PHOTOS), unit="photos", label="features of train") as progress:
        pooled_training = pooled_features(
            captioners, training, batch_size_photos=size, most_photos=MOST_PHOTOS, progress=progress.update
        )
    tokenize = references.tokenizer.tokenize
    training_references = load_training_references(dataset.records, tokenize)
    cider = Cider(training_references.values())
    similarities = _similarities(candidates, pooled, pooled_training, training_references, cider, tokenize)
    features = {}
    with Progress(len(candidates), unit="photos", label="features of hypotheses") as progress:
        for done, photo in enumerate(sorted(candidates), 1):
            features[photo] = hypothesis_features(candidates[photo], cider, tokenize, similarities[photo])
            progress.update(done)
    if weights is None:
        scores = {photo: _scores(candidates[photo], references.by_photo[photo], cider, tokenize) for photo in features}
        fitted, found = _fit(features, scores)
        weights = RerankWeights(
            features=feature_names(len(runs)),
            weights=fitted.weights.tolist(),
            ridge=fitted.ridge,
            split=split,
            photos=len(features),
            search=options.search.as_json(),
            runs=[str(run.path) for run in runs],
            fingerprints=[run_fingerprint(run, options.checkpoint) for run in runs],
            score_tokenizer=references.tokenizer.name,
        )
        described, details = f"{FOLDS} folds", {"ridges": found.ridges}
        predictions = dict(zip(features, found.predictions, strict=True))
        output.mkdir(parents=True, exist_ok=True)
        write_weights(output / WEIGHTS_FILE, weights)
    else:
        described, details = f"weights of {weights.split}", {}
        predictions = {photo: own @ np.array(weights.weights) for photo, own in features.items()}
    ranked = {photo: _ranked(candidates[photo].captions, predictions[photo]) for photo in features}
    scored, cosines = score_captions(
        {photo: hypotheses[0].caption for photo, hypotheses in ranked.items()}, references, config.model.glove
    )
    searches = " and ".join(name.replace("_", " ") for name in model_names(len(runs)))
    protocol = options.protocol(references.tokenizer, runs[0].info.splits[split].photos, searched=True)
    metrics = {
        "split": split,
        "protocol": f"{protocol}, all hypotheses of {searches}, reranked ({described})",
        RERANKED: described,
        "checkpoint": checkpoint,
        "search": options.search.as_json(),
        "hypotheses": sum(map(len, predictions.values())),
        **details,
        **scored,
        "seconds": round(time.monotonic() - start, 1),
    }
    lines = [
        {
            "id": photo,
            "caption": hypotheses[0].caption,
            "score": hypotheses[0].score,
            "nbest": [hypothesis._asdict() for hypothesis in hypotheses],
            "references": references.by_photo[photo],
            **({"cosine": round(cosines[photo], 4)} if photo in cosines else {}),
        }
        for photo, hypotheses in ranked.items()
    ]
    write_results(output, metrics, lines)
    return metrics


def _similarities(
    candidates: dict[str, Candidates],
    photos: dict[str, np.ndarray],
    training: dict[str, np.ndarray],
    training_references: dict[str, list[tuple[str, ...]]],
    cider: Cider,
    tokenize: Tokenize,
) -> dict[str, np.ndarray]:
    """Similarities of each photo's hypotheses, (hypotheses, 2), to the references that its features let expect."""
    captions = {
        photo: [cider.tf_idf(tokenize(caption)) for caption in of_photo.captions]
        for photo, of_photo in candidates.items()
    }
    regression = ReferenceRegression(
        np.stack(list(training.values())),
        (list(map(cider.tf_idf, training_references[photo])) for photo in training),
        itertools.chain.from_iterable(captions.values()),
    )
    found = regression.similarities(np.stack([photos[photo] for photo in captions]), list(captions.values()))
    return dict(zip(captions, found, strict=True))


def _fit(features: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> tuple[Fit, CrossFit]:
    """The weights from all photos, and the predictions for each photo by weights from the other folds."""
    folds = fold_numbers(list(features), FOLDS)
    values = list(features.values()), [scores[photo] for photo in features]
    return fit(*values, folds), cross_fit(*values, folds)


def _ranked(captions: Sequence[str], predictions: np.ndarray) -> list[Hypothesis]:
    """The hypotheses of a photo by their predicted score, best first; equal ones stay in their order."""
    return [Hypothesis(captions[index], float(predictions[index])) for index in np.argsort(-predictions, kind="stable")]


def _scores(candidates: Candidates, references: Sequence[str], cider: Cider, tokenize: Tokenize) -> np.ndarray:
    """CIDEr-D of each hypothesis of a photo, (hypotheses,) float64."""
    vectors = [cider.tf_idf(tokenize(reference)) for reference in references]
    return np.array([cider.score(cider.tf_idf(tokenize(caption)), vectors) for caption in candidates.captions])
