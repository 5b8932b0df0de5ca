"""Adam on gradients that are summed already, and learning-rate schedules."""

from typing import Any

import keras

from tfcaption.config import TrainConfig


class SummedAdam(keras.optimizers.Adam):
    """Adam for gradients that are summed over the replicas (and clipped) already; Keras would sum them again."""

    def _all_reduce_sum_gradients(self, grads_and_vars: list[Any]) -> list[Any]:
        return grads_and_vars


def learning_rate_schedule(config: TrainConfig, peak: float, total_steps: int) -> Any:
    """Learning rate by step: a linear warm-up to `peak`, then constant or half a cosine down to zero."""
    schedules = keras.optimizers.schedules
    warm_up = config.warm_up_steps
    if config.schedule == "cosine":
        return schedules.CosineDecay(
            0.0 if warm_up else peak,
            max(total_steps - warm_up, 1),
            warmup_target=peak if warm_up else None,
            warmup_steps=warm_up,
        )
    return schedules.PolynomialDecay(0.0, warm_up, end_learning_rate=peak) if warm_up else peak
