"""Precision and XLA on this machine; the loss scale of float16."""

from typing import NamedTuple

import tensorflow as tf

from tfcaption.config import TrainConfig
from tfcaption.runtime.processor import cpu_multiplies_bfloat16

INITIAL_LOSS_SCALE = 2.0**15
GROWTH_STEPS = 2000


class ComputeMode(NamedTuple):
    """How the step is computed: what `auto` in the config means on this machine."""

    precision: str  # a Keras dtype policy
    xla: bool


def resolve_mode(config: TrainConfig) -> ComputeMode:
    """Precision and XLA of a run; `auto` is what is fastest on this machine."""
    gpu = bool(tf.config.list_physical_devices("GPU"))
    fastest = "mixed_float16" if gpu else "mixed_bfloat16" if cpu_multiplies_bfloat16() else "float32"
    return ComputeMode(
        fastest if config.precision == "auto" else config.precision, gpu if config.xla == "auto" else config.xla
    )


class LossScale:
    """Factor of the loss that keeps float16 gradients from underflowing (Micikevicius et al. 2018, arXiv:1710.03740).

    It doubles after 2,000 finite steps in a row and halves after a step that overflows. bfloat16 and float32 need none:
    their factor stays 1.

    Args:
        precision: a Keras dtype policy.
    """

    def __init__(self, precision: str) -> None:
        self.dynamic = precision == "mixed_float16"
        self.value = tf.Variable(INITIAL_LOSS_SCALE if self.dynamic else 1.0, trainable=False, name="loss_scale")
        self.good_steps = tf.Variable(0, trainable=False, name="good_steps")

    def grow(self) -> None:
        """Count a finite step."""
        grows = self.good_steps + 1 >= GROWTH_STEPS
        self.value.assign(tf.where(grows, self.value * 2.0, self.value))
        self.good_steps.assign(tf.where(grows, 0, self.good_steps + 1))

    def shrink(self) -> None:
        """Count a step that overflowed."""
        self.value.assign(tf.maximum(self.value / 2.0, 1.0))
        self.good_steps.assign(0)
