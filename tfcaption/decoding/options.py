"""What a user asks of the search for captions; the same fields in every command, in exports and in Python."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tfcaption.runtime.errors import UsageError

BEAM = 3
NO_REPEAT_NGRAM = 3
LENGTH_ALPHA = 0.7
_MOST = 2**31 - 1  # of int32, which TensorFlow counts with


@dataclass(frozen=True)
class CaptionOptions:
    """Options of the captions of a photo: by beam search or, with `temperature` or `top_p`, by sampling.

    Attributes:
        beam: hypotheses that beam search keeps for each photo; 1 is greedy search. Sampling ignores it.
        nbest: captions of each photo that are shown, best first; at most `beam`, or any number of samples.
        no_repeat_ngram: no n-gram of this length occurs twice in a caption; 0 allows repeats.
        min_words: the least number of words in a caption, or of pieces of words, unless every other one is ruled out.
        length_alpha: the score is the summed log-probability / tokens ** length_alpha; 0 prefers short captions, 1
            ranks by the mean.
        temperature: samples, with logits divided by it; towards 0 only the most probable token is sampled.
        top_p: samples from the smallest set of tokens whose probabilities reach this sum.
        seed: of sampling; equal seeds give equal captions.

    Raises:
        UsageError: a value is out of its range; the message names its option.
    """

    beam: int = BEAM
    nbest: int = 1
    no_repeat_ngram: int = NO_REPEAT_NGRAM
    min_words: int = 0
    length_alpha: float = LENGTH_ALPHA
    temperature: float | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("length_alpha", "temperature", "top_p"):
            if (given := getattr(self, name)) is not None and not isinstance(given, int | float):
                raise UsageError(f"--{name} {given!r}: must be a number")
        for name, least in (("beam", 1), ("nbest", 1), ("no_repeat_ngram", 0), ("min_words", 0), ("seed", 0)):
            if not isinstance(number := getattr(self, name), int):
                raise UsageError(f"--{name} {number!r}: must be a whole number")
            if number < least:
                raise UsageError(f"--{name} {number}: must be at least {least}")
            if number > _MOST:
                raise UsageError(f"--{name} {number}: must be at most {_MOST}")
        if not math.isfinite(self.length_alpha):
            raise UsageError(f"--length_alpha {self.length_alpha}: must be a finite number")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise UsageError(f"--temperature {self.temperature}: must be greater than 0, and finite")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"--top_p {self.top_p}: must be greater than 0 and at most 1")
        if not self.samples and self.nbest > self.beam:
            raise UsageError(f"--nbest {self.nbest}: must be at most --beam {self.beam}, or sample with --temperature")

    @property
    def samples(self) -> bool:
        """Whether captions are sampled."""
        return self.temperature is not None or self.top_p is not None

    @property
    def available(self) -> int:
        """Captions that a photo gets: all that the search finds, of which `nbest` are shown."""
        return self.nbest if self.samples else self.beam

    def updated(self, given: Mapping[str, Any], *, all_shown: bool = False) -> "CaptionOptions":
        """These options with the given fields; the beam grows to `nbest`, unless it is given too.

        Args:
            given: fields of `CaptionOptions`.
            all_shown: unless `nbest` is given, show all captions that the search finds; for files of captions.
        """
        if "beam" not in given and given.get("nbest", 0) > self.beam:
            given = {**given, "beam": given["nbest"]}
        options = replace(self, **given)
        return replace(options, nbest=options.available) if all_shown and "nbest" not in given else options

    def as_json(self) -> dict[str, Any]:
        """All fields, as in `export.json` and `metrics.json`."""
        return asdict(self)

    def __str__(self) -> str:
        if self.samples:
            parts = [f"sampled, temperature {self.temperature or 1.0:g}, top_p {self.top_p or 1.0:g}"]
            parts.append(f"seed {self.seed}, best of {self.nbest}")
        else:
            parts = [f"beam search, beam {self.beam}" if self.beam > 1 else "greedy search (beam 1)"]
        if self.no_repeat_ngram:
            parts.append(f"no repeated {self.no_repeat_ngram}-gram")
        if self.min_words:
            parts.append(f"at least {self.min_words} words")
        if self.length_alpha != LENGTH_ALPHA:
            parts.append(f"length_alpha {self.length_alpha:g}")
        return ", ".join(parts)


def add_caption_options(parser: argparse.ArgumentParser, *, takes_exports: bool, nbest: str = "1") -> None:
    """Add an option for each field of `CaptionOptions` to a command line.

    Args:
        parser: of the command.
        takes_exports: whether the command takes exports, which have defaults of their own.
        nbest: what its help says of the default of `--nbest`.
    """
    about = "defaults are those of a run; an export has those that it was exported with" if takes_exports else None
    group = parser.add_argument_group("search", about)
    group.add_argument("--beam", type=int, metavar="N", help=f"width of the beam search; 1: greedy (default: {BEAM})")
    group.add_argument("--nbest", type=int, metavar="N", help=f"captions of each photo (default: {nbest})")
    group.add_argument(
        "--no_repeat_ngram",
        type=int,
        metavar="N",
        help=f"no N words in the same order twice in a caption; 0: allow it (default: {NO_REPEAT_NGRAM})",
    )
    group.add_argument("--min_words", type=int, metavar="N", help="least number of words, or of pieces (default: 0)")
    group.add_argument(
        "--length_alpha",
        type=float,
        metavar="A",
        help=f"0: prefer short captions, 1: rank by the mean log-probability (default: {LENGTH_ALPHA})",
    )
    group.add_argument("--temperature", type=float, metavar="T", help="sample, with logits divided by T")
    group.add_argument("--top_p", type=float, metavar="P", help="sample among the words of this probability together")
    group.add_argument("--seed", type=int, metavar="N", help="of samples (default: 0)")


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `CaptionOptions` that a command line names.

    Raises:
        UsageError: `--beam` beside options of sampling.
    """
    named = {field.name: getattr(arguments, field.name) for field in fields(CaptionOptions)}
    given = {name: value for name, value in named.items() if value is not None}
    for name in ("temperature", "top_p"):
        if name in given and "beam" in given:
            raise UsageError(f"--beam {given['beam']}: there is no beam where --{name} samples; leave one of them out")
    return given
