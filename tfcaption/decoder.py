"""What all decoders share, and the plain GRU decoder.

A decoder has a teacher-forced pass over whole captions and a one-step pass for search, from the same weights. What it
knows of a photo is its memory, which stays, and its state, which moves on with each token.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfcaption.caption_layout import Captions
from tfcaption.config import ModelConfig
from tfcaption.records.examples import Stage


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Dropout as a pure function of its seed, so that a resumed run draws what an undisturbed one would.

    Args:
        values: any float tensor.
        rate: share of values set to zero; the others are scaled up.
        seed: (2,) int32; None: inference, nothing is dropped.
        place: a number for each place in the model, so that they draw differently.
    """
    if seed is None or not rate:
        return values
    return tf.nn.experimental.stateless_dropout(
        values, rate, tf.random.experimental.stateless_fold_in(seed, place), rng_alg="philox"
    )


def rectified(values: tf.Tensor) -> tf.Tensor:
    """ReLU, in a way that Grappler does not fuse with what comes before it.

    Of product, bias, sum and ReLU within a loop TensorFlow 2.21 makes a broken node on a CPU, and then gives up
    optimising the graph, with two dozen lines of errors.
    """
    return tf.maximum(values, tf.zeros((), values.dtype))


class Logits(keras.layers.Dense):
    """A float32 dense layer whose gradient is formed in the precision of its inputs, as all gradients before it."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(..., units) any float -> (..., vocabulary) float32."""
        return _float32_product(inputs, self.kernel.value) + self.bias


@tf.custom_gradient
def _float32_product(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        upstream = tf.cast(upstream, inputs.dtype)
        axes = list(range(inputs.shape.rank - 1))
        d_kernel = tf.tensordot(inputs, upstream, [axes, axes])
        return tf.tensordot(upstream, tf.cast(kernel, inputs.dtype), [[-1], [1]]), tf.cast(d_kernel, kernel.dtype)

    return tf.tensordot(tf.cast(inputs, kernel.dtype), kernel, 1), gradient


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
        self, captions: Captions, memory: Any, state: Any, dropout_seed: tf.Tensor | None = None
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


class GruDecoder(Decoder):
    """Context -> GRU over word embeddings -> dense, which sees the photo again -> logits.

    Its memory is what the dense layer sees of the photo, (photos, dense_units); its state is (rows, gru_units).
    """

    def __init__(self, config: ModelConfig, embedding: np.ndarray, *, use_cudnn: bool | str, max_tokens: int) -> None:
        super().__init__(config, embedding, use_cudnn=use_cudnn, max_tokens=max_tokens)
        # Linear: a tanh saturates within the first epoch, and then every photo gets the same caption.
        self.context = keras.layers.Dense(config.gru_units, name="context")
        self.normalization = keras.layers.LayerNormalization(name="normalization")
        self.photo = keras.layers.Dense(config.dense_units, use_bias=False, name="photo")
        self.gru = keras.layers.GRU(config.gru_units, return_sequences=True, use_cudnn=use_cudnn, name="gru")
        self.dense = keras.layers.Dense(config.dense_units, name="dense")
        self.build(config)

    def build(self, config: ModelConfig) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        from tfcaption.encoder import FEATURE_CHANNELS

        for layer in (self.normalization, self.context, self.photo):
            layer.build((None, FEATURE_CHANNELS))
        self.embedding.build((None,))
        self.gru.build((None, None, self.embedding_units))
        self.dense.build((None, None, config.gru_units))
        self.logits.build((None, None, config.dense_units))
        self.built = True

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[Any, Any]:
        """See `Decoder.start`; features are (photos, 2048)."""
        features = dropout(self.normalization(features), self.rate, dropout_seed, 4)
        return self.photo(features), dropout(self.context(features), self.rate, dropout_seed, 0)

    def teacher_forced(
        self, captions: Captions, memory: Any, state: Any, dropout_seed: tf.Tensor | None = None
    ) -> Predicted:
        """See `Decoder.teacher_forced`."""
        embedded = dropout(self.embedding(captions.inputs), self.rate, dropout_seed, 1)
        seen = captions.for_positions(tf.repeat(memory, tf.shape(state)[0] // tf.shape(memory)[0], axis=0))
        return Predicted(self._output(captions.recur(self.gru, embedded, state), seen, dropout_seed), None)

    def step(self, tokens: tf.Tensor, state: Any, memory: Any, photos: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `Decoder.step`."""
        output, (state,) = self.gru.cell(self.embedding(tokens), [state])
        return self._output(output, tf.gather(memory, photos), None), state

    def _output(self, hidden: tf.Tensor, seen: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        dense = rectified(self.dense(dropout(hidden, self.rate, seed, 2)) + seen)
        return self.logits(dropout(dense, self.rate, seed, 3))
