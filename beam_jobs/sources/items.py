"""What workers find in a data set, item by item: each belongs to the group of the photo that it names."""

from typing import NamedTuple

from beam_jobs.sources.base import CaptionLine, Location

Order = tuple[int, int]  # of a part, and of an item in it


class Caption(NamedTuple):
    """A line of captions of a photo."""

    order: Order
    photo: str  # name as `normal_name` gives it
    line: CaptionLine


class FoundFile(NamedTuple):
    """A file below one of the user's folders, or what cannot be listed or read there."""

    path: str  # below that folder, with `/`
    file: str  # that can be opened
    own: str  # the same file by any link has the same
    problem: str  # why it cannot be read; empty if it can
    below_images: bool  # below --images, not --captions
    hidden: bool

    @property
    def may_be_photo(self) -> bool:
        """Whether it is a visible file below --images."""
        return self.below_images and not self.hidden and not self.problem


class FoundPhoto(NamedTuple):
    """A part of a file that is a photo if its name is one, or if captions name it."""

    path: str
    location: Location
    by_content: bool = False  # equal paths mean equal photos, so any of their locations will do


class ReadFile(NamedTuple):
    """A file that was read as captions or as a list, so it is no file that nothing uses."""

    own: str
    list: int | None = None  # part of the list that it may be


class ListedName(NamedTuple):
    """A line of a file that may list the photos of a split."""

    part: int
    order: int
    name: str
    where: str


Item = Caption | FoundFile | FoundPhoto | ReadFile | ListedName
