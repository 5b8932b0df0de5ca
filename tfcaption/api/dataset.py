"""`dataset`: the photos and captions of records or features as a tf.data pipeline, for models of one's own."""

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from tfcaption.api.process import tensorflow_quiet
from tfcaption.evaluation.results import split_name
from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.input_pipeline.split import open_split
from tfcaption.records.dataset import Dataset, load_dataset
from tfcaption.records.dataset_info import FEATURES_FILE, load_features_info
from tfcaption.records.folder_kinds import has_file
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import END, PAD, WORDS, Vocabulary
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class DataInfo:
    """What a data set holds; `dataset(...).info`.

    Attributes:
        vocabulary: the tokens in the order of their ids; the first four are `<pad>`, `<oov>`, `<start>`, `<end>`.
        photos: split -> number of photos.
        captions: split -> number of captions.
        max_tokens: of the longest caption, with `<start>` and `<end>`.
        stage: "photo" for pixels; "trunk", "map" or "pooled" for features.
        shape: of one photo's inputs.
        encoder: names of the encoders that made the features; none for pixels.
        tokenizer: its name, as `build_records --tokenizer` takes it, but for SentencePiece with a hash of its model.
        tokenizer_model: the content of its model file; empty for those that have none.
    """

    vocabulary: list[str]
    photos: dict[str, int]
    captions: dict[str, int]
    max_tokens: int
    stage: str
    shape: tuple[int, ...]
    encoder: tuple[str, ...] = ()
    tokenizer: str = WORDS
    tokenizer_model: bytes = field(default=b"", repr=False)

    @overload
    def encode(self, captions: str) -> list[int]: ...

    @overload
    def encode(self, captions: list[str] | tuple[str, ...]) -> list[list[int]]: ...

    def encode(self, captions: str | list[str] | tuple[str, ...]) -> list[int] | list[list[int]]:
        """Token ids of a caption, or of each of several, from `<start>` to `<end>`; words outside the vocabulary are
        `<oov>`."""
        with tensorflow_quiet():
            from tfcaption.preprocessing.tokenizer import Tokenizer  # here: imports TensorFlow

            tokenizer = Tokenizer(Vocabulary(self.vocabulary, self.tokenizer, self.tokenizer_model))
            texts = [captions] if isinstance(captions, str) else captions
            most = self.max_tokens - 1
            tokens = [[*each[:-1][:most], END] for each in tokenizer.encode(texts, max_words=most)]
        return tokens[0] if isinstance(captions, str) else tokens

    def decode(self, tokens: Any) -> Any:
        """The caption of (time,) token ids, or a list of captions of (..., time) ones, which may be padded.

        Args:
            tokens: an array, tensor or list of int; what follows `<end>` is ignored.
        """
        with tensorflow_quiet():
            import tensorflow as tf  # here: so that `import tfcaption` is quick

            from tfcaption.preprocessing.tokenizer import Tokenizer

            tokenizer = Tokenizer(Vocabulary(self.vocabulary, self.tokenizer, self.tokenizer_model))
            decoded = tokenizer.decode(tf.convert_to_tensor(tokens)).numpy()
        return decoded.decode() if isinstance(decoded, bytes) else _strings(decoded.tolist())


def _strings(captions: Any) -> Any:
    return [_strings(each) for each in captions] if isinstance(captions, list) else captions.decode()


