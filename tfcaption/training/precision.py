"""Precision and XLA on this machine; the loss scale of float16."""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfcaption.config import TrainConfig

INITIAL_LOSS_SCALE = 2.0**15
LOSS_SCALE_GROWTH_STEPS = 2000


class ComputeMode(NamedTuple):
    """What `auto` in the config means on this machine."""

    precision: str
    xla: bool


def resolve_mode(config: TrainConfig) -> ComputeMode:
    """Precision and XLA as they will run: `auto` is what is fastest on this machine."""
    gpu = bool(tf.config.list_physical_devices("GPU"))
    fastest = "mixed_float16" if gpu else "mixed_bfloat16" if _multiplies_bfloat16() else "float32"
    return ComputeMode(
        fastest if config.precision == "auto" else config.precision, gpu if config.xla == "auto" else config.xla
    )


def _multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for it, twice as fast as float32; without them it is far slower."""
    described = Path("/proc/cpuinfo")
    flags = set(described.read_text().split()) if described.is_file() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})
