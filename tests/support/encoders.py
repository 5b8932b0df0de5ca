"""Photos and small encoders for tests of backbones."""

import functools
import random

import numpy as np


@functools.cache
def drawn_photos(count, side):
    """Photos of the synthetic data set: (count, side, side, 3) uint8."""
    from tfcaption.sample.drawing import draw_scene
    from tfcaption.sample.scenes import random_scene

    generator = random.Random(0)
    scenes = [draw_scene(random_scene(generator), generator) for _ in range(count)]
    return np.stack([np.asarray(scene.convert("RGB").resize((side, side))) for scene in scenes])
