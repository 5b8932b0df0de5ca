"""Finds the photos that ids stand for: names with other folders, endings or spellings, and numbers of COCO."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tfcaption.metrics.corpus import ScoreError
from tfcaption.records.folder_kinds import PHOTO_SUFFIXES
from tfcaption.records.photo_names import spelling

_DIGITS_OF_COCO = 12  # COCO_val2014_000000391895.jpg, 000000391895.jpg
_MOST_DIGITS = 20  # of a number


class PhotoIds:
    r"""The photos of a data set, found by the ids that captions give them.

    - A name may have other folders before it than the photo's id, or none; may lack the ending or have one that the id
      lacks; and may be spelt otherwise (see `spelling`), also with `\` between folders. The photo with the most folders
      of the name counts.
    - A name of COCO's 2014 files may be one of its 2017 files, and the other way round: both end in the same 12 digits.
    - A number, also as text with zeros before it, is the one that the photo has in the `images` of COCO's files. If no
      photo has such numbers, it is the one at the end of COCO's file names, or a name that is a number.

    Of photos that fit equally well, those of the wanted split count.
    """

    def __init__(self, splits: Mapping[str, Mapping[str, Sequence[str]]], wanted: str) -> None:
        """Index all photos.

        Args:
            splits: split -> photo id -> source ids, see `records.examples.ids_of`.
            wanted: the split whose photos are looked for.
        """
        self._split_of = {photo: split for split, photos in splits.items() for photo in photos}
        self._wanted = wanted
        self._by_name: dict[str, list[str]] = defaultdict(list)  # the end of an id, with and without its ending
        self._by_number: dict[str, list[str]] = defaultdict(list)
        self._by_coco_name: dict[str, list[str]] = defaultdict(list)  # the 12 digits
        for photo in self._split_of:
            parts = _parts(photo)
            if digits := _digits_of_coco(photo):
                self._by_coco_name[digits].append(photo)
            for start in range(len(parts)):
                for name in _joined(parts[start:]):
                    self._by_name[name].append(photo)
        for photos in splits.values():
            for photo, source_ids in photos.items():
                for source_id in source_ids:
                    self._by_number[_number(source_id) or source_id].append(photo)
        self.has_numbers = bool(self._by_number)
        if not self.has_numbers:
            for photo in self._split_of:
                if number := _number_in_name(photo):
                    self._by_number[number].append(photo)

    def split_of(self, photo: str) -> str:
        """The split of a photo, by its id in the records."""
        return self._split_of[photo]

    def find(self, given: str | int) -> str | None:
        """The id of the photo in the records, of any split; None where there is none.

        Raises:
            ScoreError: several photos fit equally well.
        """
        name = str(given)
        if isinstance(given, str) and self._split_of.get(name) == self._wanted:
            return name
        numbered = self._of_wanted_split(self._by_number.get(_number(name) or name, []))
        named = self._named(name)
        if not self.has_numbers:
            found = named or numbered
        elif isinstance(given, int):
            found = numbered or named
        else:  # text of digits may be a name or a number
            found = list(dict.fromkeys(named + numbered))
        found = found or self._of_wanted_split(self._by_coco_name.get(_digits_of_coco(name), []))
        in_split = [photo for photo in found if self._split_of[photo] == self._wanted]
        if in_split and len(found) > 1:
            more = ", ..." if len(found) > 3 else ""
            raise ScoreError(f"{name} could be {' or '.join(sorted(found)[:3])}{more}; write the whole id")
        return found[0] if found else None

    def _of_wanted_split(self, photos: list[str]) -> list[str]:
        return [photo for photo in photos if self._split_of[photo] == self._wanted] or photos

    def _named(self, name: str) -> list[str]:
        """The photos whose ids fit a name best."""
        parts = _parts(name)
        base = parts[-1]
        for start in range(len(parts)):
            alike: dict[tuple[bool, bool, bool], list[str]] = defaultdict(list)
            for end in _joined(parts[start:]):
                for photo in self._by_name.get(end, []):
                    own = _parts(photo)
                    if own[-1] in (base, _stem(base)) or _stem(own[-1]) == base:  # not two endings
                        only_more_folders = start == 0 or len(own) == len(parts) - start
                        alike[only_more_folders, own[-1] == base, photo == name].append(photo)
            if alike:
                best = max(alike)
                photos = list(dict.fromkeys(alike[best]))
                # With other folders it may be a photo of another split, so no split decides.
                return self._of_wanted_split(photos) if best[0] else photos
        return []


def _parts(name: str) -> list[str]:
    """The folders and the name of a photo, as they compare."""
    return [part for part in spelling(name.replace("\\", "/")).split("/") if part not in ("", ".")] or [""]


def _joined(parts: Sequence[str]) -> list[str]:
    """A path of some parts, as it is and without the ending of photos."""
    return list(dict.fromkeys("/".join([*parts[:-1], base]) for base in (parts[-1], _stem(parts[-1]))))


def _stem(name: str) -> str:
    """A spelling without the ending of photos."""
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}" in PHOTO_SUFFIXES else name


def _number(text: str) -> str:
    """A number without zeros before it, and without the `.0` of tables; empty where the text is none."""
    digits = text.removesuffix(".0")
    return str(int(digits)) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else ""


def _number_in_name(photo: str) -> str:
    """The number that is a photo's name, or the one at the end of a name of COCO's; empty if there is none."""
    return _number(_digits_of_coco(photo) or _stem(_parts(photo)[-1]))


def _digits_of_coco(photo: str) -> str:
    """The digits at the end of a name of COCO's; empty for other names."""
    end = _stem(_parts(photo)[-1]).rpartition("_")[2]
    return end if len(end) == _DIGITS_OF_COCO and _number(end) else ""
