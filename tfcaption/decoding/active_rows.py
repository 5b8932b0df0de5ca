"""The hypotheses that a step computes: on a CPU only those that continue, and nothing of photos without one."""

from typing import Any, NamedTuple

import tensorflow as tf

from tfcaption.models.decoder import Memory, State, StepCaptions


class ActiveRows(NamedTuple):
    """The hypotheses that the next step computes, and what the decoder knows of them and of their photos.

    Packed, these are the active hypotheses; otherwise all, so that shapes are static.
    """

    rows: tf.Tensor  # (rows,) int32, photo * per_photo + hypothesis of the photo
    decoder_state: State  # nest of (rows, ...)
    memory: Memory  # nest of (photos of the memory, ...)
    memory_index: tf.Tensor  # (photos,) int32, where `memory` holds each photo that has rows


def start_rows(memory: Memory, decoder_state: State, active: tf.Tensor, *, packed: bool) -> ActiveRows:
    """The rows before the first step.

    Args:
        memory: of all photos, as `Decoder.start` returns it.
        decoder_state: of one caption per photo, as `Decoder.start` returns it.
        active: (photos, per_photo) bool.
        packed: whether to compute active hypotheses only.
    """
    photos, per_photo = tf.shape(active)[0], active.shape[1]
    rows = select_rows(active, packed)
    start = ActiveRows(rows, gather_rows(decoder_state, rows // per_photo), memory, tf.range(photos))
    return tf.nest.map_structure(hide_varying_sizes, start) if packed else start


def hide_varying_sizes(values: tf.Tensor) -> tf.Tensor:
    """The tensor, of unknown size along the axes that change from step to step: the first one, and empty ones.

    Unlike with `shape_invariants` of `tf.while_loop`, Grappler cannot see the sizes of the first step either, which it
    takes for those of all steps (TensorFlow 2.21).
    """
    return tf.raw_ops.PlaceholderWithDefault(input=values, shape=(None, *(size or None for size in values.shape[1:])))


def select_rows(active: tf.Tensor, packed: bool) -> tf.Tensor:
    """(rows,) int32: where (photos, per_photo) bool is True if packed, otherwise all."""
    flat = tf.reshape(active, (-1,))
    return tf.cast(tf.where(flat)[:, 0], tf.int32) if packed else tf.range(tf.size(flat))


def step_captions(current: ActiveRows, per_photo: int, *, packed: bool) -> StepCaptions:
    """The rows as captions of the photos in the memory."""
    photos = tf.shape(tf.nest.flatten(current.memory)[0])[0]
    if not packed:
        return StepCaptions(photos, per_photo)
    memory_rows = tf.gather(current.memory_index, current.rows // per_photo)
    return StepCaptions(photos, per_photo, memory_rows * per_photo + current.rows % per_photo)


def next_rows(
    current: ActiveRows, decoder_state: State, active: tf.Tensor, parents: tf.Tensor | None, *, packed: bool
) -> ActiveRows:
    """The rows after a step.

    Args:
        current: the rows that the step computed.
        decoder_state: of these rows after the step.
        active: (photos, per_photo) bool, after the step.
        parents: (photos, per_photo) int32, the hypothesis of the photo that each one extends; None: itself.
        packed: as for `start_rows`.
    """
    photos, per_photo = tf.shape(active)[0], active.shape[1]
    if not packed:
        if parents is not None:
            rows = parents + per_photo * tf.range(photos)[:, None]
            decoder_state = gather_rows(decoder_state, tf.reshape(rows, (-1,)))
        return current._replace(decoder_state=decoder_state)
    rows = select_rows(active, packed)
    extended = rows
    if parents is not None:
        extended = rows // per_photo * per_photo + tf.gather(tf.reshape(parents, (-1,)), rows)
    index = tf.scatter_nd(current.rows[:, None], tf.range(tf.size(current.rows)), (photos * per_photo,))
    decoder_state = gather_rows(decoder_state, tf.gather(index, extended))
    return ActiveRows(rows, decoder_state, *memory_of_active_photos(current, tf.reduce_any(active, 1)))


def memory_of_active_photos(current: ActiveRows, active: tf.Tensor) -> tuple[Memory, tf.Tensor]:
    """The memory and the memory index, without photos that are not active, once half of the memory is of such ones.

    A copy of the memory costs as much as a step, so it does not pay for every photo.

    Args:
        current: the rows that have this memory.
        active: (photos,) bool.
    """

    def shrink() -> tuple[Memory, tf.Tensor]:
        kept = tf.cast(tf.where(active)[:, 0], tf.int32)
        memory_index = tf.scatter_nd(kept[:, None], tf.range(tf.size(kept)), tf.shape(active))
        return gather_rows(current.memory, tf.gather(current.memory_index, kept)), memory_index

    in_memory = tf.shape(tf.nest.flatten(current.memory)[0])[0]
    count = tf.math.count_nonzero(active, dtype=tf.int32)
    return tf.cond(2 * count <= in_memory, shrink, lambda: (current.memory, current.memory_index))


def gather_rows(nest: Any, indices: tf.Tensor) -> Any:
    """A nest of tensors (n, ...) at indices of their first axis."""
    return tf.nest.map_structure(lambda values: tf.gather(values, indices), nest)


def fill_rows(computed: Any, current: ActiveRows, active: tf.Tensor, otherwise: Any, *, packed: bool) -> Any:
    """What a step computed of its rows, as values of all hypotheses.

    Args:
        computed: nest of (rows, ...).
        current: the rows that the step computed.
        active: (photos, per_photo) bool, before the step.
        otherwise: nest of (photos * per_photo, ...), for hypotheses that are not active.
        packed: as for `start_rows`.
    """

    def fill(values: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
        if packed:
            return tf.tensor_scatter_nd_update(default, current.rows[:, None], values)
        return tf.where(tf.reshape(active, (-1, *[1] * (values.shape.rank - 1))), values, default)

    return tf.nest.map_structure(fill, computed, otherwise)
