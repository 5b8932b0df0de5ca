"""The one form that the features of all photos must have: a vector, a grid, or regions of so many channels."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from tfcaption.records.examples import Stage

Looks = tuple[tuple[int, ...], bool]
"""Shape of a photo's features, and whether a region of a grid is all zeros."""


class FeatureForm(NamedTuple):
    """The form of the features of all photos, see `FeatureSettings`."""

    stage: Stage
    shape: list[int]
    varying: bool = False


UNKNOWN_FORM = FeatureForm("map", [])


@dataclass(frozen=True)
class CommonForm:
    """The form that fits the features of most photos. Grids of one size stay a grid; of several sizes they are regions.

    Args:
        counts: looks of photos -> how many look like that.
    """

    counts: Mapping[Looks, int]

    @cached_property
    def _pooled(self) -> bool:
        return _most_common((len(shape) == 1, count) for (shape, _), count in self.counts.items())

    @cached_property
    def _channels(self) -> int:
        same_rank = (each for each in self.counts.items() if (len(each[0][0]) == 1) == self._pooled)
        return _most_common((shape[-1], count) for (shape, _), count in same_rank)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return (len(shape) == 1) == self._pooled and shape[-1] == self._channels

    @cached_property
    def _fitting(self) -> set[tuple[int, ...]]:
        return {shape for shape, _ in self.counts if self._fits(shape)}

    @cached_property
    def _grid(self) -> bool:
        return len(self._fitting) == 1 and all(len(shape) == 3 for shape in self._fitting)

    @cached_property
    def form(self) -> FeatureForm:
        """What the description of the features says."""
        if not self.counts:
            return UNKNOWN_FORM
        if self._pooled:
            return FeatureForm("pooled", [self._channels])
        if self._grid:
            return FeatureForm("map", [*next(iter(self._fitting))])
        regions = {math.prod(shape[:-1]) for shape in self._fitting}
        return FeatureForm("map", [max(regions), self._channels], varying=len(regions) > 1)

    def fault(self, looks: Looks) -> tuple[str, str] | None:
        """Reason and detail of the rejection of a photo that looks otherwise; None for one that fits."""
        shape, empty_regions = looks
        if (len(shape) == 1) != self._pooled:
            reason, usual = "wrong rank", "one vector" if self._pooled else "regions"
        elif shape[-1] != self._channels:
            reason, usual = "other number of channels", f"{self._channels:,} channels"
        elif empty_regions and not self._grid:
            return "all-zero region", "of a grid, beside other shapes"
        else:
            return None
        return reason, f"{'x'.join(map(str, shape))}, most photos have {usual}"

    @property
    def faulty(self) -> int:
        """How many photos look otherwise."""
        return sum(count for looks, count in self.counts.items() if self.fault(looks))


def _most_common(values: Iterable[tuple[Any, int]]) -> Any:
    """The value with the largest sum of counts; the smallest such value."""
    sums: Counter[Any] = Counter()
    for value, count in values:
        sums[value] += count
    return min(sums, key=lambda value: (-sums[value], value))
