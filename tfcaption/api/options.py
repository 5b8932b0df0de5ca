"""Options of the search as keyword arguments."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypedDict

from tfcaption.decoding.options import CaptionOptions
from tfcaption.runtime.errors import UsageError

_NAMES = [field.name for field in fields(CaptionOptions)]


class SearchArguments(TypedDict, total=False):
    """The keyword arguments of `Captioner.caption` that are options of the search, for type checkers."""

    beam: int | None
    nbest: int | None
    no_repeat_ngram: int | None
    min_words: int | None
    length_alpha: float | None
    temperature: float | None
    top_p: float | None
    seed: int | None


def search_options(base: CaptionOptions, given: Mapping[str, Any], *, all_shown: bool = False) -> CaptionOptions:
    """Options with the given ones in their place; see `CaptionOptions.updated`.

    Raises:
        UsageError: an option is unknown, out of its range, or of another type; the message names it as it is written
            in Python.
    """
    for name in given:
        if name not in _NAMES:
            close = difflib.get_close_matches(name, _NAMES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_NAMES)}"
            raise UsageError(f"{name}: no such option; {hint}")
    for name in ("temperature", "top_p"):
        if given.get(name) is not None and "beam" in given:
            raise UsageError(f"beam {given['beam']}: there is no beam where {name} samples; leave one of them out")
    try:
        return base.updated(given, all_shown=all_shown)
    except UsageError as error:
        raise UsageError(str(error).replace("--", "")) from None
