"""The training core: forward and backward compiled per replica, gradients summed over replicas, clipped, applied.

Keras' `fit` is not used: with XLA under `MirroredStrategy` it fails, and with a cuDNN GRU it drops XLA silently.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption.config import TrainConfig
from tfcaption.models.captioner import Captioner
from tfcaption.models.loss import TokenSums
from tfcaption.records.examples import Stage
from tfcaption.training.optimizer import SummedAdam, learning_rate_schedule
from tfcaption.training.precision import INITIAL_LOSS_SCALE, LOSS_SCALE_GROWTH_STEPS, ComputeMode
from tfcaption.training.self_critical import SelfCritical


class StepSums(NamedTuple):
    """What one global batch gave: sums over all its tokens, before the update."""

    loss: float  # natural logarithm
    correct: float
    tokens: float  # zero: the batch was one that only fills up the epoch, nothing was changed
    captions: float
    finite: bool  # False: the loss or the gradient is not a number, nothing was changed


class Trainer:
    """Holds all state of a training: weights, optimizers, loss scale, position; and the functions that change it.

    Args:
        captioner: made under the strategy's scope and the precision policy.
        strategy: where to train; a global batch is split over its replicas.
        config: the optimisation.
        mode: as `resolve_mode` gives it.
        stage: at which the batches' inputs are.
        total_steps: of the whole training, for the learning rate's schedule.
        objective: makes the batch to train on of one from the data and a seed; None: that batch itself.
    """

    def __init__(
        self,
        captioner: Captioner,
        strategy: tf.distribute.Strategy,
        config: TrainConfig,
        mode: ComputeMode,
        *,
        stage: Stage = "photo",
        total_steps: int = 1,
        objective: SelfCritical | None = None,
    ) -> None:
        self._objective = objective
        self.captioner, self.strategy, self.mode, self._config, self._stage = captioner, strategy, mode, config, stage
        decoder = [v.value for v in captioner.decoder.trainable_variables]
        encoder = [v.value for v in captioner.encoder.trainable_variables]
        self.variables, self._encoder_variables = decoder + encoder, len(encoder)
        self._scaled = mode.precision == "mixed_float16"
        with strategy.scope():
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            # Batches taken from the data, with those that only fill up an epoch.
            self.position = tf.Variable(0, dtype=tf.int64, trainable=False, name="position")
            self.optimizers = [self._optimizer(config.learning_rate, decoder, total_steps)]
            if encoder:
                self.optimizers.append(self._optimizer(config.encoder_learning_rate, encoder, total_steps))
            # float16 gradients underflow without it; bfloat16 and float32 need none.
            scale = INITIAL_LOSS_SCALE if self._scaled else 1.0
            self.loss_scale = tf.Variable(scale, trainable=False, name="loss_scale")
            self._good_steps = tf.Variable(0, trainable=False, name="good_steps")
        self.traces = 0  # of the compiled step, at most one per bucket and replica
        self._compiled_gradients = tf.function(self._gradients, jit_compile=mode.xla, autograph=False)
        self._compiled_sums = tf.function(self._sums, jit_compile=mode.xla, autograph=False)
        self._train_loop = tf.function(self._loop(self._train_step), autograph=False)
        self._evaluate_loop = tf.function(self._loop(self._evaluate_step), autograph=False)

    def _optimizer(self, peak: float, variables: list[Any], total_steps: int) -> SummedAdam:
        optimizer = SummedAdam(
            learning_rate_schedule(self._config, peak, total_steps),
            weight_decay=self._config.weight_decay or None,
            use_ema=bool(self._config.ema_decay),
            ema_momentum=self._config.ema_decay,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        optimizer.build(variables)
        return optimizer

    def checkpoint_objects(self) -> dict[str, object]:
        """All that must be saved to go on as if nothing had happened; what never moves is not in it."""
        weights: dict[str, object] = {"decoder": self.captioner.decoder}
        if self._encoder_variables:
            weights["head"] = self.captioner.encoder.head
        return weights | {
            "optimizers": self.optimizers,
            "step": self.step,
            "position": self.position,
            "loss_scale": self.loss_scale,
            "good_steps": self._good_steps,
        }

    def train_steps(self, batches: Any, count: int) -> list[StepSums]:
        """Train on the next `count` batches in one call; fewer only if the last one was not finite.

        Args:
            batches: iterator over global batches, as the strategy distributes them.
            count: how many; another number does not trace again.
        """
        return _outcomes(self._train_loop(batches, tf.constant(count)))

    def evaluate_steps(self, batches: Any, count: int) -> list[StepSums]:
        """Sums over the next `count` batches in one call; changes no weight."""
        return _outcomes(self._evaluate_loop(batches, tf.constant(count)))

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within, the weights are their moving averages, if the config asks for those."""
        if not self._config.ema_decay or not int(self.step.numpy()):
            yield
            return
        trained = [tf.identity(variable) for variable in self.variables]
        decoder = len(self.variables) - self._encoder_variables
        self.optimizers[0].finalize_variable_values(self.variables[:decoder])
        if self._encoder_variables:
            self.optimizers[1].finalize_variable_values(self.variables[decoder:])
        try:
            yield
        finally:
            for variable, value in zip(self.variables, trained, strict=True):
                variable.assign(value)

    def _loop(self, step: Callable[[Any], tf.Tensor]) -> Callable[[Any, tf.Tensor], tf.Tensor]:
        """A function that takes up to `count` batches in turn and stacks what `step` gives for each."""

        def loop(batches: Any, count: tf.Tensor) -> tf.Tensor:
            def body(
                index: tf.Tensor, go_on: tf.Tensor, written: tf.TensorArray
            ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
                outcome = step(next(batches))
                return index + 1, outcome[-1] > 0, written.write(index, outcome)

            index, _, written = tf.while_loop(
                lambda index, go_on, _: (index < count) & go_on,
                body,
                (
                    tf.constant(0),
                    tf.constant(True),
                    tf.TensorArray(tf.float32, size=count, element_shape=(len(StepSums._fields),)),
                ),
                parallel_iterations=1,
            )
            return written.stack()[:index]

        return loop

    # --- one step, in cross-replica context ----------------------------------------------------------------

    def _train_step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Train on one global batch: an Outcome as one vector."""
        self.position.assign_add(1)
        if self._objective:
            batch = self.strategy.run(lambda batch: self._objective(batch, self._seed()), args=(batch,))
        tokens, captions = self._counts(batch)

        def train() -> tf.Tensor:
            sums, gradients, norm = self.strategy.run(self._summed_gradients, args=(batch, tokens))
            sums = TokenSums(*map(self._local, sums))
            finite_norm = tf.math.is_finite(self._local(norm))
            finite = tf.math.is_finite(sums.loss)
            if self._scaled:
                tf.cond(finite_norm, lambda: self._grow_loss_scale(gradients), self._shrink_loss_scale)
            else:
                finite &= finite_norm
                tf.cond(finite, lambda: self._update(gradients), lambda: None)
            self.step.assign_add(tf.cast(finite, tf.int64))
            return tf.stack([*sums, captions, tf.cast(finite, tf.float32)])

        return tf.cond(tokens > 0, train, _nothing)

    def _evaluate_step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Sums over one global batch, as `_train_step` gives them."""
        tokens, captions = self._counts(batch)

        def evaluate() -> tf.Tensor:
            sums = self.strategy.run(lambda batch: self._compiled_sums(batch["inputs"], batch["tokens"]), args=(batch,))
            return tf.stack([*(self._reduce(value) for value in sums), captions, tf.constant(1.0)])

        return tf.cond(tokens > 0, evaluate, _nothing)

    def _counts(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Real target tokens and captions of the global batch."""

        def count(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            tokens = batch["tokens"]  # <pad> is 0
            return (
                tf.math.count_nonzero(tokens[..., 1:], dtype=tf.float32),
                tf.math.count_nonzero(tokens[..., 0], dtype=tf.float32),
            )

        tokens, captions = self.strategy.run(count, args=(batch,))
        return self._reduce(tokens), self._reduce(captions)

    def _reduce(self, value: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    def _local(self, value: Any) -> tf.Tensor:
        return self.strategy.experimental_local_results(value)[0]

    def _update(self, gradients: list[tf.Tensor]) -> None:
        self.strategy.run(self._apply, args=(gradients,))

    def _grow_loss_scale(self, gradients: list[tf.Tensor]) -> None:
        """A finite float16 step: apply it, and double the loss scale after a long row of them."""
        self._update(gradients)
        grow = self._good_steps + 1 >= LOSS_SCALE_GROWTH_STEPS
        self.loss_scale.assign(tf.where(grow, self.loss_scale * 2.0, self.loss_scale))
        self._good_steps.assign(tf.where(grow, 0, self._good_steps + 1))

    def _shrink_loss_scale(self) -> None:
        """A float16 step that overflowed: leave it out and halve the loss scale."""
        self.loss_scale.assign(tf.maximum(self.loss_scale / 2.0, 1.0))
        self._good_steps.assign(0)

    # --- one step, in each replica -------------------------------------------------------------------------

    def _summed_gradients(
        self, batch: dict[str, tf.Tensor], tokens: tf.Tensor
    ) -> tuple[TokenSums, list[tf.Tensor], tf.Tensor]:
        """Sums, clipped gradients and their norm before clipping, all over the global batch."""
        context = tf.distribute.get_replica_context()
        # A mean already here, since a sum over thousands of tokens overflows float16.
        sums, gradients = self._compiled_gradients(
            batch["inputs"], batch["tokens"], batch.get("weights"), self._seed(), self.loss_scale / tokens
        )
        *sums, gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sums, gradients])
        gradients = [gradient / self.loss_scale for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._config.gradient_clip_norm, use_norm=norm)
        return TokenSums(*sums), gradients, norm

    def _seed(self) -> tf.Tensor:
        """(2,) int32, another one for each step and replica."""
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        return tf.stack([self._config.seed + 1_000_003 * replica, tf.cast(self.step, tf.int32)])

    def _gradients(
        self, inputs: tf.Tensor, tokens: tf.Tensor, weights: tf.Tensor | None, seed: tf.Tensor, scale: tf.Tensor
    ) -> tuple[TokenSums, list[tf.Tensor]]:
        """Compiled: sums and the gradients of the summed loss (times `scale`) of one replica's batch."""
        self.traces += 1  # runs when traced, not when called
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            features = self.captioner.encode(inputs, self._stage)
            sums = self.captioner.token_sums(features, tokens, seed, self._config.label_smoothing, weights)
            loss = sums.loss * scale
        gradients = tape.gradient(loss, self.variables)
        return sums, [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]

    def _apply(self, gradients: list[tf.Tensor]) -> None:
        """Update all weights."""
        decoder = len(self.variables) - self._encoder_variables
        self.optimizers[0].apply(gradients[:decoder], self.variables[:decoder])
        if self._encoder_variables:
            self.optimizers[1].apply(gradients[decoder:], self.variables[decoder:])

    def _sums(self, inputs: tf.Tensor, tokens: tf.Tensor) -> TokenSums:
        return self.captioner.token_sums(self.captioner.encode(inputs, self._stage), tokens)


def _nothing() -> tf.Tensor:
    """The outcome of a batch without tokens."""
    return tf.constant([0.0, 0.0, 0.0, 0.0, 1.0])


def _outcomes(matrix: tf.Tensor) -> list[StepSums]:
    rows: np.ndarray = matrix.numpy()
    return [
        StepSums(loss, correct, tokens, captions, finite > 0)
        for loss, correct, tokens, captions, finite in rows.tolist()
    ]
