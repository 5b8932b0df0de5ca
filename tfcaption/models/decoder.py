"""The interface of a decoder: a teacher-forced pass over whole captions, and a one-step pass for search."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.layers import Logits
from tfcaption.models.token_layout import TokenLayout
from tfcaption.records.examples import Stage


class Predicted(NamedTuple):
    """What a teacher-forced pass gives."""

    logits: tf.Tensor  # (..., vocabulary) float32, of the target of each position, as the captions lie
    attention: tf.Tensor | None  # (rows, time, regions) float32, how each position looks at its photo; None: it cannot


class Decoder(keras.layers.Layer):
    """Base of all decoders: word embeddings in, logits out.

    Args:
        config: sizes.
        embedding: initial embedding matrix, (vocabulary, units) float32.
        use_cudnn: `auto`, or False where the step is compiled: XLA cannot compile the cuDNN kernel.
        max_tokens: of a caption.
    """

    stage: Stage = "pooled"  # what it takes of ResNet50

    def __init__(self, config: ModelConfig, embedding: np.ndarray, *, use_cudnn: bool | str, max_tokens: int) -> None:
        super().__init__(name="decoder")
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

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[Any, Any]:
        """Memory and state before the first token.

        Args:
            features: (photos, ...) at `stage`.
            dropout_seed: (2,) int32 in training, None otherwise.

        Returns:
            Two nests of tensors, the first axis of each is photos.
        """
        raise NotImplementedError

    def teacher_forced(
        self, captions: TokenLayout, memory: Any, state: Any, dropout_seed: tf.Tensor | None = None
    ) -> Predicted:
        """Teacher-forced pass.

        Args:
            captions: rows of them; a photo's come one after the other, the same number for each.
            memory: as `start` gives it.
            state: as `start` gives it, repeated for each row.
            dropout_seed: as for `start`.
        """
        raise NotImplementedError

    def step(self, tokens: tf.Tensor, state: Any, memory: Any, photos: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """One-step pass.

        Args:
            tokens: (rows,) int.
            state: the first axis of each tensor is rows.
            memory: as `start` gives it.
            photos: (rows,) int32, whose memory belongs to each row.

        Returns:
            (rows, vocabulary) float32 logits of the next token, and the next state.
        """
        raise NotImplementedError
