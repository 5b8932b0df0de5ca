"""Photos and captions -> records: shards, vocabulary.txt, dataset.json and rejected.jsonl.

Prints a summary and the path of the records. The pipeline is in `pipelines/records.py`.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from beam_jobs.execution.command import import_beam, run_job
from beam_jobs.sources.base import Columns, check_exists
from tfcaption.preprocessing import photos
from tfcaption.preprocessing.vocabulary_learning import MAX_WORDS, MIN_COUNT, check_tokenizer
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    DEFAULT_SHARES,
    SPLITS,
    DatasetInfo,
    RecordSettings,
    load_dataset_info,
)
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import (
    MODEL_FILE,
    SENTENCEPIECE,
    SPECIAL_TOKENS,
    UNICODE,
    VOCABULARY_FILE,
    WORDPIECE,
    WORDS,
    kind_of,
    model_name,
    read_vocabulary,
)
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path, is_local

HIGH_OOV_RATE = 0.1  # Flickr8k with --min_count 5 has 0.03
EXAMPLES = """examples:
  # Flickr8k as its archives unpack it, on all cores of this machine
  python -m beam_jobs.build_records --images Flicker8k_Dataset/ --captions Flickr8k_text/ --output records/

  # MS COCO; your own table; photos with text files beside them
  python -m beam_jobs.build_records --images coco/ --captions coco/annotations/ --output records/
  python -m beam_jobs.build_records --images photos/ --captions captions.csv --columns image caption --output records/
  python -m beam_jobs.build_records --images photos/ --captions photos/ --output records/

  # Flickr30k, refused if a training photo is in Flickr8k's dev or test split
  python -m beam_jobs.build_records --images flickr30k/ --captions flickr30k/ --output records/ \\
      --held_out Flickr8k_text/Flickr_8k.devImages.txt Flickr8k_text/Flickr_8k.testImages.txt

  # several data sets of any layouts as one: ids begin with coco_annotations/, flickr8k/ or mine/
  python -m beam_jobs.build_records --images coco/ Flicker8k_Dataset/ photos/ \\
      --captions coco_annotations/ flickr8k/ mine.csv --output records/

  # photos for a run to go on with (train.start_from=runs/large): its words keep their ids, new ones are added
  python -m beam_jobs.build_records --images photos/ --captions photos/ --output records/ --vocabulary runs/large

  # tar files as WebDataset writes them
  python -m beam_jobs.build_records --images tars/ --captions tars/ --output records/

  # captions in Chinese, Japanese, Thai or another script without spaces
  python -m beam_jobs.build_records --images photos/ --captions captions.csv --output records/ --tokenizer unicode

  # a vocabulary of 4,000 words and pieces of words, from which rare words are put together
  python -m beam_jobs.build_records --images photos/ --captions text/ --output records/ --tokenizer wordpiece:4000

  # smaller photos, words that occur three times or more, one process
  python -m beam_jobs.build_records --images photos/ --captions text/ --output records/ \\
      --image_size 96 --min_count 3 --direct_num_workers 1

