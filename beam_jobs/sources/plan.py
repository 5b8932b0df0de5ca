"""What a job will write, known before any photo is read: sizes, what the user is told, and whether enough is left."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.errors import SourceError
from beam_jobs.execution.counting import Some
from beam_jobs.execution.rejections import RejectionCounts, check_rejected, named_reasons
from beam_jobs.sources.accounting import TOLD
from beam_jobs.sources.assignment import SplitCounts
from beam_jobs.sources.base import path_below
from beam_jobs.sources.decision import Decision
from beam_jobs.sources.joining import JoinFacts
from beam_jobs.sources.parts import ReadFacts
from beam_jobs.sources.reader import DataSet
from tfcaption.records.dataset_info import DEFAULT_SHARES, SPLITS

UNSPACED_SHARE = 0.01  # of the training captions; fewer are left unsaid
FEWEST_DEV_PHOTOS = 50  # with fewer, the scores of two epochs differ by chance more than by what was learned


@dataclass(frozen=True)
class DataSetFacts:
    """A data set, and all that is known of it once its photos have splits."""

    data_set: DataSet
    read: ReadFacts
    joined: JoinFacts
    decision: Decision
    counts: SplitCounts


@dataclass(frozen=True)
class Plan:
    """What a job will write."""

    photos: Counter[str]  # of each split, not read yet
    photos_in: int  # accepted and rejected ones, without those that are in no split
    captions_in: int
    rejected: RejectionCounts
    notes: tuple[str, ...]  # for the user, e.g. how the splits were decided
    warnings: tuple[str, ...]  # for the user: what the data set lacks

    @property
    def lines(self) -> list[str]:
        """What the user is told before any photo is read."""
        notes = "; ".join(self.notes)
        lines = [f"{self.photos.total():,} photos, {self.captions_in:,} captions; {notes}"]
        for kind in ("photo", "caption"):
            if reasons := named_reasons(self.rejected.select(kind)):
                lines.append(f"{kind}s rejected before any photo is read: {reasons}")
        return lines + [f"WARNING: {warning}" for warning in self.warnings]


def make_plan(facts: Sequence[DataSetFacts], overlap: Some, *, allow_overlap: bool) -> Plan:
    """The plan for a data set, or for several that become one.

    Args:
        facts: of each data set.
        overlap: (id, where) of training photos of one that another one holds out.
        allow_overlap: photos that are held out elsewhere may be in the training split.

    Raises:
        SourceError: there are such photos; the message has their number and examples.
    """
    plans = [_plan_of_one(each) for each in facts]
    rejected, photos, total = RejectionCounts(), Counter[str](), SplitCounts()
    for each, plan in zip(facts, plans, strict=True):
        rejected.merge(plan.rejected.named(each.data_set.own_id))
        photos.update(plan.photos)
        total.merge(each.counts)
    total.overlap.merge(overlap)
    if len(facts) == 1:
        notes, warnings = [*plans[0].notes], [*plans[0].warnings]
    else:
        names = [each.data_set.name for each in facts]
        notes = [f"{name}: {'; '.join(plan.notes)}" for name, plan in zip(names, plans, strict=True)]
        warnings = [f"{name}: {each}" for name, plan in zip(names, plans, strict=True) for each in plan.warnings]
    if total.overlap:
        notes.append(_overlap_note(total.overlap, allowed=allow_overlap))
    return Plan(
        photos=photos,
        photos_in=sum(plan.photos_in for plan in plans),
        captions_in=sum(plan.captions_in for plan in plans),
        rejected=rejected,
        notes=tuple(notes),
        warnings=(*warnings, *_size_warnings(total)),
    )


def _plan_of_one(facts: DataSetFacts) -> Plan:
    """The plan for one data set, as if it were alone, without warnings about the sizes of splits."""
    rejected = RejectionCounts()
    for part in (facts.read, facts.joined, facts.counts):
        rejected.merge(part.rejected)
    return Plan(
        photos=facts.counts.photos,
        photos_in=facts.counts.photos.total() + rejected.select("photo").total,
        captions_in=facts.read.captions + facts.joined.captions,
        rejected=rejected,
        notes=tuple(_notes(facts)),
        warnings=tuple(_warnings(facts, rejected)),
    )


def _overlap_note(overlap: Some, *, allowed: bool) -> str:
    examples = "; ".join(f"{name}, {where}" for name, where in overlap.first[:3])
    more = "; ..." if overlap.count > 3 else ""
    text = f"photos of the training split that are held out elsewhere: {overlap.count:,} ({examples}{more})"
    if not allowed:
        raise SourceError(
            f"{text}. A captioner trained on them scores too high there: remove their captions, or add --allow_overlap"
        )
    return text


def check_plan(plan: Plan, max_rejected: float | None, file: str) -> None:
    """Check that enough of a data set is left.

    Args:
        plan: for the data set.
        max_rejected: largest share of photos or captions that may be rejected; None: see `rejections_allowed`.
        file: path of the file that names each; empty: there is none.

    Raises:
        JobFailed: too much was rejected.
        SourceError: no photo is left to train on.
    """
    check_rejected(plan.rejected, "photo", plan.photos_in, max_rejected, file)
    check_rejected(plan.rejected, "caption", plan.captions_in, max_rejected, file)
    if not plan.photos["train"]:
        sizes = [(split, plan.photos[split]) for split in SPLITS if plan.photos[split]]
        found = ", ".join(f"{count:,} in {split}" for split, count in sizes) or "no photo"
        lost = named_reasons(plan.rejected)
        cure = "; add photos, or divide them anew by --shares" if plan.photos.total() else ""
        raise SourceError(f"no photo is left for the training split: {found}{lost and f'; {lost}'}{cure}")


def _notes(facts: DataSetFacts) -> list[str]:
    data_set, read, joined, decision = facts.data_set, facts.read, facts.joined, facts.decision
    ordered = sorted((part, f"{note}: {number:,}" if number else note) for note, (part, number) in read.notes.items())
    notes = [note for _, note in ordered]
    if joined.repeated:
        where = joined.repeated.names(at=1)
        notes.append(f"captions that several files hold, counted once: {joined.repeated.count:,} ({where})")
    notes += decision.notes
    files = read.shown_files.first or data_set.files
    more = ", ..." if len(files) > 3 else ""
    examples = ", ".join(path_below(data_set.captions, path) for path in files[:3])
    notes.append(f"source: {data_set.layout.name} ({examples}{more})")
    notes.append(_split_note(data_set, decision, facts.counts))
    if joined.respelt:
        count = count_photos(joined.respelt.count)
        notes.append(f"{count} found by another spelling of the name: {joined.respelt.names(at=1)}")
    return notes


def _split_note(data_set: DataSet, decision: Decision, counts: SplitCounts) -> str:
    """Where the splits come from."""
    official, overruled = decision.official, data_set.shares is not None
    if official.said_by and not official.unlisted:
        return f"splits: from {official.said_by}"
    divided = ", ".join(f"{count:,} to {split}" for split, count in sorted(counts.by_hash.items()))
    lists = {each.path.name for each in decision.lists.values()}
    absent = ", ".join(name for name in data_set.layout.split_files.values() if name not in lists)
    reason = "as --shares says, " if overruled else ""
    if official.said_by:
        reason = f"from {official.said_by}; the rest "
    elif absent and not overruled:
        reason = f"no {absent}; "
    return f"splits: {reason}by a hash of the photo id: {divided or 'no photos'}"


def _warnings(facts: DataSetFacts, rejected: RejectionCounts) -> list[str]:
    """What is unusual in a data set, and what the user can do about it."""
    joined, decision, counts, warnings = facts.joined, facts.decision, facts.counts, []
    others = RejectionCounts({key: found for key, found in rejected.select("file").found.items() if key[1] in TOLD})
    if told := named_reasons(others):
        warnings.append(f"files that are not used: {told}")
    if counts.leaked:
        warnings.append(
            f"--shares overrules the splits from {decision.overruled.said_by}: now in train are "
            f"{count_photos(counts.leaked.count)} of dev and test: {counts.leaked.names(at=1)}"
        )
    # Of several data sets another one may use the photo.
    if not facts.data_set.name and (unused := rejected.found.get(("unused", "no captions"))):
        warnings.append(f"{count_photos(unused.count)} that no caption names, not used: {unused.names()}")
    if other := joined.other_endings:
        names = other.names(at=1)
        warnings.append(f"{count_photos(other.count)} may have another ending in the captions: {names}?")
    if heic := counts.unreadable:
        warnings.append(f"{count_photos(heic.count)} in HEIC, which is not read; convert to JPEG: {heic.names()}")
    return warnings


def _size_warnings(counts: SplitCounts) -> list[str]:
    """What the splits lack, of all data sets together."""
    dev, warnings = counts.photos["dev"], []
    if counts.photos.total() and not dev:
        warnings.append(
            "dev has no photo, so these records cannot be trained on: name some as dev, or divide all photos anew, for "
            f"example by --shares {' '.join(map(str, DEFAULT_SHARES.values()))}"
        )
    elif 0 < dev < FEWEST_DEV_PHOTOS:
        cure = "; --shares gives it more" if counts.by_hash else ""
        warnings.append(f"dev has {count_photos(dev)}: its scores say little{cure}")
    if counts.unspaced.count > UNSPACED_SHARE * counts.training_captions:
        warnings.append(
            f"{counts.unspaced.count:,} of {counts.training_captions:,} training captions have no spaces between their "
            f"words, so each is read as one word: add --tokenizer unicode; one is {counts.unspaced.first[0]:.60}"
        )
    if len(counts.different_captions) == 1:
        (caption,) = counts.different_captions
        warnings.append(
            f"all training captions ({counts.training_captions:,}) are the same, and nothing else can be learned: does "
            f"--captions (in a table, --columns) name the captions? {' '.join(caption.split()):.80}"
        )
    return warnings


def count_photos(count: int) -> str:
    """`1 photo`, `2,000 photos`."""
    return "1 photo" if count == 1 else f"{count:,} photos"
