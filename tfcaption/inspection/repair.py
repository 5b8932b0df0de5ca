"""Mends a folder of records from its own whole shards, and says what only the photos and captions can bring back."""

import io
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    REJECTED_FILE,
    SPLITS,
    DatasetInfo,
    RecordSettings,
    Rejection,
    ShardInfo,
    load_dataset_info,
)
from tfcaption.records.examples import PhotoRecord, decode_record
from tfcaption.records.sharding import automatic_shard_count, is_shard_name, order_key, shard_index, shard_name
from tfcaption.records.statistics import ShardStatistics, Totals, VocabularyCounts, build_dataset_info
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import SPECIAL_TOKENS, VOCABULARY_FILE, load_vocabulary
from tfcaption.runtime.paths import as_path, atomic_path


@dataclass
class Repair:
    """What was done to a folder of records, and what is left to do."""

    written: list[str] = field(default_factory=list)  # files
    assumed: list[str] = field(default_factory=list)  # settings that no shard tells, as KEY=VALUE
    lost: list[str] = field(default_factory=list)  # what only the photos and captions can bring back
    rebuild: dict[str, str] = field(default_factory=dict)  # shard -> what is wrong with it
    command: str = ""  # that builds the records again


@dataclass
class _Contents:
    """What all shards hold."""

    shards: list[ShardStatistics] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)  # token id -> word
    counts: Counter[str] = field(default_factory=Counter)  # of every word of the training split
    image_size: int = 0
    wrong: dict[str, str] = field(default_factory=dict)  # shard -> what is wrong with it


def repair_records(folder: str | Path, given: Mapping[str, Any] | None = None) -> Repair:
    """Write `dataset.json` and `vocabulary.txt` again where they are missing or say other than the shards.

    Nothing is written where a shard is missing or damaged, or photos are gone: then the records must be built again.

    Args:
        folder: the records.
        given: settings of `build_records`, where `dataset.json` is gone; for others its defaults are assumed.

    Raises:
        RecordError: there are no shards, or those of two builds; a setting is unknown, or `dataset.json` says it.
    """
    folder, given, done = as_path(folder), given or {}, Repair()
    info = _readable_info(folder)
    if info and given:
        raise RecordError(f"{folder / DATASET_FILE}: says the settings itself; leave out {', '.join(given)}")
    names = _shard_names(folder, info)
    contents = _read(folder, names, info.settings.seed if info else given.get("seed", 0))
    settings = info.settings if info else _settings(contents, names, given, done)
    done.command = _command(folder, settings)
    done.rebuild = contents.wrong
    rejections = _rejections(folder, done)
    words = _vocabulary(folder, contents, done)
    if not done.rebuild and words:
        _describe_again(folder, info, settings, contents, rejections, words, done)
    return done


def _readable_info(folder: Path) -> DatasetInfo | None:
    try:
        return load_dataset_info(folder)
    except RecordError:
        return None


def _shard_names(folder: Path, info: DatasetInfo | None) -> list[str]:
    """Names of all shards that must be there."""
    if info:
        return [shard.name for split in info.splits.values() for shard in split.shards]
    counts: dict[str, int] = {}
    for name in sorted(path.name for path in folder.glob("*.tfrecord") if is_shard_name(path.name)):
        split, _, _, count = name.removesuffix(".tfrecord").split("-")
        if counts.setdefault(split, int(count)) != int(count):
            raise RecordError(f"{folder}: {name} is of another build than the shards before it; remove one of them")
    if not counts:
        raise RecordError(f"{folder}: no shards; make records with python -m beam_jobs.build_records")
    return [shard_name(split, index, count) for split, count in counts.items() for index in range(count)]


def _read(folder: Path, names: Sequence[str], seed: int) -> _Contents:
    contents = _Contents()
    for name in names:
        path = folder / name
        if not path.is_file():
            contents.wrong[name] = "no such file"
            continue
        content = path.read_bytes()
        found = list(tfrecord.salvage_frames(content, name))
        faults = [str(fault) for fault in found if isinstance(fault, RecordError)]
        try:
            photos = [decode_record(data) for data in found if isinstance(data, bytes)]
        except RecordError as error:
            faults.append(str(error))
        if not faults and not _belongs(photos, name, seed):
            faults.append(f"holds photos of another build, or of another seed than {seed}")
        if faults:
            contents.wrong[name] = faults[0].removeprefix(f"{name}: ")
        else:
            digest = sha256(content).hexdigest()
            _count(contents, photos, ShardInfo(name=name, records=len(photos), bytes=len(content), sha256=digest))
    return contents


def _belongs(photos: Sequence[PhotoRecord], name: str, seed: int) -> bool:
    """Whether these photos are those of this shard, in their order."""
    _, index, _, count = name.removesuffix(".tfrecord").split("-")
    ids = [photo.photo_id for photo in photos]
    at_home = all(shard_index(photo, shards=int(count), seed=seed) == int(index) for photo in ids)
    return at_home and ids == sorted(ids, key=lambda photo: order_key(photo, seed=seed))


def _count(contents: _Contents, photos: Sequence[PhotoRecord], info: ShardInfo) -> None:
    import tensorflow as tf
    from PIL import Image

    from tfcaption.preprocessing.tokenizer import tokenize

    result = ShardStatistics(info.name.partition("-")[0], info)
    captions = [caption for photo in photos for caption in photo.captions]
    spoken = iter(tokenize(tf.constant(captions, tf.string)).to_list())
    for photo in photos:
        words = [[word.decode() for word in next(spoken)] for _ in photo.captions]
        result.add(words, photo.token_ids)
        for caption, ids in zip(words, photo.token_ids, strict=True):
            contents.words.update((token, word) for token, word in zip(ids[1:-1], caption, strict=False))
            if result.split == "train":
                contents.counts.update(caption)
    if photos:
        with Image.open(io.BytesIO(photos[0].jpeg)) as image:
            contents.image_size = image.width
    contents.shards.append(result)