Run the same command again to resume after a stop: only shards that are missing or whose photos or captions changed are
made. A file that changed under the same name is noticed only if it was rejected; add --overwrite.
All other options are Apache Beam's own (--runner, --direct_num_workers, ...)."""


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The job's own options, and the rest for Beam."""
    parser = command_parser(
        "beam_jobs.build_records", EXAMPLES, usage="--images DIR --captions DIR --output DIR [options] [Beam options]"
    )
    parser.add_argument(
        "--source",
        nargs="+",
        default=["auto"],
        metavar="LAYOUT",
        help="layout of the captions: flickr8k, flickr30k, karpathy, coco, folder, table, json, parquet, "
        "webdataset, addresses, or one of another package; auto (default) recognises it; one for all --captions, or "
        "one for each",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar=("PHOTO", "CAPTION"),
        help="names of a table's columns, where they are unusual; a third names the column of splits, which then "
        "decides against names of files (train.csv)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        required=True,
        metavar="DIR",
        help="folder of the photos, or a folder above it; one for all --captions, or one for each",
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        required=True,
        metavar="PATH",
        help="file or folder of the captions; several become one data set, in which ids begin with the name of each",
    )
    parser.add_argument(
        "--photos_as_named",
        action="store_true",
        help="the captions name the path of each photo below --images, which is not listed; for so many photos that "
        "listing them takes long; name the file of the captions, since a folder is searched for it",
    )
    parser.add_argument("--output", required=True, help="folder for the records")
    parser.add_argument("--overwrite", action="store_true", help="replace complete records; keep no shard")
    parser.add_argument(
        "--image_size", type=int, default=224, help="side of the photos in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--resize",
        default="squash",
        choices=photos.RESIZE_MODES,
        help="how photos become squares: change the aspect ratio, cut the longer side, or add black borders "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--shards", default="auto", help="shards of the largest split; auto (default): at most 512 photos each"
    )
    parser.add_argument(
        "--tokenizer",
        default=WORDS,
        metavar="NAME",
        help="how captions become tokens: words (default); unicode, for Chinese, Japanese, Thai and other scripts "
        "without spaces, whose characters are words of their own, as emoji are; wordpiece:SIZE, so many words and "
        "pieces of words, learnt from the training split, from which any word can be put together; sentencepiece:FILE, "
        "by a model of your own",
    )
    parser.add_argument(
        "--vocabulary",
        metavar="PATH",
        help="run directory, records or vocabulary.txt whose words come first, with the same ids and whatever their "
        "count; own words are added after them",
    )
    parser.add_argument(
        "--min_count",
        type=int,
        help=f"least count of a word; rarer words become <oov> (default: {MIN_COUNT[WORDS]}; {MIN_COUNT[WORDPIECE]} "
        f"with --tokenizer wordpiece, {MIN_COUNT[SENTENCEPIECE]} with sentencepiece, of a piece)",
    )
    parser.add_argument(
        "--max_words",
        type=int,
        help="most words of a caption; longer ones are cut (default: "
        f"{MAX_WORDS[WORDS]}; {MAX_WORDS[UNICODE]} with --tokenizer unicode or sentencepiece, where characters or "
        "pieces count as words)",
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        metavar=("TRAIN", "DEV", "TEST"),
        help="divide all photos by a hash of their id, whatever splits the data set names; shares of the splits "
        f"(default: {' '.join(map(str, DEFAULT_SHARES.values()))}, of photos whose splits neither captions, lists, "
        "names of files nor folders say)",
    )
    parser.add_argument(
        "--held_out",
        nargs="+",
        default=[],
        metavar="PATH",
        help="photos that must not be trained on: files with a photo's name per line, or records, whose dev and test "
        "splits count",
    )
    parser.add_argument("--allow_overlap", action="store_true", help="train on photos that are held out")
    parser.add_argument("--seed", type=int, default=0, help="seed of shards, order and splits (default: %(default)s)")
    parser.add_argument(
        "--max_rejected",
        type=float,
        metavar="SHARE",
        help="fail if a larger share of photos or captions is rejected (default: 0.01, but up to 5 of them if they are "
        "at most a tenth)",
    )
    arguments, flags = parser.parse_known_args(argv)
    arguments.shards = _shards(parser, arguments.shards)
    arguments.tokenizer = check_tokenizer(arguments.tokenizer)
    for name, defaults in (("min_count", MIN_COUNT), ("max_words", MAX_WORDS)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, defaults[kind_of(arguments.tokenizer)])
    for name, least in (("image_size", 32), ("min_count", 1), ("max_words", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if arguments.shares and (min(arguments.shares) < 0 or abs(sum(arguments.shares) - 1) > 1e-6):
        parser.error(f"--shares must be three numbers that add up to 1, not {arguments.shares}")
    for name in ("images", "source"):
        given, needed = len(getattr(arguments, name)), len(arguments.captions)
        if given not in (1, needed):
            parser.error(f"--{name}: {given} for {needed} --captions; name one for all, or one for each")
        setattr(arguments, name, getattr(arguments, name) * (needed if given == 1 else 1))
    if arguments.columns and len(arguments.columns) not in (2, 3):
        parser.error("--columns takes two or three names: PHOTO CAPTION [SPLIT]")
    if arguments.max_rejected is not None and not 0 <= arguments.max_rejected <= 1:
        parser.error("--max_rejected must be from 0 to 1")
    return arguments, flags


def _shards(parser: argparse.ArgumentParser, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 99_999:
        parser.error(f"--shards must be auto or a number from 1 to 99999, not {value}")
    return int(value)


def build_records(arguments: argparse.Namespace, flags: Sequence[str]) -> DatasetInfo | None:
    """Run the job to its end.

    Args:
        arguments: see `parse_arguments`.
        flags: Beam's options.

    Returns:
        The description of the records, as written; None for a dry run or a template.

    Raises:
        SourceError, UsageError: input or options that no job can start from.
        JobFailed: too much was rejected, which may be known before any photo is read, or records were lost.
    """
    for images, captions in zip(arguments.images, arguments.captions, strict=True):
        if is_local(images) and is_local(captions):
            check_exists(Path(images), Path(captions))
    import_beam()
    import PIL

    from beam_jobs.execution import output_folder
    from beam_jobs.execution.options import beam_options
    from beam_jobs.pipelines import records
    from beam_jobs.sources.held_out import held_out_beside
    from beam_jobs.sources.merging import named
    from beam_jobs.sources.parts import parts_of
    from beam_jobs.sources.reader import find_data_set

    options = beam_options(flags, output=arguments.output)
    tokenizer, model = _tokenizer(arguments.tokenizer, arguments.output)
    first_words = _first_words(arguments.vocabulary, kind_of(tokenizer))
    shares = dict(zip(SPLITS, arguments.shares, strict=True)) if arguments.shares else None
    settings = RecordSettings(
        source=" + ".join(arguments.source),
        image_size=arguments.image_size,
        resize=arguments.resize,
        tokenizer=tokenizer,
        min_count=arguments.min_count,
        max_words=arguments.max_words,
        seed=arguments.seed,
        shards=arguments.shards,
        shares=shares or DEFAULT_SHARES,
        pillow_version=PIL.__version__,
        vocabulary=sha256("\n".join(first_words).encode()).hexdigest() if arguments.vocabulary else "",
    )
    kind, compared = output_folder.RECORDS, ""
    if not arguments.overwrite and (complete := output_folder.read_description(arguments.output, kind, DatasetInfo)):
        compared = _compared(complete.settings, settings)
    output_folder.check_writable(arguments.output, kind, overwrite=arguments.overwrite, compared=compared)
    data_sets = named(
        [
            find_data_set(
                images,
                captions,
                source=source,
                shares=shares,
                seed=arguments.seed,
                columns=Columns(*arguments.columns),
                output=arguments.output,
                photos_as_named=arguments.photos_as_named,
            )
            for images, captions, source in zip(arguments.images, arguments.captions, arguments.source, strict=True)
        ]
    )
    held_out_paths = [path for each in data_sets for path in held_out_beside(each.captions, each.layout.name)]
    job = records.RecordsJob(
        [each.for_workers() for each in data_sets],
        settings.model_copy(update={"source": " + ".join(each.layout.name for each in data_sets)}),
        output=arguments.output,
        max_rejected=arguments.max_rejected,
        held_out=(*arguments.held_out, *map(str, held_out_paths)),
        allow_overlap=arguments.allow_overlap,
        overwrite=arguments.overwrite,
        tokenizer_model=model,
        first_words=first_words,
    )
    return records.run(job, parts_of(*data_sets), options)


def _first_words(path: str | None, kind: str) -> tuple[str, ...]:
    """The words that a vocabulary begins with: all of another one of that kind of tokenizer, or the special tokens."""
    if path is None:
        return SPECIAL_TOKENS
    if kind not in (WORDS, UNICODE):
        raise UsageError(f"--vocabulary {path}: no word can be added to pieces of --tokenizer {kind}; leave it out")
    try:
        named = as_path(path)
        file = named / VOCABULARY_FILE if named.is_dir() else named
        if file.name == VOCABULARY_FILE and (file.parent / DATASET_FILE).is_file():
            theirs = kind_of(load_dataset_info(file.parent).settings.tokenizer)
            if theirs != kind:
                raise UsageError(f"--vocabulary {path}: is of --tokenizer {theirs}, not {kind}; name that one")
        return tuple(read_vocabulary(file))
    except RecordError as error:
        raise UsageError(f"--vocabulary {error}; name a run directory, records or a vocabulary.txt") from error


def _tokenizer(named: str, output: str) -> tuple[str, str]:
    """The name of a tokenizer for the settings, and the path of its model file, if it has one."""
    from beam_jobs.execution.paths import as_path

    if kind_of(named) != SENTENCEPIECE:
        return named, ""
    file = as_path(named.partition(":")[2]).absolute()
    if not file.is_file():
        raise UsageError(f"--tokenizer {named}: no such file")
    if file == as_path(output).absolute() / MODEL_FILE:
        raise UsageError(f"--tokenizer {named}: is in --output, where it would be removed first; name a copy of it")
    return model_name(file.read_bytes()), str(file)


def _compared(complete: RecordSettings, settings: RecordSettings) -> str:
    """How the settings differ from those of complete records; the photos and captions are not compared."""
    from beam_jobs.execution.output_folder import compare_settings
    from beam_jobs.sources.reader import AUTO

    if AUTO in settings.source.split(" + "):  # recognised only when the captions are read
        settings = settings.model_copy(update={"source": complete.source})
    return compare_settings(complete, settings)


def summary(info: DatasetInfo, seconds: float) -> str:
    """Human-readable lines: splits, vocabulary, rejections and speed."""
    written = sum(split.photos for split in info.splits.values())
    lines = [f"{'split':6} {'photos':>8} {'captions':>9} {'oov words':>9} {'cut':>5} {'shards':>6} {'MB':>8}"]
    for name, split in info.splits.items():
        megabytes = sum(shard.bytes for shard in split.shards) / 1e6
        lines.append(
            f"{name:6} {split.photos:8,} {split.captions:9,} {split.oov_rate:9.2%} {split.truncated_captions:5,} "
            f"{len(split.shards):6,} {megabytes:8,.1f}"
        )
    lines.append(
        "oov words: share of words outside the vocabulary, read as <oov>; cut: captions longer than "
        f"{info.settings.max_words} words, shortened"
    )
    tokenizer = info.settings.tokenizer
    unit = "words" if tokenizer == WORDS else f"tokens of --tokenizer {tokenizer}"
    lines.append(f"vocabulary: {info.vocabulary_size:,} {unit}, longest caption {info.max_length} tokens")
    train = info.splits["train"]
    if train.oov_rate > HIGH_OOV_RATE:
        lines.append(
            f"WARNING: {train.oov_rate:.0%} of the words in training captions are outside the vocabulary; a lower "
            f"--min_count than {info.settings.min_count} keeps more"
        )
    if 2 * train.truncated_captions > train.captions:
        lines.append(
            f"WARNING: most training captions are cut to {info.settings.max_words:,} words; a higher --max_words keeps "
            "more of them"
        )
    elif max(train.caption_lengths, default=0) == 3:  # with <start> and <end>
        lines.append(
            "WARNING: every training caption is a single word; if the words have no spaces between them, add "
            "--tokenizer unicode"
        )
    for kind, reasons in (
        ("photos rejected", info.rejected_photos),
        ("captions rejected", info.rejected_captions),
        ("photos unused", info.unused_photos),
        ("other files", info.unused_files),
    ):
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        lines.append(f"{kind}: {counts or 'none'}")
    if info.duplicates:
        examples = [_one_of_each_split(duplicates) for duplicates in info.duplicates[:3]]
        lines.append(
            f"WARNING: identical photos in several splits: {len(info.duplicates):,} ({', '.join(examples)}"
            f"{', ...' if len(info.duplicates) > 3 else ''}), all listed in {DATASET_FILE}"
        )
    lines.append(f"{info.photos_in:,} photos in {seconds:.1f} s: {written / max(seconds, 1e-9):,.0f} photos/s")
    return "\n".join(lines)


def _one_of_each_split(duplicates: dict[str, str]) -> str:
    """The first of some identical photos (id -> split) in each split, and how many more there are."""
    first: dict[str, str] = {}
    for photo, split in duplicates.items():
        first.setdefault(split, photo)
    examples = "; ".join(f"{photo} in {split}" for split, photo in first.items())
    more = len(duplicates) - len(first)
    return f"{examples}; {more:,} more" if more else examples


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(build_records, summary, arguments, flags, noun="records", next_step=_next_step(arguments.output))


def _next_step(output: str) -> str:
    features = "--output features/pooled --stage pooled --weights imagenet"
    return f"python -m beam_jobs.extract_features --records {shlex.quote(output)} {features}"


if __name__ == "__main__":
    sys.exit(main())
