"""The GRU decoder: the photo as one vector."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.decoder import Decoder, Predicted
from tfcaption.models.encoder import FEATURE_CHANNELS
from tfcaption.models.layers import dropout, relu
from tfcaption.models.token_layout import TokenLayout


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
        self, captions: TokenLayout, memory: Any, state: Any, dropout_seed: tf.Tensor | None = None
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
        dense = relu(self.dense(dropout(hidden, self.rate, seed, 2)) + seen)
        return self.logits(dropout(dense, self.rate, seed, 3))
