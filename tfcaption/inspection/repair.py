"""Rebuilds `dataset.json` and `vocabulary.txt` from intact shards; lists what needs the original photos and captions.

Imports no TensorFlow: the caller passes the tokenizer.
"""

import io
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from tfcaption.records.dataset_info import (
    DATASET_FILE,
    DEFAULT_SHARES,
    REJECTED_FILE,
    SPLITS,
    DatasetInfo,
    RecordSettings,
    Rejection,
    ShardInfo,
    load_dataset_info,
)
from tfcaption.records.examples import PhotoRecord, decode_record
from tfcaption.records.reading import SalvagedShard, salvage_shard
from tfcaption.records.sharding import automatic_shard_count, is_shard_name, order_key, shard_index, shard_name
from tfcaption.records.statistics import Statistics, Totals, VocabularyCounts, build_dataset_info
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import (
    SENTENCEPIECE,
    SPECIAL_TOKENS,
    VOCABULARY_FILE,
    WORDPIECE,
    WORDS,
    Vocabulary,
    kind_of,
    load_vocabulary,
)
from tfcaption.runtime.paths import atomic_path

Tokenize = Callable[[Sequence[str], Vocabulary], list[list[str]]]
"""Captions and a vocabulary, which lacks words where it is lost -> the tokens of each, uncut."""
_Tokenize = Callable[[Sequence[str]], list[list[str]]]


@dataclass
class Repair:
    """What was repaired in a folder of records, and what is left to do."""

    written: list[str] = field(default_factory=list)  # names of files
    assumed: list[str] = field(default_factory=list)  # settings that the shards do not contain, as KEY=VALUE
    lost: list[str] = field(default_factory=list)  # what only the original photos and captions can restore
    rebuild: dict[str, str] = field(default_factory=dict)  # shard -> its fault
    command: str = ""  # rebuilds the records


@dataclass
class _Contents:
    """The contents of all intact shards."""

    splits: dict[str, Statistics] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)  # token id -> word
    word_counts: Counter[str] = field(default_factory=Counter)  # in the training split
    image_size: int = 0
    faults: dict[str, str] = field(default_factory=dict)  # shard -> its first fault

    @property
    def photos(self) -> int:
        return sum(shard.records for shard in self.shards)

    @property
    def captions(self) -> int:
        return sum(split.lengths.total() for split in self.splits.values())

    @property
    def shards(self) -> list[ShardInfo]:
        return [shard for split in self.splits.values() for shard in split.shards]


def repair_records(folder: Path, tokenize: Tokenize, given: Mapping[str, Any] | None = None) -> Repair:
    """Rewrite `dataset.json` and `vocabulary.txt` if they are missing or differ from the shards.

    Writes nothing if a shard is missing or damaged, or photos are lost: then the records must be rebuilt.

    Args:
        folder: the records.
        tokenize: splits captions into tokens.
        given: settings of `build_records` if `dataset.json` is lost; its defaults are assumed for the others.

    Raises:
        RecordError: there are no shards, or shards of two builds; a setting is unknown, or `dataset.json` contains it.
    """
    given, repair = given or {}, Repair()
    info = _readable_info(folder)
    if info and given:
        raise RecordError(f"{folder / DATASET_FILE}: contains the settings; leave out --set {' '.join(given)}")
    names = _shard_names(folder, info)
    settings = info.settings if info else _settings(given, repair)
    before = _vocabulary_before(folder, settings.tokenizer)
    contents = _read_shards(folder, names, settings.seed, lambda captions: tokenize(captions, before))
    if info is None:
        settings = _completed(settings, contents, names, given)
    repair.command = _build_command(folder, settings)
    repair.rebuild = contents.faults
    rejections = _rejections(folder, repair)
    words = _vocabulary(folder, contents, info, repair)
    if words and not repair.rebuild:
        rebuilt = _rebuild_info(info, settings, contents, rejections, words)
        if _lost_photos(info, contents, repair):
            return repair
        if info is None:
            repair.lost.append(f"duplicates in {DATASET_FILE}: photos with equal files in several splits")
            if rebuilt.rejected_photos:
                repair.lost.append(f"word_counts in {DATASET_FILE}: the words of rejected photos")
        if rebuilt != info:
            _write(folder, DATASET_FILE, rebuilt.model_dump_json(indent=1) + "\n", repair)
    return repair


def _readable_info(folder: Path) -> DatasetInfo | None:
    try:
        return load_dataset_info(folder)
    except RecordError:
        return None


