"""One training step, from global batches to their gradient to the update of the weights.

Forward and backward are compiled per replica; gradients are summed over the replicas outside the compiled function,
clipped, and applied:

    train_steps        several steps in one call
    _train_step        a global batch, across the replicas: count its tokens, get gradients, update
    _accumulated_step  the same with several global batches: add up their gradients, update
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
from tfcaption.decoding.sampling import BatchPart
from tfcaption.input_pipeline.parsing import Batch
from tfcaption.models.captioner import Captioner
from tfcaption.models.loss import TokenSums
from tfcaption.records.examples import Stage
from tfcaption.training.accumulation import GradientSums
from tfcaption.training.optimizer import Optimizers
from tfcaption.training.precision import ComputeMode, LossScale
from tfcaption.training.self_critical import SelfCritical

Batches = Iterator[Batch]


class StepSums(NamedTuple):
    """Sums over all tokens of one step, before its update."""

    loss: float  # natural logarithm
    correct: float
    tokens: float  # zero: batches that only fill up the epoch; nothing was changed
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
        total_steps: updates of the whole training run, for the learning-rate schedule.
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
        self._config, self._stage, self.objective = config, stage, objective
        with strategy.scope():
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            # Batches taken from the data, including those that only fill up an epoch.
            self.position = tf.Variable(0, dtype=tf.int64, trainable=False, name="position")
            self.optimizers = Optimizers(captioner, config, total_steps)
            self.loss_scale = LossScale(mode.precision)
            self.variables = self.optimizers.variables
            accumulates = config.accumulate_steps > 1
            self._gradient_sums = GradientSums(self.variables if accumulates else ())  # as large as the weights
        self.traces = 0  # of the compiled step, at most one per bucket and replica
        self._compiled_gradients = tf.function(self._gradients, jit_compile=mode.xla, autograph=False)
        self._compiled_sums = tf.function(self._sums, jit_compile=mode.xla, autograph=False)
        train_step = self._accumulated_step if accumulates else self._train_step
        self._train_loop = tf.function(_repeated(train_step, config.accumulate_steps), autograph=False)
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
        """Train on the next `count` batches in one call; fewer only if the last step was not finite.

        Args:
            batches: iterator over global batches, as the strategy distributes them.
            count: number of batches; another number does not trace again. A step takes `accumulate_steps` of them, the
                last one what is left.

        Returns:
            The sums of each step.
        """
        return _step_sums(self._train_loop(batches, tf.constant(count)))

    def evaluate_steps(self, batches: Batches, count: int) -> list[StepSums]:
        """Sums over the next `count` batches in one call; changes no weight."""
        return _step_sums(self._evaluate_loop(batches, tf.constant(count)))

    def compiler_ir(self, batch: Batch, stage: str) -> str:
        """The program of the compiled part of a step, forward and backward, in XLA's text format.

        Args:
            batch: of one replica.
            stage: `hlo`, as TensorFlow made it, or `optimized_hlo`, as XLA has compiled it for the device.
        """
        scale = tf.convert_to_tensor(self.loss_scale.value)
        arguments = (batch["inputs"], batch["tokens"], batch.get("weights"), self._seed(0, 0), scale)
        text: str = self._compiled_gradients.experimental_get_compiler_ir(*arguments)(stage=stage)
        return text

    # --- across replicas: batch -> gradients -> update -----------------------------------------------------

    def _train_step(self, batches: Batches, _: tf.Tensor) -> tf.Tensor:
        """Train on one global batch; returns its StepSums as one vector."""
        batch, tokens, captions = self._take(batches)

        def train() -> tf.Tensor:
            sums, gradients, norm = self.strategy.run(self._global_gradients, args=(batch, tokens))
            return self._update(TokenSums(*map(self._local, sums)), captions, gradients, self._local(norm))

        return tf.cond(tokens > 0, train, _no_step)

    def _accumulated_step(self, batches: Batches, count: tf.Tensor) -> tf.Tensor:
        """Train on `count` global batches as on one that holds them all; in the layout of `_train_step`."""

        def take(index: tf.Tensor, sums: tf.Tensor, captions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch, tokens, more_captions = self._take(batches, index)

            def add() -> tf.Tensor:
                found = self.strategy.run(self._add_gradients, args=(batch, tokens, index))
                return tf.stack([self._local(value) for value in found])

            more_sums = tf.cond(tokens > 0, add, lambda: tf.zeros_like(sums))
            return index + 1, sums + more_sums, captions + more_captions

        self.strategy.run(self._gradient_sums.reset)
        start = (tf.constant(0), tf.zeros(len(TokenSums._fields)), tf.constant(0.0))
        _, sums, captions = tf.while_loop(lambda index, *_: index < count, take, start, parallel_iterations=1)
        sums = TokenSums(*tf.unstack(sums))

        def train() -> tf.Tensor:
            gradients, norm = self.strategy.run(self._mean_gradients, args=(sums.tokens,))
            return self._update(sums, captions, gradients, self._local(norm))

        return tf.cond(sums.tokens > 0, train, _no_step)

    def _take(self, batches: Batches, index: tf.Tensor | int = 0) -> tuple[Batch, tf.Tensor, tf.Tensor]:
        """The next global batch as it is trained on, its tokens and captions; `index` is its place in the step."""
        batch = next(batches)
        self.position.assign_add(1)
        if self.objective:
            batch = self.strategy.run(self._sample, args=(batch, index))
        return batch, *self._count(batch)

    def _update(self, sums: TokenSums, captions: tf.Tensor, gradients: Any, norm: tf.Tensor) -> tf.Tensor:
        """Update the weights if the gradients are finite; returns the step's StepSums as one vector."""
        learning_rate = self.optimizers.learning_rate
        finite = self._apply(gradients, loss=sums.loss, norm=norm)
        self.step.assign_add(tf.cast(finite, tf.int64))
        return tf.stack([*sums, captions, learning_rate, tf.cast(finite, tf.float32)])

    def _apply(self, gradients: Any, *, loss: tf.Tensor, norm: tf.Tensor) -> tf.Tensor:
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

    def _evaluate_step(self, batches: Batches, _: tf.Tensor) -> tf.Tensor:
        """Sums over one global batch, in the layout of `_train_step`."""
        batch = next(batches)
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
        sums, gradients = self._scaled_gradients(batch, tokens)
        *sums, gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sums, gradients])
        return TokenSums(*sums), *self._clipped(gradients)

    def _add_gradients(self, batch: Batch, tokens: tf.Tensor, index: tf.Tensor) -> TokenSums:
        """Add the gradients of this replica's part of a batch to its sums; returns the sums of the global batch."""
        sums, gradients = self._scaled_gradients(batch, tokens, index)
        self._gradient_sums.add(gradients, tokens)
        context = tf.distribute.get_replica_context()
        return TokenSums(*context.all_reduce(tf.distribute.ReduceOp.SUM, list(sums)))

    def _mean_gradients(self, tokens: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Clipped gradients and their norm before clipping, over all global batches of the step."""
        context = tf.distribute.get_replica_context()
        return self._clipped(context.all_reduce(tf.distribute.ReduceOp.SUM, self._gradient_sums.mean(tokens)))

    def _scaled_gradients(
        self, batch: Batch, tokens: tf.Tensor, index: tf.Tensor | int = 0
    ) -> tuple[TokenSums, list[tf.Tensor]]:
        """Sums of this replica's part of a batch, and its gradients, times the loss scale."""
        # Already a mean here, since a sum over thousands of tokens overflows float16.
        return self._compiled_gradients(
            batch["inputs"],
            batch["tokens"],
            batch.get("weights"),
            self._seed(index, _replica()),
            self.loss_scale.value / tokens,
        )

    def _clipped(self, gradients: list[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Clipped gradients without the loss scale, and their norm before clipping."""
        if self.loss_scale.dynamic:
            gradients = [gradient / self.loss_scale.value for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._config.gradient_clip_norm, use_norm=norm)
        return gradients, norm

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

    def _sample(self, batch: Batch, index: tf.Tensor | int) -> Batch:
        """The batch to train on, of captions that the objective samples for this replica's part."""
        assert self.objective is not None  # `_take` sees to it
        part = BatchPart(_replica(), self.strategy.num_replicas_in_sync)
        return self.objective(batch, self._seed(index, 0), dropout_seed=self._seed(index, part.index), part=part)

    def _seed(self, index: tf.Tensor | int, replica: tf.Tensor | int) -> tf.Tensor:
        """(2,) int32, different in each step, replica and batch of a step (`index`)."""
        first = self._config.seed + 1_000_003 * replica + 10_000_019 * index
        return tf.stack([first, tf.cast(self.step, tf.int32)])


def _replica() -> tf.Tensor:
    """The number of this replica among all, () int32."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def _repeated(
    step: Callable[[Batches, tf.Tensor], tf.Tensor], batches_per_step: int = 1
) -> Callable[[Batches, tf.Tensor], tf.Tensor]:
    """A function that takes up to `count` batches in steps and stacks the vectors that `step` returns.

    Args:
        step: takes a number of batches from an iterator.
        batches_per_step: that number; the last step takes what is left.
    """

    def loop(batches: Batches, count: tf.Tensor) -> tf.Tensor:
        steps = -(-count // batches_per_step)

        def body(
            index: tf.Tensor, finite: tf.Tensor, written: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            sums = step(batches, tf.minimum(batches_per_step, count - index * batches_per_step))
            return index + 1, sums[-1] > 0, written.write(index, sums)

        index, _, written = tf.while_loop(
            lambda index, finite, _: (index < steps) & finite,
            body,
            (
                tf.constant(0),
                tf.constant(True),
                tf.TensorArray(tf.float32, size=steps, element_shape=(len(StepSums._fields),)),
            ),
            parallel_iterations=1,
        )
        return written.stack()[:index]

    return loop


def _no_step() -> tf.Tensor:
    """The sums of a step without tokens."""
    return tf.constant([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def _step_sums(matrix: tf.Tensor) -> list[StepSums]:
    rows: list[list[float]] = matrix.numpy().tolist()
    return [
        StepSums(loss, correct, tokens, captions, rate, finite > 0)
        for loss, correct, tokens, captions, rate, finite in rows
    ]
