"""Adam on gradients that are already summed over the replicas, learning-rate schedules, averaged weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfcaption.config import TrainConfig
from tfcaption.models.captioner import Captioner


class SummedAdam(keras.optimizers.Adam):
    """Adam for gradients that are already summed over the replicas (and clipped); Keras would sum them again."""

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


class Optimizers:
    """Adam for the decoder and, with a learning rate of its own, for the fine-tuned blocks of the encoder.

    Args:
        captioner: whose trainable weights are optimized, those of the decoder first.
        config: learning rates, schedule, weight decay, averaging.
        total_steps: of the whole training run, for the schedule.
    """

    def __init__(self, captioner: Captioner, config: TrainConfig, total_steps: int) -> None:
        self._averages = bool(config.ema_decay)
        layers: list[tuple[float, keras.layers.Layer]] = [
            (config.learning_rate, captioner.decoder),
            (config.encoder_learning_rate, captioner.encoder),
        ]
        self._groups: list[tuple[SummedAdam, list[tf.Variable]]] = []
        for peak, layer in layers:
            variables = [variable.value for variable in layer.trainable_variables]
            if variables:
                self._groups.append((_adam(config, peak, variables, total_steps), variables))

    @property
    def all(self) -> list[SummedAdam]:
        """The optimizers, for a checkpoint."""
        return [optimizer for optimizer, _ in self._groups]

    @property
    def variables(self) -> list[tf.Variable]:
        """All weights that train."""
        return [variable for _, variables in self._groups for variable in variables]

    @property
    def learning_rate(self) -> tf.Tensor:
        """The decoder's learning rate in the next update, a float32 scalar."""
        return tf.cast(tf.convert_to_tensor(self.all[0].learning_rate), tf.float32)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Update all weights; the gradients are in the order of `variables`."""
        start = 0
        for optimizer, variables in self._groups:
            optimizer.apply(gradients[start : start + len(variables)], variables)
            start += len(variables)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within the block the weights are their moving averages, if the config asks for them and a step was taken."""
        if not self._averages or not int(self.all[0].iterations.numpy()):
            yield
            return
        trained = [tf.identity(variable) for variable in self.variables]
        for optimizer, variables in self._groups:
            optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            for variable, value in zip(self.variables, trained, strict=True):
                variable.assign(value)


def _adam(config: TrainConfig, peak: float, variables: list[tf.Variable], total_steps: int) -> SummedAdam:
    optimizer = SummedAdam(
        learning_rate_schedule(config, peak, total_steps),
        weight_decay=config.weight_decay or None,
        use_ema=bool(config.ema_decay),
        ema_momentum=config.ema_decay,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(variables)
    return optimizer
