"""What an evaluation is asked for, and what it writes: `captions.jsonl` and `metrics.json`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfcaption.decoding.options import CaptionOptions
from tfcaption.runtime.errors import UsageError

if TYPE_CHECKING:  # NumPy and the metrics take 0.2 s, which `evaluate --help` need not
    from tfcaption.metrics.score_tokenizers import ScoreTokenizer

LINES_FILE = "captions.jsonl"
RERANKED_FOLDER = "reranked"
RERANKED = "reranked"  # in metrics.json, by which weights
ATTENTION_GRID = "attention_grid"  # in metrics.json, false where attention is to regions that form no grid
_SPLIT_NAMES = {"val": "dev", "valid": "dev", "validation": "dev"}  # of other data sets and libraries
_CANDIDATES = 5


def candidate_search(search: CaptionOptions) -> CaptionOptions:
    """The search for hypotheses to rerank: all that it finds, and at least five of each photo."""
    return search.updated({"nbest": max(_CANDIDATES, search.available)})


def score_protocol(tokenizer: "ScoreTokenizer") -> str:
    """How scores are computed, for people."""
    return f"corpus scores, all raw references, {tokenizer.description} without punctuation"


def split_name(name: str) -> str:
    """The split of the records that a name means: `val`, `valid` and `validation` are dev."""
    return _SPLIT_NAMES.get(name, name)


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate, and how.

    Raises:
        UsageError: `limit` is below 1.
    """

    split: str = "dev"  # train, dev or test
    search: CaptionOptions = CaptionOptions()  # noqa: RUF009 (frozen)
    limit: int | None = None  # score only the first photos in the shards
    checkpoint: Literal["best", "last"] = "best"  # best by `train.early_stopping_metric`
    score_tokenizer: str | None = None  # None: the one for the language of the records

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: must be at least 1")

    def protocol(self, tokenizer: "ScoreTokenizer", photos: int, *, searched: bool) -> str:
        """How the scores were computed, for people.

        Args:
            tokenizer: of the scores.
            photos: of the whole split.
            searched: whether the captions come from a search, not from a file.
        """
        search = f", {self.search}"
        first = ""
        if self.limit is not None and self.limit < photos:
            first = f", the first {self.limit} of {photos} photos"
        return f"{score_protocol(tokenizer)}{search if searched else ''}{first}"

    def folder(self, run: Path) -> Path:
        """Where the scores of a run go: scores of its first photos never replace those of all photos."""
        return run / (f"eval-{self.split}" if self.limit is None else f"eval-{self.split}-first-{self.limit}")

    def reranked_folder(self, runs: Sequence[Path], ensemble: Path | None) -> Path:
        """Where the scores of a reranking go: beside those of the ensemble, or of the run where there is one only."""
        return (ensemble or self.folder(runs[0])) / RERANKED_FOLDER


def write_results(folder: Path, metrics: dict[str, Any], captions: Iterable[dict[str, Any]]) -> None:
    """Write `captions.jsonl`, a line per photo, and `metrics.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LINES_FILE).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in captions)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
