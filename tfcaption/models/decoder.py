"""The interface of a decoder: a teacher-forced pass over captions, and a one-step pass for search.

A new decoder is a subclass of `Decoder`, an entry of `models.captioner.DECODERS` and of `model.decoder` in the config,
and the feature stages that it can train from in `runs.directory.trainable_stages`.
"""

from typing import Any, NamedTuple, NotRequired, TypeAlias, TypedDict, Unpack

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


class DecoderOutput(NamedTuple):
    """Result of a teacher-forced pass."""

    logits: tf.Tensor  # (..., vocabulary) float32, in the layout of the targets
    # (captions, time, regions) float32 over the photo's regions, where it sums to 1 or less (`AttentionDecoder`); None
    # without attention.
    attention: tf.Tensor | None


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
        # Logits, softmax and loss are float32 under every precision policy.
        self.logits = Logits(vocabulary_size, dtype="float32", name="logits")

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[Memory, State]:
        """Memory and state before the first token.

        Args:
            features: (photos, ...) at `stage`.
            dropout_seed: (2,) int32 in training, None otherwise.

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

    def step(
        self, tokens: tf.Tensor, state: State, memory: Memory, photo_indices: tf.Tensor
    ) -> tuple[tf.Tensor, State]:
        """Logits of the next token of each caption.

        Args:
            tokens: (captions,) int, the previous token.
            state: of the captions.
            memory: from `start`.
            photo_indices: (captions,) int32, the photo of each caption in `memory`.

        Returns:
            (captions, vocabulary) float32 logits, and the next state.
        """
        raise NotImplementedError
