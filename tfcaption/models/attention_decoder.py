"""The attention decoder: each word looks at the regions of its photo that it is about."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.decoder import Decoder, Predicted
from tfcaption.models.encoder import FEATURE_CHANNELS
from tfcaption.models.layers import dropout, relu
from tfcaption.models.token_layout import TokenLayout
from tfcaption.records.examples import Stage


class AttentionDecoder(Decoder):
    """GRU over the words -> attention over the photo's regions -> second GRU over both -> dense, which sees the whole
    photo again -> logits.

    The first GRU says where to look, the second one what to say, as in Anderson et al. 2018 (arXiv:1707.07998). What
    was seen does not go back into the first one, so a caption's attention is one product over all its positions.
    Scores are additive (Bahdanau et al. 2015, arXiv:1409.0473) or multiplicative (Luong et al. 2015,
    arXiv:1508.04025). The memory is what each region is called by, what it holds, and what the dense layer
    sees of the photo; the state is that of both GRUs.
    """

    stage: Stage = "map"

    def __init__(self, config: ModelConfig, embedding: np.ndarray, *, use_cudnn: bool | str, max_tokens: int) -> None:
        super().__init__(config, embedding, use_cudnn=use_cudnn, max_tokens=max_tokens)
        self.additive = config.attention_score == "bahdanau"
        units = config.gru_units
        self.normalization = keras.layers.LayerNormalization(name="normalization")
        self.regions = keras.layers.Dense(units, activation="relu", name="regions")
        self.context = keras.layers.Dense(2 * units, name="context")
        self.photo = keras.layers.Dense(config.dense_units, use_bias=False, name="photo")
        self.keys = keras.layers.Dense(config.attention_units, name="keys")
        self.queries = keras.layers.Dense(config.attention_units, use_bias=False, name="queries")
        self.scores = keras.layers.Dense(1, use_bias=False, name="scores")  # of additive attention
        self.gru = keras.layers.GRU(units, return_sequences=True, use_cudnn=use_cudnn, name="gru")
        self.language_gru = keras.layers.GRU(units, return_sequences=True, use_cudnn=use_cudnn, name="language_gru")
        self.dense = keras.layers.Dense(config.dense_units, name="dense")
        self.build(config)

    def build(self, config: ModelConfig) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        units = config.gru_units
        for layer in (self.normalization, self.regions, self.context, self.photo):
            layer.build((None, FEATURE_CHANNELS))
        self.keys.build((None, units))
        self.queries.build((None, units))
        if self.additive:
            self.scores.build((None, config.attention_units))
        self.embedding.build((None,))
        self.gru.build((None, None, self.embedding_units))
        self.language_gru.build((None, None, 2 * units))
        self.dense.build((None, 2 * units))
        self.logits.build((None, config.dense_units))
        self.built = True

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[Any, Any]:
        """See `Decoder.start`; features are (photos, height, width, 2048)."""
        features = tf.reshape(features, (-1, features.shape[1] * features.shape[2], features.shape[3]))
        features = dropout(self.normalization(features), self.rate, dropout_seed, 5)
        pooled = tf.reduce_mean(features, 1)
        context = dropout(self.context(pooled), self.rate, dropout_seed, 0)
        regions = self.regions(features)
        return (self.keys(regions), regions, self.photo(pooled)), tuple(tf.split(context, 2, -1))

    def teacher_forced(
        self, captions: TokenLayout, memory: Any, state: Any, dropout_seed: tf.Tensor | None = None
    ) -> Predicted:
        """See `Decoder.teacher_forced`."""
        embedded = dropout(self.embedding(captions.inputs), self.rate, dropout_seed, 1)
        hidden = captions.recur(self.gru, embedded, state[0])
        queries = captions.to_rows(self.queries(hidden))
        rows, time = tf.unstack(tf.shape(queries)[:2])
        photos = tf.shape(memory[0])[0]
        by_photo = tf.reshape(queries, (photos, rows // photos * time, queries.shape[-1]))
        keys, regions, photo = memory
        seen, attention = self._look(by_photo, keys, regions)
        seen = captions.from_rows(tf.reshape(seen, (rows, time, seen.shape[-1])))
        spoken = captions.recur(self.language_gru, tf.concat([hidden, seen], -1), state[1])
        attention = tf.reshape(attention, (rows, time, attention.shape[-1]))
        photo = captions.for_positions(tf.repeat(photo, rows // photos, axis=0))
        return Predicted(self._output(spoken, seen, photo, dropout_seed), attention)

    def step(self, tokens: tf.Tensor, state: Any, memory: Any, photos: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `Decoder.step`."""
        _, (hidden,) = self.gru.cell(self.embedding(tokens), [state[0]])
        keys, regions, photo = (tf.gather(part, photos) for part in memory)
        seen, _ = self._look(self.queries(hidden)[:, None], keys, regions)
        _, (spoken,) = self.language_gru.cell(tf.concat([hidden, seen[:, 0]], -1), [state[1]])
        return self._output(spoken, seen[:, 0], photo, None), (hidden, spoken)

    def _look(self, queries: tf.Tensor, keys: tf.Tensor, regions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(n, queries, units), (n, regions, units) twice -> what each sees, and its attention in float32."""
        if self.additive:
            scores = self.scores(tf.tanh(queries[:, :, None] + keys[:, None]))[..., 0]
        else:
            scores = tf.matmul(queries, keys, transpose_b=True) * keys.shape[-1] ** -0.5
        attention = tf.nn.softmax(tf.cast(scores, tf.float32))
        return tf.matmul(tf.cast(attention, regions.dtype), regions), attention

    def _output(self, spoken: tf.Tensor, seen: tf.Tensor, photo: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        dense = relu(self.dense(dropout(tf.concat([spoken, seen], -1), self.rate, seed, 2)) + photo)
        return self.logits(dropout(dense, self.rate, seed, 3))
