"""What an encoder gives and costs: sizes of its stages, weights, places to split it, and its measured speed."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcaption.backbones.cutting import cuts, only_paths, split
from tfcaption.backbones.loading import Backbone
from tfcaption.backbones.preprocessing import preprocess

BATCH = 32  # photos
BATCHES = 6


@dataclass(frozen=True)
class Summary:
    """Figures of an encoder for photos of one size."""

    regions: int
    channels: int
    stage_bytes: dict[str, int]  # stage -> bytes of one photo's features, float16
    parameters: int
    parameters_beyond: int  # the default cut: those that the finetuned variant trains
    photos_per_second: float
    shapes: dict[str, tuple[int, ...]]  # each of `cuts` -> shape of one photo's features there


def summarize(backbone: Backbone, *, progress: Callable[[], None] = lambda: None) -> Summary:
    """Measure an encoder, on random photos.

    Args:
        backbone: as it is loaded.
        progress: called after each of `BATCHES` batches.
    """
    model = backbone.model
    trunk, head = split(model, backbone.cut)
    paths = only_paths(model)
    shapes = {name: tuple(paths[name].shape[1:]) for name in cuts(model)}
    regions, channels = math.prod(model.output.shape[1:-1]), model.output.shape[-1]
    sizes = {"trunk": math.prod(trunk.output.shape[1:]), "map": regions * channels, "pooled": channels}
    return Summary(
        regions=regions,
        channels=channels,
        stage_bytes={stage: np.dtype(np.float16).itemsize * numbers for stage, numbers in sizes.items()},
        parameters=model.count_params(),
        parameters_beyond=head.count_params() if backbone.trainable else 0,
        photos_per_second=_photos_per_second(backbone, progress),
        shapes=shapes,
    )


def _photos_per_second(backbone: Backbone, progress: Callable[[], None]) -> float:
    """Median over the batches after the first, which traces the graph."""
    height, width = backbone.model.input.shape[1:3]
    photos = np.random.default_rng(0).integers(0, 256, (BATCH, height, width, 3), np.uint8)
    run: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda batch: backbone.model(preprocess(batch, backbone.input), training=False)
    )
    seconds = []
    for _ in range(BATCHES):
        start = time.monotonic()
        run(photos).numpy()
        seconds.append(time.monotonic() - start)
        progress()
    return BATCH / statistics.median(seconds[1:])
