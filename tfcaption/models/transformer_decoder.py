"""The transformer decoder (Vaswani et al. 2017, arXiv:1706.03762), with normalisation before each part (pre-norm)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.decoder import Decoder, Predicted
from tfcaption.models.encoder import FEATURE_CHANNELS
from tfcaption.models.layers import dropout
from tfcaption.models.token_layout import TokenLayout
from tfcaption.records.examples import Stage

_DROPOUT_PLACES = 3  # of each block
_MASKED = -1e9  # finite, as bfloat16 and float32 know it


class TransformerDecoder(Decoder):
    """Words and their places -> blocks of self-attention, attention over the photo's regions, feed-forward -> logits.

    The memory is each block's keys and values of the regions; the state is how many tokens there are and each block's
    keys and values of them (the cache), so that a step computes one position.
    """

    stage: Stage = "map"

    def __init__(self, config: ModelConfig, embedding: np.ndarray, *, use_cudnn: bool | str, max_tokens: int) -> None:
        super().__init__(config, embedding, use_cudnn=use_cudnn, max_tokens=max_tokens)
        self.max_tokens, self.units = max_tokens, config.transformer_units
        self.words = keras.layers.Dense(self.units, name="words")
        self.places = keras.layers.Embedding(max_tokens, self.units, name="places")
        self.region_normalization = keras.layers.LayerNormalization(name="region_normalization")
        self.regions = keras.layers.Dense(self.units, activation="relu", name="regions")
        self._layers_count = config.transformer_layers
        for index in range(self._layers_count):  # as attributes: a checkpoint leaves out what Keras keeps in a list
            place, name = 10 + _DROPOUT_PLACES * index, f"block_{index}"
            setattr(self, name, _Block(self.units, config.transformer_heads, config.dropout, place, name))
        self.normalization = keras.layers.LayerNormalization(name="normalization")
        self.build()

    def build(self) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        self.embedding.build((None,))
        self.words.build((None, self.embedding_units))
        self.places.build((None,))
        self.region_normalization.build((None, FEATURE_CHANNELS))
        self.regions.build((None, FEATURE_CHANNELS))
        self.normalization.build((None, self.units))
        self.logits.build((None, self.units))
        self.built = True

    @property
    def blocks(self) -> list["_Block"]:
        """In their order."""
        return [getattr(self, f"block_{index}") for index in range(self._layers_count)]

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[Any, Any]:
        """See `Decoder.start`; features are (photos, height, width, 2048)."""
        features = tf.reshape(features, (-1, features.shape[1] * features.shape[2], features.shape[3]))
        features = dropout(self.region_normalization(features), self.rate, dropout_seed, 3)
        regions = dropout(self.regions(features), self.rate, dropout_seed, 0)
        photos = tf.shape(features)[0]
        empty = self.blocks[0].by_head(tf.zeros((photos, self.max_tokens, self.units), regions.dtype))
        cache = tuple((empty, empty) for _ in self.blocks)
        return tuple(block.see(regions) for block in self.blocks), (tf.zeros((photos,), tf.int32), cache)

    def teacher_forced(
        self, captions: TokenLayout, memory: Any, state: Any, dropout_seed: tf.Tensor | None = None
    ) -> Predicted:
        """See `Decoder.teacher_forced`."""
        values = self._embedded(captions.inputs, captions.times, dropout_seed)
        attention = None
        for block, seen in zip(self.blocks, memory, strict=True):
            values, attention = block.teacher_forced(values, captions, seen, dropout_seed)
        return Predicted(self._output(values, dropout_seed), attention)

    def step(self, tokens: tf.Tensor, state: Any, memory: Any, photos: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `Decoder.step`."""
        time, cache = state
        values, caches = self._embedded(tokens, time, None), []
        for block, seen, before in zip(self.blocks, memory, cache, strict=True):
            keys, regions = (tf.gather(part, photos) for part in seen)
            values, after = block.step(values, time, before, (keys, regions))
            caches.append(after)
        return self._output(values, None), (time + 1, tuple(caches))

    def _embedded(self, tokens: tf.Tensor, times: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        return dropout(self.words(self.embedding(tokens)) + self.places(times), self.rate, seed, 1)

    def _output(self, values: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        return self.logits(dropout(self.normalization(values), self.rate, seed, 2))


class _Block(keras.layers.Layer):
    """Self-attention, attention over regions, feed-forward; each added to what came in.

    Keys and values are (n, heads, keys, units / heads) wherever they are kept, so that a step moves them once only.
    """

    def __init__(self, units: int, heads: int, rate: float, place: int, name: str) -> None:
        super().__init__(name=name)
        self.heads, self.rate, self._place = heads, rate, place

        def dense(name: str, outputs: int, inputs: int = units, **options: Any) -> keras.layers.Dense:
            layer = keras.layers.Dense(outputs, name=name, **options)
            layer.build((None, inputs))
            return layer

        def normalization(name: str) -> keras.layers.LayerNormalization:
            layer = keras.layers.LayerNormalization(name=name)
            layer.build((None, units))
            return layer

        self.before_self, self.before_seen = normalization("before_self"), normalization("before_seen")
        self.before_wide = normalization("before_wide")
        self.self_inputs = dense("self_inputs", 3 * units)  # queries, keys, values
        self.self_outputs = dense("self_outputs", units)
        self.queries, self.regions = dense("queries", units), dense("regions", 2 * units)  # keys, values
        self.seen_outputs = dense("seen_outputs", units)
        self.wide, self.narrow = dense("wide", 4 * units, activation="gelu"), dense("narrow", units, 4 * units)
        self.built = True

    def see(self, regions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Keys and values of a photo's regions, by head."""
        keys, values = tf.split(self.regions(regions), 2, -1)
        return self.by_head(keys), self.by_head(values)

    def by_head(self, x: tf.Tensor) -> tf.Tensor:
        """(n, keys, units) -> (n, heads, keys, units / heads)."""
        x = tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1], self.heads, x.shape[-1] // self.heads))
        return tf.transpose(x, (0, 2, 1, 3))

    def teacher_forced(
        self, values: tf.Tensor, captions: TokenLayout, seen: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The values of all positions, and how they look at the regions: (rows, time, regions), a mean over heads."""
        queries, keys, tokens = (
            captions.to_rows(part) for part in tf.split(self.self_inputs(self.before_self(values)), 3, -1)
        )
        rows, time, units = tf.unstack(tf.shape(queries))
        earlier = tf.linalg.band_part(tf.ones((time, time), tf.bool), -1, 0)
        said, _ = self._attend(queries, self.by_head(keys), self.by_head(tokens), earlier)
        values += dropout(self.self_outputs(captions.from_rows(said)), self.rate, seed, self._place)
        queries = captions.to_rows(self.queries(self.before_seen(values)))
        photos = tf.shape(seen[0])[0]
        said, attention = self._attend(tf.reshape(queries, (photos, rows // photos * time, units)), *seen)
        said = captions.from_rows(tf.reshape(said, (rows, time, self.queries.units)))
        values += dropout(self.seen_outputs(said), self.rate, seed, self._place + 1)
        values += dropout(self._feed_forward(values), self.rate, seed, self._place + 2)
        return values, tf.reshape(attention, (rows, time, seen[0].shape[2]))

    def step(
        self, values: tf.Tensor, time: tf.Tensor, cache: tuple[tf.Tensor, tf.Tensor], seen: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        """One position of each row: (rows, units), with what `see` gave for each row's photo; and the next cache."""
        queries, *new = (part[:, None] for part in tf.split(self.self_inputs(self.before_self(values)), 3, -1))
        places = tf.range(cache[0].shape[2])
        here = (places == time[:, None])[:, None, :, None]
        keys, tokens = (tf.where(here, self.by_head(part), old) for part, old in zip(new, cache, strict=True))
        said, _ = self._attend(queries, keys, tokens, (places <= time[:, None])[:, None, None])
        values += self.self_outputs(said[:, 0])
        said, _ = self._attend(self.queries(self.before_seen(values))[:, None], *seen)
        values += self.seen_outputs(said[:, 0])
        return values + self._feed_forward(values), (keys, tokens)

    def _feed_forward(self, values: tf.Tensor) -> tf.Tensor:
        return self.narrow(self.wide(self.before_wide(values)))

    def _attend(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, allowed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scaled dot-product attention of all heads, its softmax in float32.

        Args:
            queries: (n, queries, units).
            keys: (n, heads, keys, units / heads).
            values: as `keys`.
            allowed: bool, broadcast to (n, heads, queries, keys): which keys a query may look at; None: all.

        Returns:
            (n, queries, units), and the attention (n, queries, keys), a mean over heads.
        """
        queries = self.by_head(queries)
        scores = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32) * queries.shape[-1] ** -0.5
        if allowed is not None:
            scores = tf.where(allowed, scores, _MASKED)
        attention = tf.nn.softmax(scores)
        said = tf.transpose(tf.matmul(tf.cast(attention, values.dtype), values), (0, 2, 1, 3))
        shape = tf.shape(said)
        said = tf.reshape(said, (shape[0], shape[1], said.shape[2] * said.shape[3]))
        return said, tf.reduce_mean(attention, 1)