def _settings(contents: _Contents, names: Sequence[str], given: Mapping[str, Any], done: Repair) -> RecordSettings:
    """The settings of lost records: what the shards tell, what is given, and the defaults for the rest."""
    import PIL

    told = {"image_size": contents.image_size or 224, "shards": _shards_option(contents, names)}
    assumed = {
        "source": "unknown",
        "resize": "squash",
        "min_count": 5,
        "max_words": 37,
        "seed": 0,
        "shares": {"train": 0.75, "dev": 0.125, "test": 0.125},
        "pillow_version": PIL.__version__,
    }
    done.assumed = [f"{key}={value}" for key, value in assumed.items() if key not in given and key != "seed"]
    try:
        return RecordSettings(**{**assumed, **told, **given})
    except ValueError as error:
        raise RecordError(f"--set: {error}") from error


def _shards_option(contents: _Contents, names: Sequence[str]) -> int | None:
    """`--shards` of the build: None for auto, which gives as many as there are to shards as full as the whole ones."""
    counts = Counter(name.partition("-")[0] for name in names)
    for split, count in counts.items():
        photos = [shard.info.records for shard in contents.shards if shard.split == split]
        if automatic_shard_count(round(count * sum(photos) / max(len(photos), 1))) != count:
            return max(counts.values())
    return None


def _rejections(folder: Path, done: Repair) -> list[Rejection] | None:
    """The lines of `rejected.jsonl`; None where they are lost."""
    path = folder / REJECTED_FILE
    try:
        return [Rejection.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        done.lost.append(f"{REJECTED_FILE}: what was rejected; a training does not read it")
        return None


def _vocabulary(folder: Path, contents: _Contents, done: Repair) -> list[str]:
    """The words of the file, or of the captions where it does not agree with them; empty where both fail."""
    spoken = {token: word for token, word in contents.words.items() if token >= len(SPECIAL_TOKENS)}
    try:
        words = load_vocabulary(folder)
        if all(token < len(words) and words[token] == word for token, word in spoken.items()):
            return words
    except RecordError:
        pass
    words = [*SPECIAL_TOKENS, *(spoken[token] for token in sorted(spoken))]
    if max(spoken, default=0) != len(words) - 1:
        done.lost.append(f"{VOCABULARY_FILE}: words that no caption in whole shards has")
        return []
    if not contents.wrong:
        _write(folder, VOCABULARY_FILE, "".join(f"{word}\n" for word in words), done)
    return words


def _describe_again(
    folder: Path,
    info: DatasetInfo | None,
    settings: RecordSettings,
    contents: _Contents,
    rejections: Sequence[Rejection] | None,
    words: list[str],
    done: Repair,
) -> None:
    lines = rejections or []
    photos = sum(shard.info.records for shard in contents.shards)
    captions = sum(sum(shard.lengths.values()) for shard in contents.shards)
    kinds = Counter(line.kind for line in lines)
    totals = Totals(
        photos=info.photos_in if info else photos + kinds["photo"],
        captions=info.captions_in if info else captions + kinds["caption"] + sum(line.captions for line in lines),
    )
    vocabulary = VocabularyCounts.of(words, contents.counts)
    new = build_dataset_info(contents.shards, lines, settings, vocabulary, totals)
    if info:
        for name in ("rejected_photos", "rejected_captions", "unused_photos", "duplicates"):
            setattr(new, name, getattr(info, name))
        if new.splits == info.splits:
            new.word_counts = info.word_counts  # those of photos that were rejected later, too
        missing = info.photos_in - photos - sum(info.rejected_photos.values())
        if missing:
            described = {shard.name: shard.records for split in info.splits.values() for shard in split.shards}
            done.rebuild = {
                shard.info.name: f"{shard.info.records:,} photos, {described[shard.info.name]:,} were written"
                for shard in contents.shards
                if shard.info.records != described[shard.info.name]
            }
            done.lost.append(f"{missing:,} photos that {DATASET_FILE} counts")
            return
    else:
        done.lost.append(f"duplicates in {DATASET_FILE}: photos that are the same in several splits")
        if kinds["photo"]:
            done.lost.append(f"word_counts in {DATASET_FILE}: the words of rejected photos")
    if new != info:
        _write(folder, DATASET_FILE, new.model_dump_json(indent=1) + "\n", done)


def _write(folder: Path, name: str, text: str, done: Repair) -> None:
    with atomic_path(folder / name) as path:
        path.write_text(text, encoding="utf-8")
    done.written.append(name)


def _command(folder: Path, settings: RecordSettings) -> str:
    """The command that builds the records again."""
    options = {
        "--source": settings.source if settings.source != "unknown" else "auto",
        "--image_size": settings.image_size,
        "--resize": settings.resize,
        "--min_count": settings.min_count,
        "--max_words": settings.max_words,
        "--seed": settings.seed,
        "--shards": settings.shards or "auto",
    }
    shares = " ".join(f"{settings.shares[split]:g}" for split in SPLITS)
    named = " ".join(f"{key} {shlex.quote(str(value))}" for key, value in options.items())
    return (
        f"python -m beam_jobs.build_records --images PHOTOS --captions CAPTIONS {named} --shares {shares} "
        f"--output {shlex.quote(str(folder))} --overwrite"
    )
