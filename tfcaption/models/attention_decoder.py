"""The attention decoder: every word attends to the regions of its photo."""

from typing import TypeAlias, Unpack

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.decoder import Decoder, DecoderOptions, DecoderOutput, Memory, State, StepCaptions
from tfcaption.models.layers import MASKED_SCORE, as_regions, dropout, masked_mean, real_regions, relu
from tfcaption.models.token_layout import TokenLayout
from tfcaption.records.examples import Stage

# Dropout streams: a seeded run's masks depend on these numbers.
STATE_DROPOUT = 0
EMBEDDING_DROPOUT = 1
HIDDEN_DROPOUT = 2
OUTPUT_DROPOUT = 3
FEATURE_DROPOUT = 5
SENTINEL_DROPOUT = 6

Sentinel: TypeAlias = tuple[tf.Tensor, tf.Tensor]
"""Keys (..., attention_units) and values (..., gru_units), one of each word."""


class AttentionDecoder(Decoder):
    """Attention GRU over the words -> attention over the photo's regions -> language GRU over both -> dense layer with
    the pooled photo added -> logits.

    The attention GRU forms the queries, the language GRU chooses the words, as in Anderson et al. 2018
    (arXiv:1707.07998). Unlike theirs, the attention GRU does not receive the attended regions, so that one matrix
    product computes the attention of all positions. Scores are additive (Bahdanau et al. 2015, arXiv:1409.0473) or
    multiplicative (Luong et al. 2015, arXiv:1508.04025).

    With `config.attention_sentinel` each word has one more choice beside the regions: a sentinel, which it takes as far
    as it needs no region (Lu et al. 2017, arXiv:1612.01887). The sentinel is the attention GRU's state, times a gate.
    Unlike theirs, the gate sees the state after the word and not before it, since every token layout has that at hand,
    and a GRU has no memory cell beside its state. The attention that is returned is that to the regions: it sums to
    1 - beta, where beta is the attention to the sentinel.

    Memory: attention keys (photos, regions, attention_units) and values (photos, regions, gru_units) of the regions,
    a projection of the pooled photo for the dense layer (photos, dense_units), and with `masked` which regions are real
    (photos, regions) bool. State: those of both GRUs, (captions, gru_units) each.
    """

    stage: Stage = "map"
    sizes = ("gru_units", "dense_units", "attention_score", "attention_units", "attention_sentinel")

    def __init__(self, config: ModelConfig, embedding: np.ndarray, **options: Unpack[DecoderOptions]) -> None:
        super().__init__(config, embedding, **options)
        use_cudnn = options["use_cudnn"]
        self.additive = config.attention_score == "bahdanau"
        units = config.gru_units
        self.feature_norm = keras.layers.LayerNormalization(name="feature_norm")
        self.region_projection = keras.layers.Dense(units, activation="relu", name="region_projection")
        self.state_projection = keras.layers.Dense(2 * units, name="state_projection")
        self.photo_projection = keras.layers.Dense(config.dense_units, use_bias=False, name="photo_projection")
        self.attention_keys = keras.layers.Dense(config.attention_units, name="attention_keys")
        self.attention_queries = keras.layers.Dense(config.attention_units, use_bias=False, name="attention_queries")
        self.attention_scores = keras.layers.Dense(1, use_bias=False, name="attention_scores")  # of additive attention
        self.attention_gru = keras.layers.GRU(units, return_sequences=True, use_cudnn=use_cudnn, name="attention_gru")
        self.language_gru = keras.layers.GRU(units, return_sequences=True, use_cudnn=use_cudnn, name="language_gru")
        self.dense = keras.layers.Dense(config.dense_units, name="dense")
        self.has_sentinel = config.attention_sentinel
        if self.has_sentinel:  # last, so that the other layers' initial weights are those of a decoder without it
            self.sentinel_gate = keras.layers.Dense(units, activation="sigmoid", name="sentinel_gate")
            self.sentinel_keys = keras.layers.Dense(config.attention_units, name="sentinel_keys")
        self.build(config)

    def build(self, config: ModelConfig) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        units = config.gru_units
        for layer in (self.feature_norm, self.region_projection, self.state_projection, self.photo_projection):
            layer.build((None, self.channels))
        self.attention_keys.build((None, units))
        self.attention_queries.build((None, units))
        if self.additive:
            self.attention_scores.build((None, config.attention_units))
        self.embedding.build((None,))
        self.attention_gru.build((None, None, self.embedding_units))
        self.language_gru.build((None, None, 2 * units))
        self.dense.build((None, 2 * units))
        self.logits.build((None, config.dense_units))
        if self.has_sentinel:
            self.sentinel_gate.build((None, self.embedding_units + units))
            self.sentinel_keys.build((None, units))
        self.built = True

    def start(
        self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None, *, static_shapes: bool = False
    ) -> tuple[Memory, State]:
        """See `Decoder.start`; features are (photos, height, width, channels) or (photos, regions, channels)."""
        features = as_regions(features)
        real = real_regions(features) if self.masked else None
        features = dropout(self.feature_norm(features), self.rate, dropout_seed, FEATURE_DROPOUT)
        pooled = tf.reduce_mean(features, 1) if real is None else masked_mean(features, real)
        states = dropout(self.state_projection(pooled), self.rate, dropout_seed, STATE_DROPOUT)
        values = self.region_projection(features)
        memory = self.attention_keys(values), values, self.photo_projection(pooled)
        return memory if real is None else (*memory, real), tuple(tf.split(states, 2, -1))

    def teacher_forced(
        self, tokens: TokenLayout, memory: Memory, state: State, dropout_seed: tf.Tensor | None = None
    ) -> DecoderOutput:
        """See `Decoder.teacher_forced`."""
        keys, values, photo, *real = memory
        embedded = dropout(self.embedding(tokens.inputs), self.rate, dropout_seed, EMBEDDING_DROPOUT)
        hidden = tokens.run_gru(self.attention_gru, embedded, state[0])
        queries = tokens.to_captions(self.attention_queries(hidden))
        captions, time = tf.unstack(tf.shape(queries)[:2])
        photos = tf.shape(keys)[0]

        def by_photo(of_captions: tf.Tensor) -> tf.Tensor:
            return tf.reshape(of_captions, (photos, captions // photos * time, of_captions.shape[-1]))

        sentinel = None
        if self.has_sentinel:
            of_words = self._sentinel(embedded, hidden, dropout_seed)
            sentinel = tuple(by_photo(tokens.to_captions(part)) for part in of_words)
        # All queries of a photo's captions in one product with its regions.
        attended, attention = self._attend(by_photo(queries), keys, values, *real, sentinel=sentinel)
        attended = tokens.from_captions(tf.reshape(attended, (captions, time, attended.shape[-1])))
        language = tokens.run_gru(self.language_gru, tf.concat([hidden, attended], -1), state[1])
        attention = tf.reshape(attention, (captions, time, attention.shape[-1]))
        photo = tokens.repeat_per_position(tf.repeat(photo, captions // photos, axis=0))
        return DecoderOutput(self._output(language, attended, photo, dropout_seed), attention)

    def step(self, tokens: tf.Tensor, state: State, memory: Memory, captions: StepCaptions) -> tuple[tf.Tensor, State]:
        """See `Decoder.step`."""
        embedded = self.embedding(tokens)
        _, (hidden,) = self.attention_gru.cell(embedded, [state[0]])
        keys, values, photo, *real = memory
        sentinel = None
        if self.has_sentinel:
            sentinel = tuple(captions.by_photo(part) for part in self._sentinel(embedded, hidden, None))
        # All captions of a photo share its regions, which a copy for each of them would cost more than the attention.
        queries = captions.by_photo(self.attention_queries(hidden))
        attended = captions.from_photo(self._attend(queries, keys, values, *real, sentinel=sentinel)[0])
        _, (language,) = self.language_gru.cell(tf.concat([hidden, attended], -1), [state[1]])
        return self._output(language, attended, captions.repeat(photo), None), (hidden, language)

    def _sentinel(self, embedded: tf.Tensor, hidden: tf.Tensor, seed: tf.Tensor | None) -> Sentinel:
        """The sentinel of each word, from its embedding (..., embedding_units) and the attention GRU's state after it
        (..., gru_units)."""
        values = hidden * self.sentinel_gate(tf.concat([embedded, hidden], -1))
        values = dropout(values, self.rate, seed, SENTINEL_DROPOUT)
        return self.sentinel_keys(values), values

    def _attend(
        self,
        queries: tf.Tensor,
        keys: tf.Tensor,
        values: tf.Tensor,
        real: tf.Tensor | None = None,
        *,
        sentinel: Sentinel | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attention of queries to the regions of their photo, its softmax in float32.

        Args:
            queries: (n, queries, attention_units).
            keys: (n, regions, attention_units).
            values: (n, regions, gru_units).
            real: (n, regions) bool, the regions to attend to; a photo without any attends to its padding, or to the
                sentinel alone. None: all.
            sentinel: of each query, (n, queries, attention_units) and (n, queries, gru_units); None: there is none.

        Returns:
            The attended values (n, queries, gru_units), and the attention to the regions (n, queries, regions) float32,
            whose sum over the regions is 1 without a sentinel.
        """
        if self.additive:
            scores = self.attention_scores(tf.tanh(queries[:, :, None] + keys[:, None]))[..., 0]
        else:
            scores = tf.matmul(queries, keys, transpose_b=True) * keys.shape[-1] ** -0.5
        scores = tf.cast(scores, tf.float32)
        if real is not None:
            scores = tf.where(real[:, None], scores, MASKED_SCORE)
        if sentinel is None:
            attention = tf.nn.softmax(scores)
            return tf.matmul(tf.cast(attention, values.dtype), values), attention
        sentinel_keys, sentinel_values = sentinel
        if self.additive:
            sentinel_scores = self.attention_scores(tf.tanh(queries + sentinel_keys))
        else:
            sentinel_scores = tf.reduce_sum(queries * sentinel_keys, -1, keepdims=True) * keys.shape[-1] ** -0.5
        attention = tf.nn.softmax(tf.concat([scores, tf.cast(sentinel_scores, tf.float32)], -1))
        attention, beta = attention[..., :-1], attention[..., -1:]
        attended = tf.matmul(tf.cast(attention, values.dtype), values)
        return attended + tf.cast(beta, values.dtype) * sentinel_values, attention

    def _output(self, language: tf.Tensor, attended: tf.Tensor, photo: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        inputs = dropout(tf.concat([language, attended], -1), self.rate, seed, HIDDEN_DROPOUT)
        dense = relu(self.dense(inputs) + photo)
        return self.logits(dropout(dense, self.rate, seed, OUTPUT_DROPOUT))
