"""One training step, from a global batch to its gradient to the update of the weights.

Forward and backward are compiled per replica; gradients are summed over the replicas outside the compiled function,
clipped, and applied:

    train_steps        several batches in one call
    _train_step        a global batch, across the replicas: count its tokens, get gradients, update
    _global_gradients  within a replica: gradients of its part, summed over the replicas, clipped
    _gradients         compiled: forward, loss, backward
    _update            apply finite gradients; float16 adapts its loss scale

Keras' `fit` is not used: with XLA under `MirroredStrategy` it fails, and with a cuDNN GRU it
switches XLA off silently.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from tfcaption.config import TrainConfig
from tfcaption.input_pipeline.parsing import Batch
from tfcaption.models.captioner import Captioner
from tfcaption.models.loss import TokenSums
from tfcaption.records.examples import Stage
from tfcaption.training.optimizer import Optimizers
from tfcaption.training.precision import ComputeMode, LossScale
from tfcaption.training.self_critical import SelfCritical

Batches = Iterator[Batch]


class StepSums(NamedTuple):
    """Sums over all tokens of one global batch, before the update."""

    loss: float  # natural logarithm
    correct: float
    tokens: float  # zero: a batch that only fills up the epoch; nothing was changed
    captions: float
    learning_rate: float  # of the decoder, in this step's update
    finite: bool  # False: the loss or the gradient is not a number; nothing was changed


class Trainer:
    """The weights, optimizers, loss scale and position of a training run, and the step that changes them.

    Args:
        captioner: created under the strategy's scope and the precision policy.
        strategy: a global batch is split over its replicas.
        config: the optimization.
        mode: as `resolve_mode` returns it.
        stage: of the batches' inputs.
        total_steps: of the whole training run, for the learning-rate schedule.
        objective: turns a batch and a seed into the batch to train on; None: that batch itself.
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
        self.captioner, self.strategy, self.mode = captioner, strategy, mode
        self._config, self._stage, self._objective = config, stage, objective
        with strategy.scope():
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            # Batches taken from the data, including those that only fill up an epoch.
            self.position = tf.Variable(0, dtype=tf.int64, trainable=False, name="position")
            self.optimizers = Optimizers(captioner, config, total_steps)
            self.loss_scale = LossScale(mode.precision)
        self.variables = self.optimizers.variables
        self.traces = 0  # of the compiled step, at most one per bucket and replica
        self._compiled_gradients = tf.function(self._gradients, jit_compile=mode.xla, autograph=False)
        self._compiled_sums = tf.function(self._sums, jit_compile=mode.xla, autograph=False)
        self._train_loop = tf.function(_repeated(self._train_step), autograph=False)
        self._evaluate_loop = tf.function(_repeated(self._evaluate_step), autograph=False)

    def checkpoint_objects(self) -> dict[str, object]:
        """All that must be saved to resume exactly; weights that never change are not in it."""
        weights: dict[str, object] = {"decoder": self.captioner.decoder}
        if self.captioner.encoder.finetuned:
            weights["head"] = self.captioner.encoder.head
        return weights | {
            "optimizers": self.optimizers.all,
            "step": self.step,
            "position": self.position,
            "loss_scale": self.loss_scale.value,
            "good_steps": self.loss_scale.good_steps,
        }

    def train_steps(self, batches: Batches, count: int) -> list[StepSums]:
        """Train on the next `count` batches in one call; fewer only if the last one was not finite.

        Args:
            batches: iterator over global batches, as the strategy distributes them.
            count: number of batches; another number does not trace again.
        """
        return _step_sums(self._train_loop(batches, tf.constant(count)))

    def evaluate_steps(self, batches: Batches, count: int) -> list[StepSums]:
        """Sums over the next `count` batches in one call; changes no weight."""
        return _step_sums(self._evaluate_loop(batches, tf.constant(count)))

    # --- across replicas: batch -> gradients -> update -----------------------------------------------------

    def _train_step(self, batch: Batch) -> tf.Tensor:
        """Train on one global batch; returns its StepSums as one vector."""
        self.position.assign_add(1)
        if self._objective:
            batch = self.strategy.run(lambda batch: self._objective(batch, self._seed()), args=(batch,))
        tokens, captions = self._count(batch)

        def train() -> tf.Tensor:
            learning_rate = self.optimizers.learning_rate
            sums, gradients, norm = self.strategy.run(self._global_gradients, args=(batch, tokens))
            sums = TokenSums(*map(self._local, sums))
            finite = self._update(gradients, loss=sums.loss, norm=self._local(norm))
            self.step.assign_add(tf.cast(finite, tf.int64))
            return tf.stack([*sums, captions, learning_rate, tf.cast(finite, tf.float32)])

        return tf.cond(tokens > 0, train, _no_step)

    def _update(self, gradients: Any, *, loss: tf.Tensor, norm: tf.Tensor) -> tf.Tensor:
        """Apply finite gradients; returns whether training may continue.

        A float16 step whose gradients overflow is skipped and lowers the loss scale; training continues.
        """

        def apply() -> None:
            self.strategy.run(self.optimizers.apply, args=(gradients,))
            if self.loss_scale.dynamic:
                self.loss_scale.grow()

        if self.loss_scale.dynamic:
            tf.cond(tf.math.is_finite(norm), apply, self.loss_scale.shrink)
            return tf.math.is_finite(loss)
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        tf.cond(finite, apply, lambda: None)
        return finite

    def _evaluate_step(self, batch: Batch) -> tf.Tensor:
        """Sums over one global batch, in the layout of `_train_step`."""
        tokens, captions = self._count(batch)

        def evaluate() -> tf.Tensor:
            sums = self.strategy.run(lambda batch: self._compiled_sums(batch["inputs"], batch["tokens"]), args=(batch,))
            return tf.stack([*(self._reduce(value) for value in sums), captions, tf.constant(0.0), tf.constant(1.0)])

        return tf.cond(tokens > 0, evaluate, _no_step)

    def _count(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Real target tokens and captions of the global batch."""

        def count(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
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

    # --- within a replica ----------------------------------------------------------------------------------

    def _global_gradients(self, batch: Batch, tokens: tf.Tensor) -> tuple[TokenSums, list[tf.Tensor], tf.Tensor]:
        """Sums, clipped gradients and their norm before clipping, all over the global batch."""
        context = tf.distribute.get_replica_context()
        # Already a mean here, since a sum over thousands of tokens overflows float16.
        sums, gradients = self._compiled_gradients(
            batch["inputs"], batch["tokens"], batch.get("weights"), self._seed(), self.loss_scale.value / tokens
        )
        *sums, gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sums, gradients])
        gradients = [gradient / self.loss_scale.value for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._config.gradient_clip_norm, use_norm=norm)
        return TokenSums(*sums), gradients, norm

    def _gradients(
        self, inputs: tf.Tensor, tokens: tf.Tensor, weights: tf.Tensor | None, seed: tf.Tensor, scale: tf.Tensor
    ) -> tuple[TokenSums, list[tf.Tensor]]:
        """Compiled: sums, and gradients of the summed loss (times `scale`), of one replica's batch."""
        self.traces += 1  # runs when traced, not when called
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            features = self.captioner.encode(inputs, self._stage)
            sums = self.captioner.token_sums(features, tokens, seed, self._config.label_smoothing, weights)
            loss = sums.loss * scale
        gradients = tape.gradient(loss, self.variables)
        return sums, [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]

    def _sums(self, inputs: tf.Tensor, tokens: tf.Tensor) -> TokenSums:
        """Compiled: sums of one replica's batch."""
        return self.captioner.token_sums(self.captioner.encode(inputs, self._stage), tokens)

    def _seed(self) -> tf.Tensor:
        """(2,) int32, different in each step and replica."""
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        return tf.stack([self._config.seed + 1_000_003 * replica, tf.cast(self.step, tf.int32)])


def _repeated(step: Callable[[Batch], tf.Tensor]) -> Callable[[Batches, tf.Tensor], tf.Tensor]:
    """A function that takes up to `count` batches in turn and stacks the vectors that `step` returns."""

    def loop(batches: Batches, count: tf.Tensor) -> tf.Tensor:
        def body(
            index: tf.Tensor, finite: tf.Tensor, written: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            sums = step(next(batches))
            return index + 1, sums[-1] > 0, written.write(index, sums)

        index, _, written = tf.while_loop(
            lambda index, finite, _: (index < count) & finite,
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


def _no_step() -> tf.Tensor:
    """The sums of a batch without tokens."""
    return tf.constant([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def _step_sums(matrix: tf.Tensor) -> list[StepSums]:
    rows: list[list[float]] = matrix.numpy().tolist()
    return [
        StepSums(loss, correct, tokens, captions, rate, finite > 0)
        for loss, correct, tokens, captions, rate, finite in rows
    ]
