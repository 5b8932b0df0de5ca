"""Baselines as a user of Keras 3 writes them today: a PyDataset, a plain tf.data pipeline, Keras fit.

Each opens and prepares a photo again for every caption.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tfcaption.models.captioner import Captioner
from tfcaption.records.vocabulary import END, OOV, PAD, START


class KerasSequence(keras.utils.PyDataset):
    """Batches of pairs of a photo and one caption: pixels, previous tokens -> next tokens.

    Args:
        paths: photos, taken in turn.
        captions: token ids from <start> to <end>, taken in turn.
        longest: tokens that all captions are padded to.
        image_size: pixels, both sides.
        batch_size: pairs per batch.
        workers: processes in which `fit` prepares batches; 0: in its own.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        captions: Sequence[Sequence[int]],
        *,
        longest: int,
        image_size: int,
        batch_size: int,
        workers: int = 0,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=workers > 0)
        self.paths, self.captions, self.longest = paths, captions, longest
        self.image_size, self.batch_size = image_size, batch_size

    def __len__(self) -> int:
        return len(self.captions) // self.batch_size

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        size, numbers = self.image_size, range(index * self.batch_size, (index + 1) * self.batch_size)
        images = np.zeros((self.batch_size, size, size, 3), np.float32)
        tokens = np.zeros((self.batch_size, self.longest), np.int32)
        for row, number in enumerate(numbers):
            with Image.open(self.paths[number % len(self.paths)]) as photo:
                resized = photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            images[row] = np.asarray(resized, np.float32)
            caption = self.captions[number % len(self.captions)]
            tokens[row, : len(caption)] = caption
        images = keras.applications.resnet50.preprocess_input(images)
        return (images, tokens[:, :-1]), tokens[:, 1:]


def list_files_pipeline(paths: Sequence[Path], *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """A tf.data pipeline over the photo files, with AUTOTUNE throughout: (photos, size, size, 3) float32."""

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (image_size, image_size), antialias=True)

    names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    return names.repeat().map(load, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def keras_captioner(
    *, vocabulary_size: int, image_size: int, weights: str, gru_units: int, dense_units: int, finetuned: bool
) -> keras.Model:
    """ResNet50 + GRU as one Keras model, compiled for `fit`: float32, the encoder inside, padding masked.

    Keras chooses whether XLA compiles it (`jit_compile="auto"`, its default).
    """
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
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, jit_compile="auto")
    return model


class _StepEnds(keras.callbacks.Callback):
    """When each step of `fit` ended, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.times.append(time.monotonic())


def fit_seconds(model: keras.Model, pairs: KerasSequence, steps: int) -> list[float]:
    """Seconds of each of some steps of `model.fit`, once the batches that were prepared ahead are used up.

    The first step starts the workers and may trace the model, while they fill their queue; none of its batches counts.
    """
    ends = _StepEnds()
    ahead = 1 + (pairs.max_queue_size if pairs.workers else 0)
    model.fit(pairs, steps_per_epoch=ahead + steps, verbose=0, callbacks=[ends])
    return [end - start for start, end in itertools.pairwise(ends.times[ahead - 1 :])]


def keras_word_by_word(captioner: Captioner, *, longest: int) -> Callable[[tf.Tensor], list[int]]:
    """Greedy search by `model.predict` on all previous tokens, once for every word.

    Args:
        captioner: the captioner whose weights are used.
        longest: tokens that the previous tokens are padded to.

    Returns:
        A function from one photo's features (1, ...) to the token ids of its caption, <end> included.
    """

    class NextToken(keras.Model):
        def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            features, tokens = inputs
            targets = tf.pad(tokens[:, None], [[0, 0], [0, 0], [0, 1]])  # `predict` does not read the last target
            return captioner.predict(features, targets).logits[:, 0]

    model = NextToken()

    def caption(features: tf.Tensor) -> list[int]:
        tokens = [START]
        while tokens[-1] != END and len(tokens) <= longest:
            padded = np.zeros((1, longest), np.int32)
            padded[0, : len(tokens)] = tokens
            logits = model.predict((np.asarray(features), padded), verbose=0)[0, len(tokens) - 1]
            logits[[PAD, OOV, START]] = -np.inf
            tokens.append(int(logits.argmax()))
        return tokens[1:]

    return caption
