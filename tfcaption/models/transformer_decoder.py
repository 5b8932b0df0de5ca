"""The transformer decoder (Vaswani et al. 2017, arXiv:1706.03762), with layer normalisation before each part."""

from typing import Any, TypeAlias, Unpack

import keras
import numpy as np
import tensorflow as tf

from tfcaption.config import ModelConfig
from tfcaption.models.decoder import (
    Decoder,
    DecoderOptions,
    DecoderOutput,
    Memory,
    Pairs,
    State,
    StepCaptions,
)
from tfcaption.models.layers import MASKED_SCORE, as_regions, dropout, gelu, real_regions
from tfcaption.models.token_layout import TokenLayout
from tfcaption.records.examples import Stage

# Dropout streams: a seeded run's masks depend on these numbers.
REGION_DROPOUT = 0
EMBEDDING_DROPOUT = 1
OUTPUT_DROPOUT = 2
FEATURE_DROPOUT = 3
FIRST_BLOCK_DROPOUT = 10
SELF_ATTENTION_DROPOUT, CROSS_ATTENTION_DROPOUT, MLP_DROPOUT = range(3)  # offsets within a block
DROPOUTS_PER_BLOCK = 3

KeysValues: TypeAlias = tuple[tf.Tensor, ...]
"""Keys and values (n, heads, keys, units / heads); of regions with padding also the mask of `DecoderBlock._attend`."""


