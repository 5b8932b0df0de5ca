"""A small data set in the Flickr8k layout, and data sets of any layout read in this process, as the jobs read them."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from beam_jobs.execution.counting import Some
from beam_jobs.sources.assignment import SplitCounts, assign, unassigned
from beam_jobs.sources.base import CaptionedPhoto
from beam_jobs.sources.decision import decide
from beam_jobs.sources.grouping import group_key
from beam_jobs.sources.held_out import HeldOut
from beam_jobs.sources.items import ReadFile
from beam_jobs.sources.joining import Group, JoinContext, JoinedPhoto, JoinFacts
from beam_jobs.sources.parts import ReadFacts, parts_of, read_part
from beam_jobs.sources.plan import DataSetFacts, make_plan
from beam_jobs.sources.reader import find_data_set
from tfcaption.records.dataset_info import Rejection


@dataclass
class ReadDataSet:
    """A data set whose photos have splits."""

    source: str
    photos: list[CaptionedPhoto] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    captions_in: int = 0
    photos_in: int = 0
    accounted: set[Path] = field(default_factory=set)


def read_source(images, captions, *, held_out=None, allow_overlap=False, **options):
    """Read a data set; the photos and the rejections of photos are in the order of their ids."""
    data_set = find_data_set(images, captions, **options)
    read, joined, counts = ReadFacts(), JoinFacts(), SplitCounts()
    found = ReadDataSet(data_set.layout.name)
    groups = defaultdict(Group)
    rejections = defaultdict(list)
    for part in reversed(parts_of(data_set)):  # in any order
        for each in read_part(part, data_set):
            if isinstance(each, ReadFacts):
                read.merge(each)
            elif isinstance(each, Rejection):
                rejections[part.number].append(each)
            else:
                name, item = each
                groups[group_key(name)].add(item)
    context = JoinContext.of(data_set, read)
    joined_items, later = [], []
    accounted = {each.own: each.list for each in own_files(groups)}
    for group in reversed(groups.values()):
        for each in group.join(context, joined):
            (later if isinstance(each, Rejection) else joined_items).append(each)
    decision = decide(data_set, read, joined)
    held_out = HeldOut(held_out or {})
    for item in joined_items:
        if isinstance(item, JoinedPhoto):
            split = assign(item, decision, held_out, counts)
            if isinstance(split, Rejection):
                later.append(split)
            else:
                photo = CaptionedPhoto(item.id, item.location, item.captions, split, item.source_ids)
                found.photos.append(photo)
        else:
            later += unassigned([item], decision, data_set, counts)
    found.photos.sort(key=lambda photo: photo.id)
    found.rejections += [each for _, part in sorted(rejections.items()) for each in part]
    for kind in ("caption", "file"):
        found.rejections += [each for each in later if each.kind == kind]
    found.rejections += sorted((each for each in later if each.kind in ("photo", "unused")), key=lambda each: each.id)
    plan = make_plan([DataSetFacts(data_set, read, joined, decision, counts)], Some(), allow_overlap=allow_overlap)
    found.notes, found.warnings = [*plan.notes], [*plan.warnings]
    found.captions_in, found.photos_in = plan.captions_in, plan.photos_in
    found.accounted = {Path(own) for own, part in accounted.items() if part is None or part in decision.lists}
    return found


def own_files(groups):
    return [item for group in groups.values() for item in group._items[ReadFile]]


class SmallDataset:
    """A small data set in the Flickr8k layout that a test can damage."""

    def __init__(self, folder):
        self.images, self.texts = folder / "photos" / "below", folder / "text"
        self.images.mkdir(parents=True)
        self.texts.mkdir()
        self.lines = []
        for split, names in {"train": "abcdef", "dev": "gh", "test": "ij"}.items():
            for name in names:
                self.photo(f"{name}.jpg")
                self.lines += [f"{name}.jpg#{k}\tA photo of {name} .".encode() for k in range(2)]
            (self.texts / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{name}.jpg\n" for name in names))

    def photo(self, name):
        (self.images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(self.images / name, "JPEG")

    def read(self, **options):
        (self.texts / "Flickr8k.token.txt").write_bytes(b"\n".join([*self.lines, b""]))
        return read_source(self.images.parent, self.texts, **options)
