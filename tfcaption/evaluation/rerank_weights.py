"""`rerank.json`: weights of a reranking, and for which runs and which search they were fitted.

Imports no TensorFlow.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from tfcaption.decoding.options import CaptionOptions
from tfcaption.runtime.errors import UsageError

WEIGHTS_FILE = "rerank.json"
FOLDS = 5  # of photos, to fit weights and choose captions by turns


def model_names(runs: int) -> list[str]:
    """The models that search for hypotheses and score them: the ensemble of several runs first, then each run."""
    return [*(["ensemble"] if runs > 1 else []), *(f"run_{number + 1}" for number in range(runs))]


def feature_names(runs: int) -> list[str]:
    """Names of the features of a hypothesis, in the order of `candidates.hypothesis_features`."""
    of_models = [f"{model}_{kind}" for model in model_names(runs) for kind in ("log_prob", "mean_log_prob")]
    return [*of_models, "consensus", "words", "mean_similarity", "predicted_similarity"]


class RerankWeights(BaseModel):
    """Weights of the features of hypotheses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: list[str]  # their names
    weights: list[FiniteFloat]
    ridge: FiniteFloat
    split: str  # on which they were fitted
    photos: int
    search: dict[str, Any]  # of the hypotheses, see `CaptionOptions.as_json`
    runs: list[str]  # their paths at that time
    fingerprints: list[str]  # of the runs, see `runs.fingerprint`
    score_tokenizer: str = "treebank"  # of the consensus, and of the scores; files of earlier versions do not name it

    def check(self, path: Path, fingerprints: Sequence[str], search: CaptionOptions, score_tokenizer: str) -> None:
        """Check that they are for these runs, in this order, for this search and these tokens.

        Args:
            path: of the file, for the message.
            fingerprints: of the runs.
            search: of the hypotheses.
            score_tokenizer: its name.

        Raises:
            UsageError: they are for others.
        """
        if list(fingerprints) != self.fingerprints:
            raise UsageError(
                f"--rerank {path}: its weights are for other runs, other checkpoints or another order: name "
                f"{' '.join(self.runs)} as they were, or fit new weights with --rerank alone"
            )
        if self.features != feature_names(len(fingerprints)) or len(self.weights) != len(self.features):
            raise UsageError(f"--rerank {path}: its weights are for other features; fit new ones with --rerank alone")
        if search.as_json() != self.search:
            raise UsageError(
                f"--rerank {path}: its weights are for another search: {self.search}; give the options that were given "
                "then, or fit new weights with --rerank alone"
            )
        if score_tokenizer != self.score_tokenizer:
            raise UsageError(
                f"--rerank {path}: its weights are for --score_tokenizer {self.score_tokenizer}, not "
                f"{score_tokenizer}; name that one, or fit new weights with --rerank alone"
            )


def check_split(split: str) -> None:
    """Check that a split can be reranked.

    Raises:
        UsageError: it is train, whose references the features are made of.
    """
    if split == "train":
        raise UsageError(
            "--rerank --split train: hypotheses are compared with the training captions; name another split"
        )


def check_photos(photos: int) -> None:
    """Check that there are enough photos to fit weights.

    Raises:
        UsageError: there are fewer photos than folds.
    """
    if photos < FOLDS:
        raise UsageError(
            f"--rerank: {photos} photos cannot be divided into {FOLDS} folds; raise --limit, name a larger --split, or "
            f"give a {WEIGHTS_FILE} from another split"
        )


def write_weights(path: Path, weights: RerankWeights) -> None:
    """Write the file."""
    path.write_text(weights.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_weights(path: Path) -> RerankWeights:
    """Read the file.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    if path.is_dir():
        raise UsageError(f"--rerank {path}: is a folder, not a {WEIGHTS_FILE}; name the runs before --rerank")
    if not path.is_file():
        raise UsageError(f"--rerank {path}: no such file; --rerank alone fits weights and writes {WEIGHTS_FILE}")
    try:
        return RerankWeights.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageError(f"--rerank {path}: not a {WEIGHTS_FILE}; --rerank alone fits weights and writes it") from error
