"""Rejected photos and captions: counted and named for people, and how many of them fail a job."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from beam_jobs.errors import JobFailed
from tfcaption.records.dataset_info import Rejection

USUAL_SHARE = 0.01
# Of a small data set a hundredth is no photo at all: a few rejections are allowed, but not a tenth of it.
FEW, FEW_SHARE = 5, 0.1
# Reason for a caption that the authors of the data set marked as unusable; such captions fail no job.
MARKED = "marked by the data set"


def rejections_allowed(total: int, share: float | None) -> int:
    """How many of `total` photos or captions may be rejected.

    Args:
        total: written and rejected ones.
        share: largest share, exactly; None: 1%, or 5 if that is more and at most a tenth.
    """
    if share is not None:
        return int(share * total)
    return int(max(USUAL_SHARE * total, min(FEW, FEW_SHARE * total)))


def named_reasons(rejections: Iterable[Rejection]) -> str:
    """`2 missing photo (a.jpg, b.jpg), 1 truncated (c.jpg)`; empty without rejections."""
    names: dict[str, list[str]] = defaultdict(list)
    for rejection in rejections:
        names[rejection.reason].append(rejection.id)
    return ", ".join(f"{len(found):,} {reason} ({some_of(sorted(found))})" for reason, found in sorted(names.items()))


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, as a terminal can print them."""
    text = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return text.encode(errors="backslashreplace").decode()


def check_rejected(rejections: Iterable[Rejection], kind: str, total: int, share: float | None, file: str) -> None:
    """Check that not too many photos or captions were rejected.

    Args:
        rejections: of any kind; those that the data set itself marks do not count.
        kind: "photo" or "caption".
        total: photos or captions, written and rejected ones.
        share: see `rejections_allowed`.
        file: path of the file that names each; empty: there is none.

    Raises:
        JobFailed: there are more; the message has the reasons and the first names.
    """
    found = [each for each in rejections if each.kind == kind and each.reason != MARKED]
    allowed = rejections_allowed(total, share)
    if len(found) > allowed:
        raise JobFailed(
            f"{len(found):,} of {total:,} {kind}s were rejected ({named_reasons(found)}), and --max_rejected allows "
            f"{allowed:,}{f'; {file} names each' if file else ''}. Fix them, or raise --max_rejected."
        )