def dataset(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    batch_size: int,
    records: str | os.PathLike[str] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    captions: Literal["all", "one"] = "all",
    as_supervised: bool = False,
) -> "tf.data.Dataset":
    """The photos and captions of a split, once per iteration, as batches.

        ds = tfcaption.dataset("records/", "train", batch_size=32)
        print(ds.info.photos, next(iter(ds))["tokens"].shape)

    Args:
        folder: records of build_records, or features of extract_features.
        split: "train", "dev" ("val") or "test".
        batch_size: photos of a batch; the last one may have fewer.
        records: where `folder` holds features: the records that they were made from.
        shuffle: another order in each iteration; otherwise the order of the shards.
        seed: of the order.
        captions: "all" of each photo, or "one"; with `shuffle` another one in each iteration.
        as_supervised: pairs for Keras' `fit` instead of dictionaries.

    Returns:
        A dataset with the attribute `info`, a `DataInfo`. Its elements are dictionaries:

            photo_id: (photos,) string.
            inputs: (photos, size, size, 3) uint8 pixels, or (photos, ...) float32 features.
            tokens: (photos, captions, time) int32, from <start> to <end>, padded with 0; time is that of the longest
                caption in the batch, and photos with fewer captions have rows of 0.

        With `as_supervised` they are `((inputs, tokens), targets)`, a row for each caption: `tokens` (rows, time)
        without the last one, `targets` (rows, time) without `<start>`; train with
        `keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)`.

    Raises:
        RecordError: the folder holds no complete records or features, or a shard is missing.
        UsageError: `batch_size` is below 1, or `records` is missing.
        tf.errors.DataLossError: (in an iteration) a record is damaged; `tfcaption inspect` names it.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size {batch_size}: must be at least 1")
    opened = _load(as_path(folder), None if records is None else as_path(records))
    found = open_split(split_name(split), opened, buckets=1, by_photo=True, further_views=shuffle)
    with tensorflow_quiet():
        import tensorflow as tf  # here: so that `import tfcaption` is quick

        from tfcaption.input_pipeline.batches import make_batches

        size = min(batch_size, max(found.photos, 1))
        options = BatchOptions(size, captions, shuffle_seed=seed if shuffle else None)
        batches = make_batches(found, options, epochs=_iteration_number(tf))
        count = -(-found.photos // size)
        # The pipeline of training fills every batch up with empty rows; here nothing but photos is expected.
        result = batches.take(count).map(lambda batch: _without_empty_rows(tf, batch))
        if as_supervised:
            result = result.map(lambda batch: _pairs(tf, batch))
        result = result.apply(tf.data.experimental.assert_cardinality(count))
    result.info = _info(opened)
    return result


def _load(folder: Path, records: Path | None) -> Dataset:
    if not has_file(folder, FEATURES_FILE):
        return load_dataset(folder)
    if records is None:
        raise UsageError(f"{folder}: holds features, which name no words; add records=FOLDER, the records they are of")
    loaded = load_dataset(records, folder)
    if load_features_info(folder).settings.records != loaded.info.fingerprint():
        raise RecordError(f"{folder}: made from other records than {records}")
    return loaded


def _info(opened: Dataset) -> DataInfo:
    splits = opened.info.splits
    return DataInfo(
        vocabulary=list(opened.vocabulary.words),
        photos={name: split.photos for name, split in splits.items()},
        captions={name: split.captions for name, split in splits.items()},
        max_tokens=opened.info.max_length,
        stage=opened.stage,
        shape=opened.shape,
        encoder=tuple(opened.features.encoder_names) if opened.features else (),
        tokenizer=opened.vocabulary.tokenizer,
        tokenizer_model=opened.vocabulary.model,
    )


def _iteration_number(tf: Any) -> Any:
    """A dataset of one element: how often it was iterated before. TensorFlow's own counters of iterations depend on the
    seed of the whole process."""
    numbers = itertools.count()

    def number() -> np.int64:
        return np.int64(next(numbers))

    return tf.data.Dataset.range(1).map(lambda _: tf.ensure_shape(tf.numpy_function(number, [], tf.int64), ()))


def _without_empty_rows(tf: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The photos of a batch, padded to its own longest caption; features as float32."""
    kept = tf.where(batch["photo_id"] != "")[:, 0]
    inputs, tokens = tf.gather(batch["inputs"], kept), tf.gather(batch["tokens"], kept)
    longest = tf.reduce_max(tf.math.count_nonzero(tokens, -1, dtype=tf.int32))
    return {
        "photo_id": tf.gather(batch["photo_id"], kept),
        "inputs": inputs if inputs.dtype == tf.uint8 else tf.cast(inputs, tf.float32),
        "tokens": tokens[..., :longest],
    }


def _pairs(tf: Any, batch: dict[str, Any]) -> tuple[tuple[Any, Any], Any]:
    """A row for each caption: ((inputs, tokens before each target), targets)."""
    exists = tf.where(batch["tokens"][..., 0] != PAD)  # (captions, 2): photo, caption
    tokens = tf.gather_nd(batch["tokens"], exists)
    inputs = tf.gather(batch["inputs"], exists[:, 0])
    return (inputs, tokens[:, :-1]), tokens[:, 1:]