class TransformerDecoder(Decoder):
    """Word and position embeddings -> blocks of self-attention, cross-attention to the photo's regions and MLP ->
    logits.

    Memory: each block's keys and values of the regions, and with `masked` which regions are real. State: the number of
    tokens so far, and each block's keys and values of them (the cache), so that a step computes one position only.
    """

    stage: Stage = "map"
    sizes = ("transformer_units", "transformer_layers", "transformer_heads")

    def __init__(self, config: ModelConfig, embedding: np.ndarray, **options: Unpack[DecoderOptions]) -> None:
        super().__init__(config, embedding, **options)
        self.max_tokens, self.units = options["max_tokens"], config.transformer_units
        self.word_projection = keras.layers.Dense(self.units, name="word_projection")
        self.position_embedding = keras.layers.Embedding(self.max_tokens, self.units, name="position_embedding")
        self.feature_norm = keras.layers.LayerNormalization(name="feature_norm")
        self.region_projection = keras.layers.Dense(self.units, activation="relu", name="region_projection")
        self._layers_count = config.transformer_layers
        for index in range(self._layers_count):  # attributes, since TensorFlow's checkpoints miss Keras' lists
            first_stream, name = FIRST_BLOCK_DROPOUT + DROPOUTS_PER_BLOCK * index, f"block_{index}"
            block = DecoderBlock(self.units, config.transformer_heads, config.dropout, first_stream, name)
            setattr(self, name, block)
        self.output_norm = keras.layers.LayerNormalization(name="output_norm")
        self.build()

    def build(self) -> None:
        """Create all weights at once, so that both passes share them from the start."""
        self.embedding.build((None,))
        self.word_projection.build((None, self.embedding_units))
        self.position_embedding.build((None,))
        self.feature_norm.build((None, self.channels))
        self.region_projection.build((None, self.channels))
        self.output_norm.build((None, self.units))
        self.logits.build((None, self.units))
        self.built = True

    def _indexed_weights(self, other: Decoder, words: Pairs) -> list[tuple[keras.Variable, int, Pairs]]:
        assert isinstance(other, TransformerDecoder)
        positions = [(time, time) for time in range(min(self.max_tokens, other.max_tokens))]
        return [*super()._indexed_weights(other, words), (self.position_embedding.embeddings, 0, positions)]

    @property
    def blocks(self) -> list["DecoderBlock"]:
        """All blocks, first to last."""
        return [getattr(self, f"block_{index}") for index in range(self._layers_count)]

    def start(
        self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None, *, static_shapes: bool = False
    ) -> tuple[Memory, State]:
        """See `Decoder.start`; features are (photos, height, width, channels) or (photos, regions, channels)."""
        features = as_regions(features)
        mask = (real_regions(features)[:, None, None],) if self.masked else ()
        features = dropout(self.feature_norm(features), self.rate, dropout_seed, FEATURE_DROPOUT)
        regions = dropout(self.region_projection(features), self.rate, dropout_seed, REGION_DROPOUT)
        photos = tf.shape(features)[0]
        length = self.max_tokens if static_shapes else 0
        empty = self.blocks[0].split_heads(tf.zeros((photos, length, self.units), regions.dtype))
        caches = tuple((empty, empty) for _ in self.blocks)
        memory = tuple((*block.region_keys_values(regions), *mask) for block in self.blocks)
        return memory, (tf.zeros((photos,), tf.int32), caches)

    def teacher_forced(
        self, tokens: TokenLayout, memory: Memory, state: State, dropout_seed: tf.Tensor | None = None
    ) -> DecoderOutput:
        """See `Decoder.teacher_forced`; the attention is that of the last block."""
        hidden = self._embed(tokens.inputs, tokens.times, dropout_seed)
        attention = None
        for block, regions in zip(self.blocks, memory, strict=True):
            hidden, attention = block.teacher_forced(hidden, tokens, regions, dropout_seed)
        return DecoderOutput(self._output(hidden, dropout_seed), attention)

    def step(self, tokens: tf.Tensor, state: State, memory: Memory, captions: StepCaptions) -> tuple[tf.Tensor, State]:
        """See `Decoder.step`."""
        times, caches = state
        hidden, next_caches = self._embed(tokens, times, None), []
        # A cache that grows has fewer positions before any step, or a number that is unknown when the step is traced.
        is_full = caches[0][0].shape[2] == self.max_tokens
        for block, regions, cache in zip(self.blocks, memory, caches, strict=True):
            hidden, cache = block.step(hidden, times if is_full else None, cache, regions, captions)
            next_caches.append(cache)
        return self._output(hidden, None), (times + 1, tuple(next_caches))

    def _embed(self, tokens: tf.Tensor, times: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        hidden = self.word_projection(self.embedding(tokens)) + self.position_embedding(times)
        return dropout(hidden, self.rate, seed, EMBEDDING_DROPOUT)

    def _output(self, hidden: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        return self.logits(dropout(self.output_norm(hidden), self.rate, seed, OUTPUT_DROPOUT))


class DecoderBlock(keras.layers.Layer):
    """Self-attention, cross-attention to the regions, MLP; the output of each is added to its input.

    Keys and values are stored as (n, heads, keys, units / heads), so that a step does not transpose them again.

    Args:
        units: width of inputs and outputs.
        heads: number of attention heads.
        rate: of dropout.
        first_stream: the first of this block's DROPOUTS_PER_BLOCK dropout streams.
        name: of the layer.
    """

    def __init__(self, units: int, heads: int, rate: float, first_stream: int, name: str) -> None:
        super().__init__(name=name)
        self.heads, self.rate, self._first_stream = heads, rate, first_stream

        def dense(name: str, outputs: int, inputs: int = units, **options: Any) -> keras.layers.Dense:
            layer = keras.layers.Dense(outputs, name=name, **options)
            layer.build((None, inputs))
            return layer

        def normalization(name: str) -> keras.layers.LayerNormalization:
            layer = keras.layers.LayerNormalization(name=name)
            layer.build((None, units))
            return layer

        self.self_attention_norm = normalization("self_attention_norm")
        self.cross_attention_norm = normalization("cross_attention_norm")
        self.mlp_norm = normalization("mlp_norm")
        self.self_attention_qkv = dense("self_attention_qkv", 3 * units)  # queries, keys, values
        self.self_attention_output = dense("self_attention_output", units)
        self.cross_attention_query = dense("cross_attention_query", units)
        self.cross_attention_kv = dense("cross_attention_kv", 2 * units)  # keys, values
        self.cross_attention_output = dense("cross_attention_output", units)
        self.mlp_up = dense("mlp_up", 4 * units)
        self.mlp_down = dense("mlp_down", units, 4 * units)
        self.built = True

    def region_keys_values(self, regions: tf.Tensor) -> KeysValues:
        """Cross-attention keys and values of the regions (photos, regions, units)."""
        keys, values = tf.split(self.cross_attention_kv(regions), 2, -1)
        return self.split_heads(keys), self.split_heads(values)

    def split_heads(self, x: tf.Tensor) -> tf.Tensor:
        """(n, keys, units) -> (n, heads, keys, units / heads)."""
        x = tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1], self.heads, x.shape[-1] // self.heads))
        return tf.transpose(x, (0, 2, 1, 3))

    def teacher_forced(
        self, hidden: tf.Tensor, tokens: TokenLayout, regions: KeysValues, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The block for all positions.

        Args:
            hidden: (..., units) in the layout of the tokens.
            tokens: their layout.
            regions: keys and values of each photo's regions.
            seed: (2,) int32 of dropout in training, None otherwise.

        Returns:
            The next hidden values, and the cross-attention (captions, time, regions), a mean over heads.
        """
        qkv = self.self_attention_qkv(self.self_attention_norm(hidden))
        queries, keys, values = (tokens.to_captions(part) for part in tf.split(qkv, 3, -1))
        captions, time, units = tf.unstack(tf.shape(queries))
        causal = tf.linalg.band_part(tf.ones((time, time), tf.bool), -1, 0)
        attended, _ = self._attend(queries, self.split_heads(keys), self.split_heads(values), causal)
        attended = tokens.from_captions(attended)
        hidden += self._dropout(self.self_attention_output(attended), seed, SELF_ATTENTION_DROPOUT)

        queries = tokens.to_captions(self.cross_attention_query(self.cross_attention_norm(hidden)))
        photos = tf.shape(regions[0])[0]
        # All queries of a photo's captions in one product with its regions.
        attended, attention = self._attend(tf.reshape(queries, (photos, captions // photos * time, units)), *regions)
        attended = tokens.from_captions(tf.reshape(attended, (captions, time, self.cross_attention_query.units)))
        hidden += self._dropout(self.cross_attention_output(attended), seed, CROSS_ATTENTION_DROPOUT)

        hidden += self._dropout(self.mlp_down(gelu(self.mlp_up(self.mlp_norm(hidden)))), seed, MLP_DROPOUT)
        return hidden, tf.reshape(attention, (captions, time, regions[0].shape[2]))

    def step(
        self,
        hidden: tf.Tensor,
        times: tf.Tensor | None,
        cache: KeysValues,
        regions: KeysValues,
        captions: StepCaptions,
    ) -> tuple[tf.Tensor, KeysValues]:
        """The block for one position of each caption.

        Args:
            hidden: (captions, units).
            times: (captions,) int32, the position in a cache of all positions; None: the cache grows by it.
            cache: keys and values of the positions before it.
            regions: keys and values of each photo's regions.
            captions: their photos.

        Returns:
            The next hidden values (captions, units), and the cache with this position.
        """
        qkv = self.self_attention_qkv(self.self_attention_norm(hidden))
        queries, *new = (part[:, None] for part in tf.split(qkv, 3, -1))
        pairs = [(old, self.split_heads(part)) for old, part in zip(cache, new, strict=True)]
        mask = None
        if times is None:
            keys, values = (tf.concat(pair, 2) for pair in pairs)
        else:
            positions = tf.range(cache[0].shape[2])
            is_new = (positions == times[:, None])[:, None, :, None]
            keys, values = (tf.where(is_new, part, old) for old, part in pairs)
            mask = (positions <= times[:, None])[:, None, None]
        attended, _ = self._attend(queries, keys, values, mask)
        hidden += self.self_attention_output(attended[:, 0])
        # All captions of a photo share its regions, which a copy for each of them would cost more than the attention.
        queries = captions.by_photo(self.cross_attention_query(self.cross_attention_norm(hidden)))
        hidden += self.cross_attention_output(captions.from_photo(self._attend(queries, *regions)[0]))
        # `tf.nn.gelu`, since Grappler fuses it with the product before it.
        hidden += self.mlp_down(tf.nn.gelu(self.mlp_up(self.mlp_norm(hidden)), approximate=False))
        return hidden, (keys, values)

    def _dropout(self, values: tf.Tensor, seed: tf.Tensor | None, offset: int) -> tf.Tensor:
        return dropout(values, self.rate, seed, self._first_stream + offset)

    def _attend(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scaled dot-product attention of all heads, its softmax in float32.

        Args:
            queries: (n, queries, units).
            keys: (n, heads, keys, units / heads).
            values: as `keys`.
            mask: bool, broadcast to (n, heads, queries, keys), True where a query may attend to a key; None: all.

        Returns:
            The attended values (n, queries, units), and the attention (n, queries, keys), a mean over heads.
        """
        queries = self.split_heads(queries)
        scores = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32) * queries.shape[-1] ** -0.5
        if mask is not None:
            scores = tf.where(mask, scores, MASKED_SCORE)
        attention = tf.nn.softmax(scores)
        attended = tf.transpose(tf.matmul(tf.cast(attention, values.dtype), values), (0, 2, 1, 3))
        shape = tf.shape(attended)
        attended = tf.reshape(attended, (shape[0], shape[1], attended.shape[2] * attended.shape[3]))
        return attended, tf.reduce_mean(attention, 1)
