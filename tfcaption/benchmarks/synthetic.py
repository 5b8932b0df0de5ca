"""Records and features of random content, as large as those of a data set, where speed is all that is asked.

Captions are as long as Flickr8k's (10.8 words, standard deviation 3.8), and words as unevenly frequent as in a language
(Zipf's law), so that a captioner learns from them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcaption.records.dataset_info import (
    DATASET_FILE,
    FEATURES_FILE,
    FeatureSettings,
    FeaturesInfo,
    RecordSettings,
    ShardInfo,
)
from tfcaption.records.examples import PhotoRecord, Stage, encode_record, feature_record, features_size
from tfcaption.records.sharding import shard_name
from tfcaption.records.statistics import Statistics, Totals, VocabularyCounts, build_dataset_info
from tfcaption.records.tfrecord import frame_record
from tfcaption.records.vocabulary import END, SPECIAL_TOKENS, START, VOCABULARY_FILE

WORDS = 2540  # of Flickr8k's vocabulary, special tokens included
WORDS_PER_CAPTION, DEVIATION, FEWEST, MOST = 10.8, 3.8, 2, 36  # of Flickr8k's captions
CAPTIONS_PER_PHOTO = 5
TRAIN_SHARDS = 8  # as many as are read at the same time


@dataclass(frozen=True)
class EncoderFacts:
    """What features.json says of an encoder."""

    names: list[str]
    inputs: list[str]
    preprocessing: str
    layers: Mapping[Stage, list[str]]
    shapes: Mapping[Stage, list[int]]
    fingerprints: Mapping[Stage, str]


def write_data_set(
    folder: Path, encoder: EncoderFacts, *, photos: int, image_size: int
) -> tuple[Path, dict[Stage, Path]]:
    """Write a training split, a small dev split, and features of each stage of an encoder with random weights.

    The records hold no photos, so that only the features can be read.

    Args:
        folder: a new one.
        encoder: what the features are said to be made with.
        photos: in the training split.
        image_size: of the photos that the features are said to be of, pixels on both sides.

    Returns:
        The folder of the records, and that of each stage's features.
    """
    generator = np.random.default_rng(0)
    words = [*SPECIAL_TOKENS, *(f"word{index:04d}" for index in range(WORDS - len(SPECIAL_TOKENS)))]
    frequencies = 1.0 / np.arange(1, len(words) - len(SPECIAL_TOKENS) + 1)
    frequencies /= frequencies.sum()

    def caption() -> list[int]:
        length = int(np.clip(generator.normal(WORDS_PER_CAPTION, DEVIATION) + 0.5, FEWEST, MOST))
        chosen = generator.choice(len(frequencies), length, p=frequencies) + len(SPECIAL_TOKENS)
        return [START, *chosen.tolist(), END]

    captions = {
        split: [[caption() for _ in range(CAPTIONS_PER_PHOTO)] for _ in range(count)]
        for split, count in (("train", photos), ("dev", max(photos // 16, 1)))
    }
    statistics, counts = {split: Statistics() for split in captions}, np.zeros(len(words), np.int64)
    for split, token_ids in captions.items():
        for of_photo in token_ids:
            statistics[split].add(of_photo, [False] * len(of_photo))
    for of_photo in captions["train"]:
        np.add.at(counts, [token for ids in of_photo for token in ids[1:-1]], 1)

    shards = {split: _shards(split, token_ids) for split, token_ids in captions.items()}
    records = folder / "records"
    records.mkdir(parents=True)
    for split, of_split in shards.items():
        statistics[split].shards = [_write(records / name, content) for name, content in of_split.items()]
    settings = RecordSettings(
        source="random",
        image_size=image_size,
        resize="squash",
        min_count=1,
        max_words=MOST,
        seed=0,
        shards=TRAIN_SHARDS,
        shares={},
        pillow_version="",
    )
    total = sum(map(len, captions.values()))
    totals = Totals(total, total * CAPTIONS_PER_PHOTO)
    info = build_dataset_info(statistics, {}, settings, VocabularyCounts(words, counts.tolist()), totals)
    (records / VOCABULARY_FILE).write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    (records / DATASET_FILE).write_text(info.model_dump_json(), encoding="utf-8")
    features = {stage: folder / stage for stage in encoder.shapes}
    for stage, path in features.items():
        _write_features(path, encoder, stage, shards, records=info.fingerprint(), generator=generator)
    return records, features


def _shards(split: str, token_ids: list[list[list[int]]]) -> dict[str, list[bytes]]:
    """The records of each shard of a split, by its name."""
    count = TRAIN_SHARDS if split == "train" else 1
    shards: dict[str, list[bytes]] = {shard_name(split, index, count): [] for index in range(count)}
    for index, of_photo in enumerate(token_ids):
        captions = [" ".join(map(str, ids)) for ids in of_photo]
        record = PhotoRecord(photo_id=f"{split}_{index:06d}", jpeg=b"", captions=captions, token_ids=of_photo)
        shards[shard_name(split, index % count, count)].append(encode_record(record))
    return shards


def _write(path: Path, records: Iterable[bytes]) -> ShardInfo:
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as stream:
        for record in records:
            frame = frame_record(record)
            stream.write(frame)
            digest.update(frame)
            count += 1
    return ShardInfo(name=path.name, records=count, bytes=path.stat().st_size, sha256=digest.hexdigest())


def _write_features(
    folder: Path,
    encoder: EncoderFacts,
    stage: Stage,
    shards: Mapping[str, Mapping[str, list[bytes]]],
    *,
    records: str,
    generator: np.random.Generator,
) -> None:
    """Features as a ReLU leaves them: half of them zero. Photos share a pool of values, each from another place on."""
    folder.mkdir()
    size = features_size(encoder.shapes[stage])
    pool = np.maximum(generator.normal(size=size), 0).astype(np.float16).tobytes() * 2

    def features() -> bytes:
        start = 2 * int(generator.integers(size // 2))  # a value has two bytes
        return pool[start : start + size]

    splits = {
        split: [
            _write(folder / name, (feature_record(record, features()) for record in content))
            for name, content in of_split.items()
        ]
        for split, of_split in shards.items()
    }
    settings = FeatureSettings(
        stage=stage,
        layers=encoder.layers[stage],
        shape=encoder.shapes[stage],
        weights=encoder.fingerprints[stage],
        preprocessing=encoder.preprocessing,
        records=records,
        batch_size=1,
    )
    info = FeaturesInfo(
        settings=settings,
        encoder=encoder.names,
        encoder_input=encoder.inputs,
        weights="random",
        splits=splits,
    )
    (folder / FEATURES_FILE).write_text(info.model_dump_json(), encoding="utf-8")
