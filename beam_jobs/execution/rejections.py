"""Rejected photos and captions: counted and named for people, and how many of them fail a job."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from beam_jobs.errors import JobFailed
from beam_jobs.execution.counting import Some
from tfcaption.records.dataset_info import Rejection

USUAL_SHARE = 0.01
# Of a small data set a hundredth is no photo at all: a few rejections are allowed, but not a tenth of it.
FEW, FEW_SHARE = 5, 0.1
# Reason for a caption that the authors of the data set marked as unusable; such captions fail no job.
MARKED = "marked by the data set"
# Reason for a photo of which the data set has the address, or for its captions; it fails no job either.
NOT_DOWNLOADED = "not downloaded"


@dataclass
class RejectionCounts:
    """How many rejections there are of each kind and reason, of how many captions, and their first names."""

    found: dict[tuple[str, str], Some] = field(default_factory=dict)  # kind and reason -> ids
    captions: int = 0  # that were rejected with their photos

    @classmethod
    def of(cls, rejections: Iterable[Rejection]) -> Self:
        """The counts of some rejections."""
        counts = cls()
        for rejection in rejections:
            counts.add(rejection)
        return counts

    def add(self, rejection: Rejection) -> None:
        """Count one more."""
        self.found.setdefault((rejection.kind, rejection.reason), Some()).add(rejection.id)
        self.captions += rejection.captions

    def merge(self, other: "RejectionCounts") -> None:
        """Add those of other rejections."""
        for key, found in other.found.items():
            self.found.setdefault(key, Some()).merge(found)
        self.captions += other.captions

    def named(self, name_of: Callable[[str], str]) -> "RejectionCounts":
        """The same with other names."""
        renamed = {key: Some(found.count, [*map(name_of, found.first)]) for key, found in self.found.items()}
        return RejectionCounts(renamed, self.captions)

    def select(self, kind: str, *, without: Collection[str] = ()) -> "RejectionCounts":
        """Those of one kind, without some reasons; their captions are not known."""
        chosen = {key: found for key, found in self.found.items() if key[0] == kind and key[1] not in without}
        return RejectionCounts(chosen)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(found.count for found in self.found.values())

    @property
    def reasons(self) -> dict[str, dict[str, int]]:
        """Kind -> reason -> how many."""
        by_kind: dict[str, dict[str, int]] = {}
        for (kind, reason), found in sorted(self.found.items()):
            by_kind.setdefault(kind, {})[reason] = found.count
        return by_kind


def rejections_allowed(total: int, share: float | None) -> int:
    """How many of `total` photos or captions may be rejected.

    Args:
        total: written and rejected ones.
        share: largest share, exactly; None: 1%, or 5 if that is more and at most a tenth.
    """
    if share is not None:
        return int(share * total)
    return int(max(USUAL_SHARE * total, min(FEW, FEW_SHARE * total)))


def named_reasons(rejections: RejectionCounts) -> str:
    """`2 missing photo (a.jpg, b.jpg), 1 truncated (c.jpg)`; empty without rejections."""
    by_reason: dict[str, Some] = {}
    for (_, reason), found in rejections.found.items():
        by_reason.setdefault(reason, Some()).merge(found)
    return ", ".join(f"{found.count:,} {reason} ({found.names()})" for reason, found in sorted(by_reason.items()))


def check_rejected(rejections: RejectionCounts, kind: str, total: int, share: float | None, file: str) -> None:
    """Check that not too many photos or captions were rejected.

    Args:
        rejections: of any kind; those that the data set itself marks, and photos not downloaded, do not count.
        kind: "photo" or "caption".
        total: photos or captions, written and rejected ones.
        share: see `rejections_allowed`.
        file: path of the file that names each; empty: there is none.

    Raises:
        JobFailed: there are more; the message has the reasons and the first names.
    """
    found = rejections.select(kind, without=[MARKED, NOT_DOWNLOADED])
    allowed = rejections_allowed(total, share)
    if found.total > allowed:
        raise JobFailed(
            f"{found.total:,} of {total:,} {kind}s were rejected ({named_reasons(found)}), and --max_rejected allows "
            f"{allowed:,}{f'; {file} names each' if file else ''}. Fix them, or raise --max_rejected."
        )
