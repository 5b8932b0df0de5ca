"""What is unusual in a listing, and what the user can do about it."""

from pathlib import Path

from beam_jobs.execution.rejections import some_of
from beam_jobs.sources.base import Listing
from tfcaption.preprocessing.photos import UNREAD_SUFFIXES
from tfcaption.records.dataset_info import DEFAULT_SHARES
from tfcaption.records.photo_names import spelling

FEWEST_DEV_PHOTOS = 50  # with fewer, the scores of two epochs differ by chance more than by what was learned


def advice(listing: Listing, *, divided: bool) -> list[str]:
    """Warnings for the user; `divided`: photos were divided by the hash."""
    warnings = []
    missing, unused = (
        [rejection.id for rejection in listing.rejections if (rejection.kind, rejection.reason) == kind_and_reason]
        for kind_and_reason in (("photo", "missing photo"), ("unused", "no captions"))
    )
    if unused:
        warnings.append(f"{count_photos(len(unused))} that no caption names, not used: {some_of(unused)}")
    unused_stems = {_stem(name): name for name in unused}
    if twice := [f"{name} is {unused_stems[_stem(name)]}" for name in missing if _stem(name) in unused_stems]:
        warnings.append(f"{count_photos(len(twice))} may have another ending in the captions: {some_of(twice)}?")
    if unread := [photo.id for photo in listing.photos if Path(photo.id).suffix.lower() in UNREAD_SUFFIXES]:
        warnings.append(f"{count_photos(len(unread))} in HEIC, which is not read; convert to JPEG: {some_of(unread)}")
    dev = sum(photo.split == "dev" for photo in listing.photos)
    if listing.photos and not dev:
        warnings.append(
            "dev has no photo, so these records cannot be trained on: name some as dev, or divide all photos anew, for "
            f"example by --shares {' '.join(map(str, DEFAULT_SHARES.values()))}"
        )
    elif 0 < dev < FEWEST_DEV_PHOTOS:
        cure = "; --shares gives it more" if divided else ""
        warnings.append(f"dev has {count_photos(dev)}: its scores say little{cure}")
    captions = [caption for photo in listing.photos if photo.split == "train" for caption in photo.captions]
    if captions and len(set(captions)) == 1:
        warnings.append(
            f"all training captions ({len(captions):,}) are the same, and nothing else can be learned: does --captions "
            f"(in a table, --columns) name the captions? {' '.join(captions[0].split()):.80}"
        )
    return warnings


def count_photos(count: int) -> str:
    """`1 photo`, `2,000 photos`."""
    return "1 photo" if count == 1 else f"{count:,} photos"


def _stem(name: str) -> str:
    """The spelling of a photo's file name without its ending."""
    return spelling(Path(name).stem)
