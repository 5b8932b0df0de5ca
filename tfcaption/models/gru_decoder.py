"""The GRU decoder: the photo as one vector."""

from typing import Unpack

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.decoder import Decoder, DecoderOptions, DecoderOutput, Memory, State, StepCaptions
from tfcaption.models.layers import dropout, relu
from tfcaption.models.token_layout import TokenLayout

# Dropout streams: a seeded run's masks depend on these numbers.
STATE_DROPOUT = 0
EMBEDDING_DROPOUT = 1
HIDDEN_DROPOUT = 2
OUTPUT_DROPOUT = 3
FEATURE_DROPOUT = 4


class GruDecoder(Decoder):
    """Photo -> initial state of a GRU over word embeddings -> dense layer with the photo added -> logits.

    The memory is a projection of the photo for the dense layer, (photos, dense_units); the state is the GRU's,
    (captions, gru_units).
    """

    sizes = ("gru_units", "dense_units")

    def __init__(self, config: ModelConfig, embedding: np.ndarray, **options: Unpack[DecoderOptions]) -> None:
        super().__init__(config, embedding, **options)
        use_cudnn = options["use_cudnn"]
        # Linear: a tanh saturates within the first epoch, and then every photo gets the same caption.
        self.state_projection = keras.layers.Dense(config.gru_units, name="state_projection")
        self.feature_norm = keras.layers.LayerNormalization(name="feature_norm")
        self.photo_projection = keras.layers.Dense(config.dense_units, use_bias=False, name="photo_projection")
        self.gru = keras.layers.GRU(config.gru_units, return_sequences=True, use_cudnn=use_cudnn, name="gru")
        self.dense = keras.layers.Dense(config.dense_units, name="dense")
        self.build(config)

    def build(self, config: ModelConfig) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        for layer in (self.feature_norm, self.state_projection, self.photo_projection):
            layer.build((None, self.channels))
        self.embedding.build((None,))
        self.gru.build((None, None, self.embedding_units))
        self.dense.build((None, None, config.gru_units))
        self.logits.build((None, None, config.dense_units))
        self.built = True

    def start(
        self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None, *, static_shapes: bool = False
    ) -> tuple[Memory, State]:
        """See `Decoder.start`; features are (photos, channels)."""
        features = dropout(self.feature_norm(features), self.rate, dropout_seed, FEATURE_DROPOUT)
        state = dropout(self.state_projection(features), self.rate, dropout_seed, STATE_DROPOUT)
        return self.photo_projection(features), state

    def teacher_forced(
        self, tokens: TokenLayout, memory: Memory, state: State, dropout_seed: tf.Tensor | None = None
    ) -> DecoderOutput:
        """See `Decoder.teacher_forced`."""
        embedded = dropout(self.embedding(tokens.inputs), self.rate, dropout_seed, EMBEDDING_DROPOUT)
        captions_per_photo = tf.shape(state)[0] // tf.shape(memory)[0]
        photo = tokens.repeat_per_position(tf.repeat(memory, captions_per_photo, axis=0))
        return DecoderOutput(self._output(tokens.run_gru(self.gru, embedded, state), photo, dropout_seed), None)

    def step(self, tokens: tf.Tensor, state: State, memory: Memory, captions: StepCaptions) -> tuple[tf.Tensor, State]:
        """See `Decoder.step`."""
        hidden, (state,) = self.gru.cell(self.embedding(tokens), [state])
        return self._output(hidden, captions.repeat(memory), None), state

    def _output(self, hidden: tf.Tensor, photo: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        dense = relu(self.dense(dropout(hidden, self.rate, seed, HIDDEN_DROPOUT)) + photo)
        return self.logits(dropout(dense, self.rate, seed, OUTPUT_DROPOUT))
