"""The interface of a decoder: a teacher-forced pass over captions, and a one-step pass for search.

A new decoder is a subclass of `Decoder`, an entry of `models.captioner.DECODERS` and of `model.decoder` in the config,
and the feature stages that it can train from in `runs.directory.trainable_stages`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, NotRequired, TypeAlias, TypedDict, Unpack

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.layers import Logits
from tfcaption.models.token_layout import TokenLayout
from tfcaption.records.examples import Stage

Memory: TypeAlias = Any
"""What a decoder reads of the photos at every token: a nest of tensors (photos, ...)."""

State: TypeAlias = Any
"""What a decoder passes from token to token: a nest of tensors (captions, ...)."""


Pairs: TypeAlias = Sequence[tuple[int, int]]
"""What two decoders have in common: (index in this one, index in the other)."""


class DecoderOutput(NamedTuple):
    """Result of a teacher-forced pass."""

    logits: tf.Tensor  # (..., vocabulary) float32, in the layout of the targets
    # (captions, time, regions) float32 over the photo's regions, where it sums to 1 or less (`AttentionDecoder`); None
    # without attention.
    attention: tf.Tensor | None


class StepCaptions:
    """The captions of one step: all, or some, of equally many captions of each photo.

    Args:
        photos: photos of the memory, int or () int32.
        per_photo: captions of each photo.
        rows: (captions,) int32, the captions that the step computes: photo * per_photo + caption of the photo, each at
            most once. None: all, in this order.
    """

    def __init__(self, photos: tf.Tensor | int, per_photo: int, rows: tf.Tensor | None = None) -> None:
        self._photos, self._per_photo, self._rows = photos, per_photo, rows

    def repeat(self, values: tf.Tensor) -> tf.Tensor:
        """Values of photos (photos, ...), for each of their captions: (captions, ...)."""
        if self._rows is None:
            return tf.repeat(values, self._per_photo, axis=0)
        return tf.gather(values, self._rows // self._per_photo)

    def by_photo(self, values: tf.Tensor) -> tf.Tensor:
        """(captions, units) -> (photos, per_photo, units), zeros for captions that the step does not compute."""
        if self._rows is not None:
            shape = (self._photos * self._per_photo, values.shape[-1])
            values = tf.scatter_nd(self._rows[:, None], values, shape)
        return tf.reshape(values, (-1, self._per_photo, values.shape[-1]))

    def from_photo(self, values: tf.Tensor) -> tf.Tensor:
        """(photos, per_photo, units) -> (captions, units)."""
        values = tf.reshape(values, (-1, values.shape[-1]))
        return values if self._rows is None else tf.gather(values, self._rows)


class DecoderOptions(TypedDict):
    """What every decoder is told about its input, its captions and the device."""

    shape: tuple[
        int, ...
    ]  # of a photo's features at `stage`: (channels,), (height, width, channels), (regions, channels)
    masked: NotRequired[bool]  # whether regions that are all zeros are padding; False if left out
    use_cudnn: bool | str  # `auto`, or False where the step is compiled, since XLA cannot compile the cuDNN kernel
    max_tokens: int  # of a caption


class Decoder(keras.layers.Layer):
    """Base of all decoders: word embeddings in, logits out.

    Args:
        config: sizes.
        embedding: initial embedding matrix, (vocabulary, units) float32.
        options: what every decoder is told, see `DecoderOptions`.
    """

    stage: Stage = "pooled"  # the encoder's stage that the decoder takes
    sizes: ClassVar[tuple[str, ...]] = ()  # fields of `ModelConfig` that say which weights it has, and what they mean

    def __init__(self, config: ModelConfig, embedding: np.ndarray, **options: Unpack[DecoderOptions]) -> None:
        super().__init__(name="decoder")
        self.channels, self.masked = options["shape"][-1], options.get("masked", False)
        self.rate = config.dropout
        vocabulary_size, self.embedding_units = embedding.shape
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            self.embedding_units,
            embeddings_initializer=keras.initializers.Constant(embedding),
            trainable=config.train_embedding,
            name="embedding",
        )
        # Logits, softmax and loss are float32 under every precision policy. `Logits` casts its inputs itself.
        self.logits = Logits(vocabulary_size, dtype="float32", autocast=False, name="logits")

    @property
    def parts(self) -> "Sequence[Decoder]":
        """The decoders whose logits are averaged: itself."""
        return [self]

    def take_weights(self, other: "Decoder", words: Pairs) -> None:
        """Take over the weights of a decoder that has other words.

        What the other one lacks, such as the weights of new words, stays as it is.

        Args:
            other: of the same class and sizes.
            words: token ids of the words that both have.

        Raises:
            ValueError: another weight has another shape; the message names it.
        """
        indexed = {id(variable): (axis, pairs) for variable, axis, pairs in self._indexed_weights(other, words)}
        for variable, source in zip(self.weights, other.weights, strict=True):
            value = source.numpy()
            if id(variable) in indexed:
                axis, pairs = indexed[id(variable)]
                value = _with_rows(variable.numpy(), value, axis, pairs)
            if value.shape != tuple(variable.shape):
                raise ValueError(f"{variable.path} is {tuple(variable.shape)} here and {value.shape} there")
            variable.assign(value)

    def _indexed_weights(self, other: "Decoder", words: Pairs) -> list[tuple[keras.Variable, int, Pairs]]:
        """The weights that are taken over one by one along an axis: (weight, axis, pairs)."""
        return [(self.embedding.embeddings, 0, words), (self.logits.kernel, 1, words), (self.logits.bias, 0, words)]

    def start(
        self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None, *, static_shapes: bool = False
    ) -> tuple[Memory, State]:
        """Memory and state before the first token.

        Args:
            features: (photos, ...) at `stage`.
            dropout_seed: (2,) int32 in training, None otherwise.
            static_shapes: whether all states have equal shapes, which XLA requires. Otherwise an axis that is empty at
                the start grows from step to step.

        Returns:
            The memory, and the state of one caption per photo.
        """
        raise NotImplementedError

    def teacher_forced(
        self, tokens: TokenLayout, memory: Memory, state: State, dropout_seed: tf.Tensor | None = None
    ) -> DecoderOutput:
        """Logits of all targets, each from the reference's tokens before it.

        Args:
            tokens: of captions; those of one photo are adjacent, and every photo has equally many.
            memory: from `start`.
            state: from `start`, repeated for each caption.
            dropout_seed: as for `start`.
        """
        raise NotImplementedError

    def step(self, tokens: tf.Tensor, state: State, memory: Memory, captions: StepCaptions) -> tuple[tf.Tensor, State]:
        """Logits of the next token of each caption.

        Args:
            tokens: (captions,) int, the previous token.
            state: of the captions, which all have equally many tokens.
            memory: from `start`.
            captions: their photos in `memory`.

        Returns:
            (captions, vocabulary) float32 logits, and the next state.
        """
        raise NotImplementedError


def _with_rows(values: np.ndarray, others: np.ndarray, axis: int, pairs: Pairs) -> np.ndarray:
    """A copy of an array that has some rows along an axis from another one."""
    changed = np.moveaxis(values, axis, 0).copy()
    ours, theirs = np.array(pairs).T
    changed[ours] = np.moveaxis(others, axis, 0)[theirs]
    return np.moveaxis(changed, 0, axis)