def _vocabulary_before(folder: Path, tokenizer: str) -> Vocabulary:
    """The vocabulary in the folder; that of no word where it is lost, but words can be told from the shards."""
    try:
        return load_vocabulary(folder, tokenizer)
    except RecordError as error:
        if kind_of(tokenizer) in (WORDPIECE, SENTENCEPIECE):
            raise RecordError(
                f"{error}; the shards do not say how words are split into pieces, so build the records again"
            ) from error
        return Vocabulary([*SPECIAL_TOKENS], tokenizer)


def _shard_names(folder: Path, info: DatasetInfo | None) -> list[str]:
    """Names of all shards that the records need."""
    if info:
        return [shard.name for split in info.splits.values() for shard in split.shards]
    counts: dict[str, int] = {}
    for name in sorted(path.name for path in folder.glob("*.tfrecord") if is_shard_name(path.name)):
        split, _, count = _parse_name(name)
        if counts.setdefault(split, count) != count:
            raise RecordError(f"{folder}: {name} comes from another build than other shards of {split}; remove one")
    if not counts:
        raise RecordError(f"{folder}: no shards; make records with python -m beam_jobs.build_records")
    return [shard_name(split, index, count) for split, count in counts.items() for index in range(count)]


def _parse_name(name: str) -> tuple[str, int, int]:
    """Split, index and count of a shard."""
    split, index, _, count = name.removesuffix(".tfrecord").split("-")
    return split, int(index), int(count)


def _read_shards(folder: Path, names: Sequence[str], seed: int, tokenize: _Tokenize) -> _Contents:
    contents = _Contents()
    for name in names:
        if not (folder / name).is_file():
            contents.faults[name] = "no such file"
            continue
        shard = salvage_shard(folder / name)
        faults = list(shard.faults)
        try:
            photos = [decode_record(data) for data in shard.records]
        except RecordError as error:
            faults.append(str(error))
        if not faults and not _belong(photos, name, seed):
            faults.append(f"contains photos of another build, or of another seed than {seed}")
        if faults:
            contents.faults[name] = faults[0].removeprefix(f"{name}: ")
        else:
            _add_shard(contents, shard, photos, tokenize)
    return contents


def _belong(photos: Sequence[PhotoRecord], name: str, seed: int) -> bool:
    """Whether these are photos of this shard, in the shard's order."""
    _, index, count = _parse_name(name)
    ids = [photo.photo_id for photo in photos]
    in_their_shard = all(shard_index(photo, shards=count, seed=seed) == index for photo in ids)
    return in_their_shard and ids == sorted(ids, key=lambda photo: order_key(photo, seed=seed))


def _add_shard(contents: _Contents, shard: SalvagedShard, photos: Sequence[PhotoRecord], tokenize: _Tokenize) -> None:
    split = _parse_name(shard.info.name)[0]
    statistics = contents.splits.setdefault(split, Statistics())
    statistics.shards.append(shard.info)
    tokenized = iter(tokenize([caption for photo in photos for caption in photo.captions]))
    for photo in photos:
        captions = [next(tokenized) for _ in photo.captions]
        cut = [len(words) > len(ids) - 2 for words, ids in zip(captions, photo.token_ids, strict=True)]
        statistics.add(photo.token_ids, cut)
        for words, ids in zip(captions, photo.token_ids, strict=True):
            contents.words.update(zip(ids[1:-1], words, strict=False))  # a truncated caption has more words than ids
            if split == "train":
                contents.word_counts.update(words)
    if photos:
        with Image.open(io.BytesIO(photos[0].jpeg)) as image:
            contents.image_size = image.width


def _settings(given: Mapping[str, Any], repair: Repair) -> RecordSettings:
    """The settings of the records, from `given` and from the defaults for all others."""
    in_shards = {"image_size": 224, "shards": None}  # see `_completed`
    assumed = {
        "source": "unknown",
        "resize": "squash",
        "tokenizer": WORDS,
        "min_count": 5,
        "max_words": 37,
        "seed": 0,
        "shares": DEFAULT_SHARES,
        "pillow_version": PIL.__version__,
    }
    repair.assumed = [f"{key}={value}" for key, value in assumed.items() if key not in given and key != "seed"]
    try:
        return RecordSettings(**{**assumed, **in_shards, **given})
    except ValueError as error:
        raise RecordError(f"--set: {error}") from error


def _completed(
    settings: RecordSettings, contents: _Contents, names: Sequence[str], given: Mapping[str, Any]
) -> RecordSettings:
    """The settings with those that the shards show, unless they are given."""
    shown = {"image_size": contents.image_size or settings.image_size, "shards": _shards_option(contents, names)}
    return settings.model_copy(update={name: value for name, value in shown.items() if name not in given})


def _shards_option(contents: _Contents, names: Sequence[str]) -> int | None:
    """`--shards` of the build; None for auto, if that explains the number of shards by the photos per intact shard."""
    counts = Counter(_parse_name(name)[0] for name in names)
    for split, count in counts.items():
        photos = [shard.records for shard in contents.splits.get(split, Statistics()).shards]
        if automatic_shard_count(round(count * sum(photos) / max(len(photos), 1))) != count:
            return max(counts.values())
    return None


