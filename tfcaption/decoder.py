"""The GRU decoder: a teacher-forced pass over whole captions and a one-step pass for search, from the same weights."""

import keras
import numpy as np
import tensorflow as tf

from tfcaption.gru import Packed, packed_gru


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


class GruDecoder(keras.layers.Layer):
    """Context -> GRU over word embeddings -> dense -> logits over the vocabulary.

    Args:
        vocabulary_size: words, special tokens included.
        embedding: initial embedding matrix, (vocabulary, units) float32.
        train_embedding: whether it trains.
        gru_units: width of the GRU and of the context that is its initial state.
        dense_units: width of the layer before the logits.
        dropout: rate, see `dropout`.
        use_cudnn: `auto`, or False where the step is compiled: XLA cannot compile the cuDNN kernel.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        embedding: np.ndarray,
        train_embedding: bool,
        gru_units: int,
        dense_units: int,
        dropout: float,
        use_cudnn: bool | str,
    ) -> None:
        super().__init__(name="decoder")
        self.rate = dropout
        # Linear: a tanh saturates within the first epoch, and then every photo gets the same caption.
        self.context = keras.layers.Dense(gru_units, name="context")
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            embedding.shape[1],
            embeddings_initializer=keras.initializers.Constant(embedding),
            trainable=train_embedding,
            name="embedding",
        )
        self.gru = keras.layers.GRU(gru_units, return_sequences=True, use_cudnn=use_cudnn, name="gru")
        self.dense = keras.layers.Dense(dense_units, activation="relu", name="dense")
        # Logits, softmax and loss are float32 under every precision policy.
        self.logits = Logits(vocabulary_size, dtype="float32", name="logits")
        self.build(embedding.shape[1], gru_units, dense_units)

    def build(self, embedding_units: int, gru_units: int, dense_units: int) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        from tfcaption.encoder import FEATURE_CHANNELS

        self.context.build((None, FEATURE_CHANNELS))
        self.embedding.build((None,))
        self.gru.build((None, None, embedding_units))
        self.dense.build((None, None, gru_units))
        self.logits.build((None, None, dense_units))
        self.built = True

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """The state before the first token: (photos, 2048) pooled features -> (photos, gru_units)."""
        return dropout(self.context(features), self.rate, dropout_seed, 0)

    def call(self, tokens: tf.Tensor, state: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Teacher-forced pass.

        Args:
            tokens: (rows, time) int, beginning with <start>. Padding needs no mask: it comes after all real tokens,
                and the loss leaves it out.
            state: (rows, gru_units), as `start` gives it.
            dropout_seed: (2,) int32 in training, None otherwise.

        Returns:
            (rows, time, vocabulary) float32 logits of the token after each.
        """
        embedded = dropout(self.embedding(tokens), self.rate, dropout_seed, 1)
        return self._output(self.gru(embedded, initial_state=state), dropout_seed)

    def packed(self, captions: Packed, state: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Teacher-forced pass that leaves out the padding: faster on a CPU, its shapes are not static.

        Args:
            captions: as `pack` gives them.
            state: (rows, gru_units), in the order of the rows before they were packed.
            dropout_seed: as for `call`.

        Returns:
            (positions, vocabulary) float32 logits of the targets.
        """
        embedded = dropout(self.embedding(captions.inputs), self.rate, dropout_seed, 1)
        kernel, recurrent_kernel, bias = (
            tf.cast(weight.value, embedded.dtype)
            for weight in (self.gru.cell.kernel, self.gru.cell.recurrent_kernel, self.gru.cell.bias)
        )
        projected = tf.matmul(embedded, kernel) + bias[0]
        hidden = packed_gru(projected, tf.gather(state, captions.order), recurrent_kernel, bias[1], captions.counts)
        return self._output(hidden, dropout_seed)

    def step(self, tokens: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One-step pass: (rows,) int and (rows, gru_units) -> (rows, vocabulary) float32 logits and the next state."""
        output, (state,) = self.gru.cell(self.embedding(tokens), [state])
        return self._output(output, None), state

    def _output(self, hidden: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        dense = self.dense(dropout(hidden, self.rate, seed, 2))
        return self.logits(dropout(dense, self.rate, seed, 3))
