"""One host's share of a split: its shards, what a record holds, and the padded lengths of its captions."""

from dataclasses import dataclass
from pathlib import Path

from tfcaption.records.dataset_info import DATASET_FILE, FEATURES_FILE, DatasetInfo, FeaturesInfo
from tfcaption.records.examples import (
    FEATURES,
    PHOTO_JPEG,
    Stage,
)
from tfcaption.records.reading import DamagedRecordSkipper
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.paths import as_path


@dataclass(frozen=True)
class Split:
    """One host's share of a split: where it is and what it holds."""

    name: str
    files: list[str]
    stage: Stage
    shape: tuple[int, ...]  # of one photo's inputs
    bytes: int  # of this host's shards
    photos: int  # of this host
    most_photos: int  # of any host
    captions_per_photo: int
    lengths: list[int]  # padded caption lengths in tokens, the last one holds every caption
    in_memory: bool  # held in memory, still encoded; otherwise read again each epoch
    by_caption: bool  # a row is one caption, which pads least; otherwise a photo with all its captions, encoded once
    views: int = 1  # that a record holds of its photo; a shuffled epoch shows one of them, any other the first
    sides: tuple[int, ...] = ()  # tokens that change places in the captions of a mirrored view
    skipper: DamagedRecordSkipper | None = None  # skips damaged records; None: they are errors

    @property
    def payload(self) -> str:
        """The key of a photo's inputs in its record."""
        return PHOTO_JPEG if self.stage == "photo" else FEATURES


def open_split(
    name: str,
    info: DatasetInfo,
    folder: str | Path,
    features: FeaturesInfo | None = None,
    *,
    buckets: int,
    cache: bool | str = "auto",
    cache_limit_mb: int = 2048,
    by_photo: bool = False,
    skipper: DamagedRecordSkipper | None = None,
    host: int = 0,
    hosts: int = 1,
) -> Split:
    """Find a split's shards.

    Args:
        name: train, dev or test.
        info: `dataset.json` of the records.
        folder: the records, or the features made of them.
        features: their `features.json`, where `folder` holds features.
        buckets: how many padded lengths; 1 where the step leaves out the padding itself.
        cache: hold the split in memory, or not; auto: where this host's share of it is within the limit.
        cache_limit_mb: that limit, in units of 1,000,000 bytes.
        by_photo: a row is a photo even where a caption would be the better one.
        skipper: skips damaged records, so that a shard may have another size.
        host: which share of the shards, of `hosts`.
        hosts: how many share the split.

    Raises:
        RecordError: there is no such split, too few training shards for the hosts, or a shard is missing or has
            another size than the description says.
    """
    split = info.split(name)
    shards = features.splits[name] if features else split.shards
    shares = [shards[index::hosts] for index in range(hosts)]
    photos = [sum(shard.records for shard in share) for share in shares]
    if name == "train" and not all(photos):
        raise RecordError(
            f"{folder}: split {name} has too few shards for {hosts} hosts; "
            f"build the records again with --shards {hosts * 8}"
        )
    described, command = (FEATURES_FILE, "extract_features") if features else (DATASET_FILE, "build_records")
    for shard in shares[host]:
        path = as_path(folder) / shard.name
        if not path.is_file():
            raise RecordError(f"{path}: no such file, though {described} lists it; run {command} again")
        if skipper is None and path.stat().st_size != shard.bytes:
            raise RecordError(
                f"{path}: {path.stat().st_size:,} bytes, {described} says {shard.bytes:,}; run {command} again"
            )
    size = info.settings.image_size
    here = sum(shard.bytes for shard in shares[host])
    in_memory = photos[host] > 0 and (here <= cache_limit_mb * 1_000_000 if cache == "auto" else bool(cache))
    stage: Stage = features.settings.stage if features else "photo"
    by_caption = stage == "pooled" and in_memory and not by_photo
    histogram = split.caption_lengths if by_caption else split.longest_caption_lengths
    return Split(
        name=name,
        files=[str(as_path(folder) / shard.name) for shard in shares[host] if shard.records],
        stage=stage,
        shape=tuple(features.settings.shape) if features else (size, size, 3),
        bytes=here,
        photos=photos[host],
        most_photos=max(photos),
        captions_per_photo=info.captions_per_photo,
        lengths=bucket_lengths(histogram, buckets, info.max_length),
        in_memory=in_memory,
        by_caption=by_caption,
        views=features.settings.views_of(name) if features else 1,
        sides=tuple(features.settings.sides) if features else (),
        skipper=skipper,
    )


def bucket_lengths(histogram: dict[int, int], buckets: int, longest: int) -> list[int]:
    """The padded lengths that waste the fewest positions, by dynamic programming over the lengths there are.

    Args:
        histogram: length in tokens -> how many have it.
        buckets: how many padded lengths at most.
        longest: the last one, so that every caption of any split fits.
    """
    lengths = sorted({length for length, count in histogram.items() if count} | {longest})
    counts = [histogram.get(length, 0) for length in lengths]
    # best[i]: (positions of the first i lengths, the padded lengths chosen for them), with one more bucket each round
    best: list[tuple[int, list[int]]] = [(0, [])]
    best += [(lengths[i] * sum(counts[: i + 1]), [lengths[i]]) for i in range(len(lengths))]

    def one_more(start: int, end: int) -> tuple[int, list[int]]:
        positions, chosen = best[start]
        return positions + lengths[end - 1] * sum(counts[start:end]), [*chosen, lengths[end - 1]]

    for _ in range(buckets - 1):
        best = [best[0]] + [
            min(best[end], *(one_more(start, end) for start in range(end))) for end in range(1, len(lengths) + 1)
        ]
    return best[-1][1]


def rows_per_batch(split: Split, batch_size_photos: int, *, captions: str = "all") -> int:
    """Rows of a batch that holds the captions of `batch_size_photos` photos."""
    return batch_size_photos * (split.captions_per_photo if split.by_caption and captions == "all" else 1)


def batches_per_epoch(split: Split, batch_size_photos: int) -> int:
    """Batches of every epoch, the same on every host: full ones, and one that is not for each bucket."""
    return split.most_photos // batch_size_photos + len(split.lengths)
