"""What a user would write instead, for the benchmarks: a Keras sequence, a plain tf.data pipeline, a plain loop.

Written as the tutorials of the field write them, each photo opened and prepared again for every caption.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption.preprocessing import photos
from tfcaption.records import tfrecord
from tfcaption.records.examples import PHOTO_JPEG, PhotoRecord, encode_record
from tfcaption.records.vocabulary import END, OOV, PAD, START
from tfcaption.runtime.errors import UsageError


def find_photos(folder: str | Path) -> list[Path]:
    """All JPEG photos below a folder, sorted.

    Raises:
        ValueError: there is none.
    """
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise UsageError(f"{folder}: no JPEG photo below it")
    return found


def keras_sequence(
    paths: Sequence[Path], captions: Sequence[Sequence[int]], *, longest: int, image_size: int, batch_size: int
) -> Any:
    """A `keras.utils.PyDataset` of pairs of a photo and one caption: pixels, previous words -> next words.

    Args:
        paths: photos, taken in turn.
        captions: token ids from <start> to <end>, taken in turn.
        longest: tokens that all are padded to.
        image_size: pixels, both sides.
        batch_size: pairs a batch.
    """
    import keras
    from PIL import Image

    class Pairs(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(captions) // batch_size

        def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
            rows = range(index * batch_size, (index + 1) * batch_size)
            images = np.zeros((batch_size, image_size, image_size, 3), np.float32)
            tokens = np.zeros((batch_size, longest), np.int32)
            for row, number in enumerate(rows):
                with Image.open(paths[number % len(paths)]) as photo:
                    resized = photo.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
                images[row] = np.asarray(resized, np.float32)
                caption = captions[number % len(captions)]
                tokens[row, : len(caption)] = caption
            images = keras.applications.resnet50.preprocess_input(images)
            return (images, tokens[:, :-1]), tokens[:, 1:]

    return Pairs()


def list_files_pipeline(paths: Sequence[Path], *, image_size: int, batch_size: int) -> Any:
    """A tf.data pipeline over the photo files, with AUTOTUNE throughout: (photos, size, size, 3) float32."""
    import tensorflow as tf

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (image_size, image_size), antialias=True)

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    return files.repeat().map(load, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def keras_captioner(
    *, vocabulary_size: int, image_size: int, weights: str, gru_units: int, dense_units: int, finetuned: bool
) -> Any:
    """ResNet50 + GRU as one Keras model, compiled for `fit`: float32, the encoder inside, padding masked."""
    import keras

    encoder = keras.applications.ResNet50(
        include_top=False,
        weights=None if weights == "random" else weights,
        input_shape=(image_size, image_size, 3),
        pooling="avg",
    )
    encoder.trainable = finetuned
    for layer in encoder.layers:
        if not layer.name.startswith(("conv5_block2", "conv5_block3")):
            layer.trainable = False
    tokens = keras.Input((None,), dtype="int32")
    state = keras.layers.Dense(gru_units)(encoder(encoder.input, training=False))
    embedded = keras.layers.Embedding(vocabulary_size, 100)(tokens)
    hidden = keras.layers.GRU(gru_units, return_sequences=True)(embedded, initial_state=state)
    hidden = keras.layers.Dense(dense_units, activation="relu")(keras.layers.Dropout(0.3)(hidden))
    model = keras.Model([encoder.input, tokens], keras.layers.Dense(vocabulary_size)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, jit_compile=False)
    return model


def keras_word_by_word(captioner: Any, *, longest: int) -> Callable[[Any], list[int]]:
    """A function from one photo's features (1, 2048) to its greedy caption, by `model.predict` on all words so far.

    Args:
        captioner: whose weights a Keras model around it shares.
        longest: tokens that the words so far are padded to.
    """
    import keras
    import tensorflow as tf

    class Step(keras.Model):
        def call(self, inputs: Any) -> Any:
            features, tokens = inputs
            targets = tokens[:, None]  # what comes last is predicted, not read
            return captioner.predict(features, tf.pad(targets, [[0, 0], [0, 0], [0, 1]])).logits[:, 0]

    model = Step()

    def caption(features: Any) -> list[int]:
        words = [START]
        while words[-1] != END and len(words) <= longest:
            padded = np.zeros((1, longest), np.int32)
            padded[0, : len(words)] = words
            logits = model.predict((np.asarray(features), padded), verbose=0)[0, len(words) - 1]
            logits[[PAD, OOV, START]] = -np.inf
            words.append(int(logits.argmax()))
        return words[1:]

    return caption


def plain_records_loop(paths: Sequence[str], *, output: str, processes: int, image_size: int) -> None:
    """What `build_records` does to photos, without Beam: a pool of processes, a shard each at a time."""
    size = -(-len(paths) // (processes * 4))
    shards = [
        (paths[start : start + size], f"{output}/{start:06d}", image_size) for start in range(0, len(paths), size)
    ]
    if processes == 1:
        for shard in shards:
            _write_shard(shard)
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.map(_write_shard, shards, chunksize=1)


def _write_shard(shard: tuple[Sequence[str], str, int]) -> None:
    paths, output, image_size = shard
    with Path(output).open("wb") as stream:
        for path in paths:
            jpeg = photos.prepare_photo(Path(path).read_bytes(), image_size=image_size, resize="squash")
            record = PhotoRecord(photo_id=path, jpeg=jpeg, captions=["a photo"] * 5, token_ids=[[START, 4, 5, END]] * 5)
            stream.write(tfrecord.frame_record(encode_record(record)))


def plain_features_loop(files: Sequence[str], *, image_size: int, weights: str, batch_size: int, output: str) -> None:
    """What `extract_features` does, without Beam: one tf.data loop over all shards, features into one file."""
    from tfcaption.runtime.process import start_tensorflow

    start_tensorflow()
    import tensorflow as tf

    from tfcaption.input_pipeline.parsing import decode_jpeg
    from tfcaption.models.encoder import Encoder

    encoder = Encoder(image_size=image_size, weights=weights, finetuned=False)
    key = {PHOTO_JPEG: tf.io.FixedLenFeature((), tf.string)}
    dataset = (
        tf.data.TFRecordDataset(list(files))
        .map(lambda record: decode_jpeg(tf.io.parse_single_example(record, key)[PHOTO_JPEG]), tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    shape = (None, image_size, image_size, 3)
    extract = tf.function(
        lambda images: tf.cast(encoder(images), tf.float16),
        autograph=False,
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
    )
    with Path(output).open("wb") as stream:
        for images in dataset:
            stream.write(extract(images).numpy().tobytes())
