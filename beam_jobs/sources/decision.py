"""How the photos of a data set are divided: decided from what is known of all of them, before any is read."""

from collections.abc import Mapping
from dataclasses import dataclass

from beam_jobs.errors import SourceError
from beam_jobs.execution.rejections import named_reasons
from beam_jobs.sources.joining import JoinFacts
from beam_jobs.sources.official_splits import (
    BY_HASH,
    NO_SPLITS,
    Evidence,
    OfficialSplits,
    SplitList,
    accepted_lists,
    official_splits,
)
from beam_jobs.sources.parts import ReadFacts
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.splits import EXACT_BELOW, SPLIT_NAMES, divide, split_by_hash
from tfcaption.records.dataset_info import DEFAULT_SHARES


@dataclass(frozen=True)
class Decision:
    """How the photos of a data set are divided."""

    lists: Mapping[int, SplitList]  # part -> list of the photos of a split
    official: OfficialSplits
    overruled: OfficialSplits  # those that the data set names, where --shares overrules them
    divided_exactly: Mapping[str, str] | None  # photo id -> split; None: the hash of each id decides alone
    shares: Mapping[str, float]
    seed: int
    notes: tuple[str, ...] = ()  # about columns that hold no splits

    def split_of(self, photo_id: str, evidence: Evidence) -> tuple[str | None, bool]:
        """The split of a photo that can be used, None where it is in none; and whether the hash decides."""
        if split := self.official.split_of.get(evidence):
            return split, False
        if not self.official.unlisted:
            return None, False
        if self.divided_exactly is not None:
            return self.divided_exactly[photo_id], True
        return split_by_hash(photo_id, self.official.unlisted, self.shares, self.seed), True


def decide(data_set: DataSet, read: ReadFacts, joined: JoinFacts) -> Decision:
    """Decide how the photos are divided.

    Their splits are those that the data set names, see `official_splits`. Where it names none, photos are divided by a
    hash of their id, see `divide`; so are photos that no list of a split names, among the splits that have no list.
    Other photos without a split are unused, as the authors of the data set intended.

    Raises:
        SourceError: there are no captions, a photo is in two splits, or names speak of splits that cannot be used.
    """
    by_name = data_set.shares is None
    if by_name and joined.in_two_splits:
        raise SourceError(joined.in_two_splits.first[0][1])
    if not read.captions + joined.captions:
        reasons = named_reasons(read.rejected)
        raise SourceError(f"{data_set.files[0]}: " + (f"holds no captions: {reasons}" if reasons else "is empty"))
    column, given, notes = read.column[1], data_set.columns.split, []
    for faulty, (_, text) in sorted(read.unknown_splits.items(), key=lambda each: each[1]) if by_name else ():
        if faulty in (column, "split", given):
            raise SourceError(f"{text}; known are {', '.join(SPLIT_NAMES)}; correct it, or {BY_HASH}")
        notes.append(f"{text} is no split, so this column is not used")
    official_names = set(data_set.layout.split_files.values())
    are_official = any(each.path.name in official_names for each, _ in read.lists.values())
    lists = accepted_lists(read.lists, joined.splits, official=are_official)
    try:
        named = official_splits(
            joined.splits, lists, read.files, data_set.captions, column=column, column_decides=bool(given)
        )
    except SourceError:  # where --shares decides, they need not agree
        if by_name:
            raise
        named = NO_SPLITS
    official, overruled = (named, NO_SPLITS) if by_name else (NO_SPLITS, named)
    open_to_hash = [alike for evidence, alike in joined.splits.alike.items() if evidence not in official.split_of]
    shares, exactly = data_set.shares or DEFAULT_SHARES, None
    if sum(alike.usable for alike in open_to_hash) < EXACT_BELOW and official.unlisted:
        ids = {photo for alike in open_to_hash for photo in alike.usable_ids or ()}
        exactly = divide(ids, official.unlisted, shares, data_set.seed)
    return Decision(lists, official, overruled, exactly, shares, data_set.seed, tuple(notes))
