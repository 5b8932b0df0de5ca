"""Finds the features of each photo by names, a part of all photos and names at a time.

The features of a photo have its name, as `match_names` compares names, with or without the ending of a photo; or else
one of its source ids, such as the number of a photo of COCO. Three functions decide that one after the other, each for
what meets in one place: `match_bucket` for equal names, `decide` for the photos of a record shard, and `settle` for
names that are source ids, which several photos may have.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from beam_jobs.execution.counting import Some
from beam_jobs.sources.grouping import group_key
from beam_jobs.sources.matching import file_name, match_names
from beam_jobs.sources.text_files import normal_name

_SHOWN = 3  # names or files that a photo's features may be


class RecordPhoto(NamedTuple):
    """A photo of the records."""

    id: str
    shard: str  # that holds it


class PhotoNumber(NamedTuple):
    """A source id of a photo."""

    source_id: str
    photo: RecordPhoto


class FeatureName(NamedTuple):
    """A file of features, or a row of a table, and its name."""

    name: str  # of the file below the folder of all, without its ending; or of the row's photo
    path: str  # of the file or table
    row: int = 0


MatchItem = RecordPhoto | PhotoNumber | FeatureName


class NamedFeatures(NamedTuple):
    """All features of one name: those of one photo, unless it is not clear which."""

    normal: str  # the name as `normal_name` gives it
    name: str
    paths: tuple[str, ...]  # the first files or tables that have it


class Found(NamedTuple):
    """What a bucket knows of the features of a photo. A photo is in the bucket of its name and in those of its ids."""

    photo: RecordPhoto
    named: NamedFeatures | None = None  # of its name
    ambiguous: tuple[str, ...] = ()  # the first names that may be its own, or one that is no less another photo's
    numbered: tuple[NamedFeatures, ...] = ()  # the first that no photo's name means, and that one of its ids does


class Claim(NamedTuple):
    """Features that no photo's name means, and the photo that has them by its source id."""

    features: NamedFeatures
    photo: str | None = None  # None: there are such features, whatever photo has them


@dataclass
class MatchFacts:
    """What is wrong with the features of all photos; adds up in little memory."""

    ambiguous: Some = field(default_factory=Some)  # (photo id, the first of what its features may be)
    missing: Some = field(default_factory=Some)  # photo ids
    unused: Some = field(default_factory=Some)  # names of features that no photo has

    def merge(self, other: "MatchFacts") -> None:
        """Add those of another part."""
        self.ambiguous.merge(other.ambiguous)
        self.missing.merge(other.missing)
        self.unused.merge(other.unused)


def match_key(item: MatchItem) -> str:
    """Equal for all that `match_bucket` may match with each other."""
    if isinstance(item, FeatureName):
        return group_key(normal_name(item.name))
    return group_key(item.id if isinstance(item, RecordPhoto) else item.source_id)


def match_bucket(items: Iterable[MatchItem], facts: MatchFacts) -> Iterator[Found | Claim]:
    """Match the names of a bucket.

    Args:
        items: all of some `match_key`s. Names of features are safe, see `normal_name`.
        facts: those of this bucket are added.

    Yields:
        A Found for each photo, and more for photos with source ids; the features that such ids mean, as Claims.
    """
    photos: dict[str, RecordPhoto] = {}
    of_number: dict[str, dict[RecordPhoto, None]] = defaultdict(dict)
    paths_of: dict[str, list[str]] = defaultdict(list)
    names: list[FeatureName] = []
    for item in items:
        if isinstance(item, RecordPhoto):
            photos[item.id] = item
        elif isinstance(item, PhotoNumber):
            of_number[item.source_id][item.photo] = None
        else:
            names.append(item)
    for name, path, _ in sorted(names, key=lambda item: (item.path.split("/"), item.row)):
        paths_of[name].append(path)
    features = {
        normal: NamedFeatures(normal, name, tuple(paths[:_SHOWN]))
        for name, paths in paths_of.items()
        if (normal := normal_name(name))
    }
    matches = match_names(photos, features)
    for photo in photos.values():
        if photo.id in matches.path_of:
            yield Found(photo, named=features[matches.path_of[photo.id]])
        else:
            yield Found(photo, ambiguous=tuple(matches.ambiguous.get(photo.id, ())[:_SHOWN]))
    numbered: dict[str, list[NamedFeatures]] = defaultdict(list)
    for free in sorted(features.keys() - {*matches.path_of.values()}):
        number = file_name(free)
        if number in of_number:
            numbered[number].append(features[free])
            yield Claim(features[free])
        else:
            facts.unused.add(features[free].name)
    for number, found in numbered.items():
        for photo in of_number[number]:
            yield Found(photo, numbered=tuple(found[:_SHOWN]))


def decide(found: Iterable[Found], facts: MatchFacts) -> Iterator[tuple[RecordPhoto, NamedFeatures] | Claim]:
    """Decide which features each of some photos has.

    Args:
        found: all that is known of these photos.
        facts: those of these photos are added.

    Yields:
        Each photo with its features, and a Claim if it has them by a source id.
    """
    of_photo: dict[RecordPhoto, list[Found]] = defaultdict(list)
    for each in found:
        of_photo[each.photo].append(each)
    for photo, known in of_photo.items():
        named = next((each.named for each in known if each.named), None)
        ambiguous = next((each.ambiguous for each in known if each.ambiguous), ())
        numbered = {features.normal: features for each in known for features in each.numbered}
        if named:
            if len(named.paths) > 1:
                facts.ambiguous.add((photo.id, named.paths))
            yield photo, named
        elif ambiguous:
            facts.ambiguous.add((photo.id, ambiguous))
        elif not numbered:
            facts.missing.add(photo.id)
        elif len(numbered) > 1:
            facts.ambiguous.add((photo.id, tuple(sorted(numbered)[:_SHOWN])))
        else:
            (features,) = numbered.values()
            yield photo, features
            yield Claim(features, photo.id)


def settle(claims: Iterable[Claim], facts: MatchFacts) -> None:
    """Find the features that several photos have by their source ids, and those that no photo has.

    Args:
        claims: all of some features.
        facts: those of these features are added.
    """
    photos_of: dict[NamedFeatures, list[str]] = defaultdict(list)
    for features, photo in claims:
        photos_of[features] += [] if photo is None else [photo]
    for features, photos in photos_of.items():
        if len(photos) != 1:
            facts.unused.add(features.name)
        for photo in photos:
            if len(photos) > 1 or len(features.paths) > 1:
                facts.ambiguous.add((photo, features.paths if len(photos) == 1 else (features.normal,)))
