"""One host's share of a split: its shards, what a record holds, and the padded lengths of its captions."""

from dataclasses import dataclass, field

from tfcaption.input_pipeline.options import CachePolicy
from tfcaption.records.dataset import Dataset
from tfcaption.records.examples import FEATURES, PHOTO_JPEG, Stage
from tfcaption.records.reading import DamagedRecordSkipper, check_shards
from tfcaption.records.vocabulary import left_right_tokens
from tfcaption.runtime.hosts import Host


@dataclass(frozen=True)
class Split:
    """One host's share of a split: where it is and what it holds."""

    name: str
    files: list[str]  # of the photos as they are
    stage: Stage
    shape: tuple[int, ...]  # of one photo's inputs
    bytes: int  # of this host's shards, with those of further views
    photos: int  # of this host
    most_photos_of_a_host: int
    captions_per_photo: int
    lengths: list[int]  # padded caption lengths in tokens; the last one holds every caption
    in_memory: bool  # held in memory, still encoded; otherwise streamed from the shards each epoch
    by_caption: bool  # a row is one caption, which pads least; otherwise a photo with all its captions, encoded once
    varying: bool = False  # photos differ in their number of regions; `shape` has the most
    # Of view 1, view 2, ...: a file for each of `files`, with the same photos in the same order. A shuffled epoch shows
    # one view of each photo, any other epoch the photo as it is.
    further_views: list[list[str]] = field(default_factory=list)
    left_right: tuple[int, ...] = ()  # tokens to swap in the captions of a mirrored photo
    skipper: DamagedRecordSkipper | None = None  # skips damaged records; None: they are errors

    @property
    def views(self) -> int:
        """Views of each photo, itself included."""
        return 1 + len(self.further_views)

    @property
    def payload(self) -> str:
        """The key of a photo's inputs in its record."""
        return PHOTO_JPEG if self.stage == "photo" else FEATURES


def open_split(
    name: str,
    dataset: Dataset,
    *,
    buckets: int,
    cache: CachePolicy = CachePolicy(),  # noqa: B008 (frozen)
    by_photo: bool = False,
    further_views: bool = False,
    skipper: DamagedRecordSkipper | None = None,
    host: Host = Host(),  # noqa: B008 (frozen)
) -> Split:
    """Find a split's shards.

    Args:
        name: train, dev or test.
        dataset: records, or features made of them.
        buckets: number of padded lengths; 1 where the step skips padding itself.
        cache: whether to hold this host's share in memory.
        by_photo: make every row a photo, even where rows of captions would pad less.
        further_views: also take the augmented views of its photos, which only shuffled epochs show.
        skipper: skips damaged records, so a shard may have another size than described.
        host: which share of the shards to take.

    Raises:
        RecordError: there is no such split, there are too few training shards for the hosts, or a shard is missing or
            has another size than its description says.
    """
    info, features = dataset.info, dataset.features
    described = info.split(name, dataset.records)
    shares = dataset.shares(name, host.count)
    photos = [sum(shard.records for shard in share) for share in shares]
    views = range(dataset.views(name) if further_views else 1)
    mine = [dataset.shares(name, host.count, view)[host.index] for view in views]
    each = [shard for shards in mine for shard in shards]
    check_shards(
        dataset.folder, each, description=dataset.description_file, job=dataset.job, check_sizes=skipper is None
    )
    size = sum(shard.bytes for shard in each)
    files, *files_of_further_views = (
        [str(dataset.folder / shard.name) for shard in shards if shard.records] for shards in mine
    )
    in_memory = photos[host.index] > 0 and cache.holds(size)
    by_caption = dataset.stage == "pooled" and in_memory and not by_photo
    histogram = described.caption_lengths if by_caption else described.longest_caption_lengths
    return Split(
        name=name,
        files=files,
        stage=dataset.stage,
        shape=dataset.shape,
        bytes=size,
        photos=photos[host.index],
        most_photos_of_a_host=max(photos),
        captions_per_photo=info.captions_per_photo,
        lengths=bucket_lengths(histogram, buckets, info.max_length),
        in_memory=in_memory,
        by_caption=by_caption,
        varying=dataset.varying,
        further_views=files_of_further_views,
        left_right=tuple(features.settings.sides if features else left_right_tokens(dataset.vocabulary)),
        skipper=skipper,
    )


def bucket_lengths(histogram: dict[int, int], buckets: int, longest: int) -> list[int]:
    """The padded lengths with the fewest padded positions, by dynamic programming over the lengths that occur.

    Args:
        histogram: length in tokens -> how many captions (or photos) have it.
        buckets: number of padded lengths at most.
        longest: the last padded length, so that every caption of any split fits.
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
    """Rows of a batch: its captions where a row is a caption, otherwise its photos."""
    return batch_size_photos * (split.captions_per_photo if split.by_caption and captions == "all" else 1)


def batches_per_epoch(split: Split, batch_size_photos: int) -> int:
    """Batches of every epoch, equal on all hosts: full batches, and a partial one for each bucket."""
    return split.most_photos_of_a_host // batch_size_photos + len(split.lengths)
