"""Gives each photo its split, and counts what the user is told about the photos."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beam_jobs.execution.counting import Some
from beam_jobs.execution.rejections import RejectionCounts
from beam_jobs.sources.decision import Decision
from beam_jobs.sources.held_out import HELD_OUT_SPLITS, HeldOut
from beam_jobs.sources.joining import JoinedPhoto, UncaptionedPhoto, UnreadList
from beam_jobs.sources.official_splits import SplitList
from beam_jobs.sources.reader import DataSet
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES
from tfcaption.records.dataset_info import Rejection
from tfcaption.records.sharding import hash_share


@dataclass
class SplitCounts:
    """What is known of a data set when its photos have splits; adds up in little memory."""

    photos: Counter[str] = field(default_factory=Counter)  # of each split
    by_hash: Counter[str] = field(default_factory=Counter)  # those that the hash put there
    rejected: RejectionCounts = field(default_factory=RejectionCounts)
    leaked: Some = field(default_factory=Some)  # (rank, id) of training photos that the data set holds out
    overlap: Some = field(default_factory=Some)  # (id, where) of training photos that other data sets hold out
    unreadable: Some = field(default_factory=Some)  # ids of photos in HEIC
    training_captions: int = 0
    unspaced: Some = field(default_factory=Some)  # training captions that lack spaces, so each is read as one word
    different_captions: set[str] = field(default_factory=set)  # of the training photos, at most two

    def merge(self, other: "SplitCounts") -> None:
        """Add other photos."""
        self.photos.update(other.photos)
        self.by_hash.update(other.by_hash)
        self.rejected.merge(other.rejected)
        self.leaked.merge(other.leaked)
        self.overlap.merge(other.overlap)
        self.unreadable.merge(other.unreadable)
        self.training_captions += other.training_captions
        self.unspaced.merge(other.unspaced)
        self.different_captions = {*sorted(self.different_captions | other.different_captions)[:2]}


def assign(photo: JoinedPhoto, decision: Decision, held_out: HeldOut, counts: SplitCounts) -> str | Rejection:
    """The split of a photo, or why it is in none; counts it."""
    split, by_hash = decision.split_of(photo.id, photo.evidence)
    if split is None:
        rejection = Rejection(kind="unused", id=photo.id, reason="in no split", captions=len(photo.captions))
        counts.rejected.add(rejection)
        return rejection
    counts.photos[split] += 1
    if by_hash:
        counts.by_hash[split] += 1
    if Path(photo.id).suffix.lower() in UNREAD_SUFFIXES:
        counts.unreadable.add(photo.id)
    if split == "train":
        counts.training_captions += len(photo.captions)
        if len(counts.different_captions) < 2:
            counts.different_captions.update(photo.captions)
        if by_hash and decision.overruled.split_of.get(photo.evidence) in HELD_OUT_SPLITS:
            counts.leaked.add((hash_share(photo.id, seed=decision.seed), photo.id))
        if where := held_out.where(photo.id):
            counts.overlap.add((photo.id, where))
    return split


def unassigned(
    items: Iterable[UncaptionedPhoto | UnreadList], decision: Decision, data_set: DataSet, counts: SplitCounts
) -> Iterator[Rejection]:
    """Rejections of photos without captions, and of files that are no lists; counts them."""
    for item in items:
        found = _unread(item, decision.lists) if isinstance(item, UnreadList) else _unused(item, decision, data_set)
        if found:
            counts.rejected.add(found)
            yield found


def _unread(item: UnreadList, lists: Mapping[int, SplitList]) -> Rejection | None:
    return None if item.part in lists else item.rejection


def _unused(item: UncaptionedPhoto, decision: Decision, data_set: DataSet) -> Rejection | None:
    layout = data_set.layout
    listed = [decision.lists[part] for part in sorted(item.lists) if part in decision.lists]
    if layout.split_files and listed:
        if item.detail:  # it is named as listed
            return None
        detail = f"listed in {listed[-1].path.name}"
        return Rejection(kind="photo", id=item.name, reason="no captions", detail=detail)
    if not item.detail:  # only listed, by a file that is no list
        return None
    kind = "photo" if layout.every_photo_captioned else "unused"
    return Rejection(kind=kind, id=item.name, reason="no captions", detail=item.detail)
