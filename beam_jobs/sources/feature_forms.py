"""The one form that the features of all photos must have: a vector, a grid, or regions of so many channels."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tfcaption.records.dataset_info import Rejection
from tfcaption.records.examples import Stage


class PhotoShape(NamedTuple):
    """What one photo's features look like."""

    photo: str  # id
    shape: tuple[int, ...]
    empty_regions: bool  # of a grid: whether one is all zeros


class FeatureForm(NamedTuple):
    """The form of the features of all photos, see `FeatureSettings`."""

    stage: Stage
    shape: list[int]
    varying: bool = False


UNKNOWN_FORM = FeatureForm("map", [])


def common_form(photos: Sequence[PhotoShape]) -> tuple[FeatureForm, list[Rejection]]:
    """The form that fits the features of most photos, and a rejection of each photo with another form.

    Grids of one size stay a grid; of several sizes they are regions.
    """
    if not photos:
        return UNKNOWN_FORM, []
    pooled = _most_common(len(each.shape) == 1 for each in photos)
    channels = _most_common(each.shape[-1] for each in photos if (len(each.shape) == 1) == pooled)
    rejections, fitting = [], []
    for each in photos:
        shape = "x".join(map(str, each.shape))
        reason, usual = "", ""
        if (len(each.shape) == 1) != pooled:
            reason, usual = "wrong rank", "one vector" if pooled else "regions"
        elif each.shape[-1] != channels:
            reason, usual = "other number of channels", f"{channels:,} channels"
        if reason:
            detail = f"{shape}, most photos have {usual}"
            rejections.append(Rejection(kind="photo", id=each.photo, reason=reason, detail=detail))
        else:
            fitting.append(each)
    if pooled:
        return FeatureForm("pooled", [channels]), rejections
    grids = {each.shape for each in fitting}
    if len(grids) == 1 and len(fitting[0].shape) == 3:
        return FeatureForm("map", [*fitting[0].shape]), rejections
    rejections += [
        Rejection(kind="photo", id=each.photo, reason="all-zero region", detail="of a grid, beside other shapes")
        for each in fitting
        if each.empty_regions
    ]
    counts = {math.prod(each.shape[:-1]) for each in fitting}
    return FeatureForm("map", [max(counts), channels], varying=len(counts) > 1), rejections


def _most_common(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]