def _rejections(folder: Path, repair: Repair) -> list[Rejection]:
    """The lines of `rejected.jsonl`; none if they are lost."""
    path = folder / REJECTED_FILE
    try:
        return [Rejection.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        repair.lost.append(f"{REJECTED_FILE}: the rejections; training does not read them")
        return []


def _vocabulary(folder: Path, contents: _Contents, info: DatasetInfo | None, repair: Repair) -> list[str]:
    """The vocabulary from its file or, if that differs from the shards, from the shards; empty if both fail."""
    known = {token: word for token, word in contents.words.items() if token >= len(SPECIAL_TOKENS)}
    try:
        words = load_vocabulary(folder).words
        if all(token < len(words) and words[token] == word for token, word in known.items()):
            return words
    except RecordError:
        pass
    words = [*SPECIAL_TOKENS, *(known[token] for token in sorted(known))]
    if max(known, default=0) != len(words) - 1 or (info and len(words) != info.vocabulary_size):
        repair.lost.append(f"{VOCABULARY_FILE}: words that occur in no caption of an intact shard")
        return []
    if not contents.faults:
        _write(folder, VOCABULARY_FILE, "".join(f"{word}\n" for word in words), repair)
    return words


def _rebuild_info(
    info: DatasetInfo | None,
    settings: RecordSettings,
    contents: _Contents,
    rejections: Sequence[Rejection],
    words: list[str],
) -> DatasetInfo:
    """The description of the shards; what they do not contain comes from `info` or the rejections."""
    kinds = Counter(rejection.kind for rejection in rejections)
    rejected_captions = kinds["caption"] + sum(rejection.captions for rejection in rejections)
    totals = Totals(
        photos=info.photos_in if info else contents.photos + kinds["photo"],
        captions=info.captions_in if info else contents.captions + rejected_captions,
    )
    vocabulary = VocabularyCounts.of(words, contents.word_counts)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for rejection in rejections:
        reasons[rejection.kind][rejection.reason] += 1
    rebuilt = build_dataset_info(contents.splits, reasons, settings, vocabulary, totals)
    if info:
        for name in ("rejected_photos", "rejected_captions", "unused_photos", "unused_files", "duplicates"):
            setattr(rebuilt, name, getattr(info, name))
        if rebuilt.splits == info.splits:
            rebuilt.word_counts = info.word_counts  # these also count photos that were rejected after tokenization
    return rebuilt


def _lost_photos(info: DatasetInfo | None, contents: _Contents, repair: Repair) -> bool:
    """Whether the shards have fewer photos than `dataset.json`; lists them and their shards."""
    missing = info.photos_in - contents.photos - sum(info.rejected_photos.values()) if info else 0
    if not info or not missing:
        return False
    written = {shard.name: shard.records for split in info.splits.values() for shard in split.shards}
    repair.rebuild = {
        shard.name: f"{shard.records:,} photos, but {written[shard.name]:,} were written"
        for shard in contents.shards
        if shard.records != written[shard.name]
    }
    repair.lost.append(f"{missing:,} photos that {DATASET_FILE} counts")
    return True


def _write(folder: Path, name: str, text: str, repair: Repair) -> None:
    with atomic_path(folder / name) as path:
        path.write_text(text, encoding="utf-8")
    repair.written.append(name)


def _build_command(folder: Path, settings: RecordSettings) -> str:
    """The command that rebuilds the records."""
    options = {
        "--image_size": settings.image_size,
        "--resize": settings.resize,
        "--tokenizer": "sentencepiece:FILE" if kind_of(settings.tokenizer) == SENTENCEPIECE else settings.tokenizer,
        "--min_count": settings.min_count,
        "--max_words": settings.max_words,
        "--seed": settings.seed,
        "--shards": settings.shards or "auto",
    }
    layouts = settings.source.split(" + ") if settings.source != "unknown" else ["auto"]
    arguments = " ".join(f"{key} {shlex.quote(str(value))}" for key, value in options.items())
    arguments = f"--source {' '.join(map(shlex.quote, layouts))} {arguments}"
    if settings.shares != DEFAULT_SHARES:  # with which the data set's own splits count
        arguments += f" --shares {' '.join(f'{settings.shares[split]:g}' for split in SPLITS)}"
    if settings.vocabulary:
        arguments += " --vocabulary VOCABULARY"
    return (
        f"python -m beam_jobs.build_records --images PHOTOS --captions CAPTIONS {arguments} "
        f"--output {shlex.quote(str(folder))} --overwrite"
    )
