"""Pooled features of the photos of a split, by the encoders of captioners."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfcaption.evaluation.predictions import photo_batches
from tfcaption.input_pipeline.split import Split
from tfcaption.models.captioner import Captioner


def pooled_features(
    captioners: Sequence[Captioner],
    split: Split,
    *,
    batch_size_photos: int,
    most_photos: int | None = None,
    progress: Callable[[int], Any] = lambda done: None,
) -> dict[str, np.ndarray]:
    """The mean over the regions of each photo's features; those of different encoders end to end.

    Args:
        captioners: several with one encoder count once.
        split: as for `caption_split`.
        batch_size_photos: photos per batch.
        most_photos: of a larger split only its first photos are read.
        progress: called after each batch with the number of photos done.

    Returns:
        Photo id -> (channels,) float32.

    Raises:
        RecordError: a photo occurs twice, or a record is damaged.
    """
    encoders = {captioner.encoder.fingerprint("pooled"): captioner.encoder for captioner in captioners}.values()

    @tf.function(autograph=False, reduce_retracing=True)
    def pool(inputs: tf.Tensor) -> tf.Tensor:
        return tf.concat([encoder(inputs, start=split.stage, end="pooled") for encoder in encoders], -1)

    pooled: dict[str, np.ndarray] = {}
    for ids, batch in photo_batches(split, batch_size_photos):
        of_batch = pool(batch["inputs"]).numpy()
        pooled.update((photo_id, own) for photo_id, own in zip(ids, of_batch, strict=True) if photo_id)
        progress(len(pooled))
        if most_photos is not None and len(pooled) >= most_photos:
            break
    return dict(itertools.islice(pooled.items(), most_photos))
