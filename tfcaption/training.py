"""The train step: forward and backward compiled per replica, gradients summed over replicas, clipped, applied.

Keras' `fit` is not used: with XLA under `MirroredStrategy` it fails, and with a cuDNN GRU it drops XLA silently.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfcaption.captioner import Captioner, TokenSums
from tfcaption.config import TrainConfig

_INITIAL_LOSS_SCALE = 2.0**15
_LOSS_SCALE_GROWTH_STEPS = 2000


class Mode(NamedTuple):
    """What `auto` in the config means on this machine."""

    precision: str
    xla: bool


def resolve_mode(config: TrainConfig) -> Mode:
    """Precision and XLA as they will run: `auto` is mixed_float16 with XLA on a GPU, float32 without it elsewhere."""
    gpu = bool(tf.config.list_physical_devices("GPU"))
    precision = ("mixed_float16" if gpu else "float32") if config.precision == "auto" else config.precision
    return Mode(precision, gpu if config.xla == "auto" else config.xla)


class SummedAdam(keras.optimizers.Adam):
    """Adam for gradients that are summed over the replicas (and clipped) already; Keras would sum them again."""

    def _all_reduce_sum_gradients(self, grads_and_vars: list[Any]) -> list[Any]:
        return grads_and_vars


class Trainer:
    """Holds all state of a training: weights, optimizers, loss scale, step; and the functions that change it.

    Args:
        captioner: made under the strategy's scope and the precision policy.
        strategy: where to train; a global batch is split over its replicas.
        config: the optimisation.
        mode: as `resolve_mode` gives it.
    """

    def __init__(self, captioner: Captioner, strategy: tf.distribute.Strategy, config: TrainConfig, mode: Mode) -> None:
        self.captioner, self.strategy, self.mode = captioner, strategy, mode
        self._clip_norm, self._seed = config.gradient_clip_norm, config.seed
        decoder = [v.value for v in captioner.decoder.trainable_variables]
        encoder = [v.value for v in captioner.encoder.trainable_variables]
        self.variables, self._encoder_variables = decoder + encoder, len(encoder)
        with strategy.scope():
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            self.optimizers = [SummedAdam(config.learning_rate)]
            self.optimizers[0].build(decoder)
            if encoder:
                self.optimizers.append(SummedAdam(config.encoder_learning_rate))
                self.optimizers[1].build(encoder)
            # float16 gradients underflow without it; bfloat16 and float32 need none.
            scaled = mode.precision == "mixed_float16"
            self.loss_scale = tf.Variable(_INITIAL_LOSS_SCALE if scaled else 1.0, trainable=False, name="loss_scale")
            self._scaled = scaled
            self._good_steps = tf.Variable(0, trainable=False, name="good_steps")
        self.traces = 0  # of the compiled step, at most one per bucket and replica
        self._compiled_gradients = tf.function(self._gradients, jit_compile=mode.xla, autograph=False)
        self._compiled_sums = tf.function(self._sums, jit_compile=mode.xla, autograph=False)
        self.train_step = tf.function(self._train_step, autograph=False)
        self.evaluate_step = tf.function(self._evaluate_step, autograph=False)

    def checkpoint_objects(self) -> dict[str, object]:
        """All that must be saved to go on as if nothing had happened."""
        return {
            "captioner": self.captioner,
            "optimizers": self.optimizers,
            "step": self.step,
            "loss_scale": self.loss_scale,
            "good_steps": self._good_steps,
        }

    def _gradients(
        self, images: tf.Tensor, tokens: tf.Tensor, seed: tf.Tensor, scale: tf.Tensor
    ) -> tuple[TokenSums, list[tf.Tensor]]:
        """Compiled: sums and the gradients of the summed loss (times the loss scale) of one replica's batch."""
        self.traces += 1  # runs when traced, not when called
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            sums = self.captioner.token_sums(self.captioner.encode(images), tokens, seed)
            loss = sums.loss * scale
        gradients = tape.gradient(loss, self.variables)
        return sums, [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]

    def _train_step(self, batch: dict[str, tf.Tensor]) -> TokenSums:
        """One step over a global batch; returns the sums over all its tokens, before the update."""

        sums, gradients, norm = self.strategy.run(self._summed_gradients, args=(batch,))
        if self._scaled:
            finite = tf.math.is_finite(self.strategy.experimental_local_results(norm)[0])
            tf.cond(finite, lambda: self._grow_loss_scale(gradients), self._shrink_loss_scale)
        else:
            self.strategy.run(self._apply, args=(gradients,))
        self.step.assign_add(1)
        return TokenSums(*(self.strategy.experimental_local_results(value)[0] for value in sums))

    def _summed_gradients(self, batch: dict[str, tf.Tensor]) -> tuple[TokenSums, list[tf.Tensor], tf.Tensor]:
        """In each replica: sums, clipped gradients and their norm before clipping, all over the global batch."""
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        seed = tf.stack([self._seed + 1_000_003 * replica, tf.cast(self.step, tf.int32)])
        real = tf.math.count_nonzero(batch["tokens"][..., 1:], dtype=tf.float32)  # <pad> is 0
        tokens = tf.maximum(context.all_reduce(tf.distribute.ReduceOp.SUM, real), 1.0)
        # A mean already here, since a sum over thousands of tokens overflows float16.
        sums, gradients = self._compiled_gradients(batch["image"], batch["tokens"], seed, self.loss_scale / tokens)
        *sums, gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sums, gradients])
        gradients = [gradient / self.loss_scale for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)
        return TokenSums(*sums), gradients, norm

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        """In each replica: update all weights."""
        decoder = len(self.variables) - self._encoder_variables
        self.optimizers[0].apply(gradients[:decoder], self.variables[:decoder])
        if self._encoder_variables:
            self.optimizers[1].apply(gradients[decoder:], self.variables[decoder:])

    def _grow_loss_scale(self, gradients: list[tf.Tensor]) -> None:
        """A finite float16 step: apply it, and double the loss scale after a long row of them."""
        self.strategy.run(self._apply, args=(gradients,))
        grow = self._good_steps + 1 >= _LOSS_SCALE_GROWTH_STEPS
        self.loss_scale.assign(tf.where(grow, self.loss_scale * 2.0, self.loss_scale))
        self._good_steps.assign(tf.where(grow, 0, self._good_steps + 1))

    def _shrink_loss_scale(self) -> None:
        """A float16 step that overflowed: leave it out and halve the loss scale."""
        self.loss_scale.assign(tf.maximum(self.loss_scale / 2.0, 1.0))
        self._good_steps.assign(0)

    def _sums(self, images: tf.Tensor, tokens: tf.Tensor) -> TokenSums:
        return self.captioner.token_sums(self.captioner.encode(images), tokens)

    def _evaluate_step(self, batch: dict[str, tf.Tensor]) -> TokenSums:
        """Sums over all tokens of a global batch; changes no weight."""
        sums = self.strategy.run(lambda batch: self._compiled_sums(batch["image"], batch["tokens"]), args=(batch,))
        return TokenSums(*(self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in sums))
