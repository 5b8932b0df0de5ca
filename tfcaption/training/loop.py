"""The training loop: epochs, checkpoints, requests to stop."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tfcaption import config as configs
from tfcaption.config import Config
from tfcaption.runs.directory import Run, check_weights, create_run, load_run
from tfcaption.runtime.errors import Preempted, TrainingFailed
from tfcaption.runtime.folder_lock import locked
from tfcaption.runtime.process import StopRequest, start_tensorflow, stop_signals
from tfcaption.runtime.progress import Progress
from tfcaption.training.assemble import _extraction_advice, new_captioner
from tfcaption.training.distribution import find_host
from tfcaption.training.state import TrainingState

SECONDS_PER_CALL = 1.0  # of training, before the host looks at signals and figures again
MOST_STEPS_PER_CALL = 64


class TrainingRun:
    """A training; `run_to_end` runs it, the rest is for measuring it.

    Args:
        run: what is to be trained.
        host: this host's number, the first one writes.
        hosts: how many there are.
        stop: asks to save and stop.
    """

    def __init__(self, run: Run, host: int, hosts: int, stop: StopRequest) -> None:
        import keras
        import tensorflow as tf

        from tfcaption.models.token_layout import uses_packed_tokens
        from tfcaption.records.reading import DamagedRecordSkipper
        from tfcaption.runs.checkpoints import restore, save_encoder
        from tfcaption.training.precision import resolve_mode
        from tfcaption.training.step import Trainer

        config = run.config
        self.run, self.config, self.host, self.hosts, self.stop = run, config, host, hosts, stop
        if hosts > 1:
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        else:
            self.strategy = tf.distribute.MirroredStrategy()
        replicas = self.strategy.num_replicas_in_sync
        if config.data.batch_size_photos % replicas:
            raise configs.ConfigError(
                f"data.batch_size_photos={config.data.batch_size_photos} cannot be split evenly over "
                f"{replicas} replicas"
            )
        if hosts > 1 and config.train.early_stopping_metric != "dev_loss":
            raise configs.ConfigError("train.early_stopping_metric must be dev_loss where several hosts train")
        self.skipper = DamagedRecordSkipper() if config.data.damaged == "skip" else None
        mode = resolve_mode(config.train)
        self.buckets = 1 if uses_packed_tokens(mode.xla) else config.data.length_buckets
        self.train_split, self.dev_split = self._open("train"), self._open("dev")
        self.steps_per_epoch = self._batches_per_epoch(self.train_split)
        keras.mixed_precision.set_dtype_policy(mode.precision)
        keras.utils.set_random_seed(config.train.seed)
        with self.strategy.scope():
            captioner = new_captioner(run, compiled=mode.xla)
            if config.train.start_from:
                restore(captioner, load_run(config.train.start_from), run.words)
            check_weights(run, captioner.encoder.fingerprint(self.train_split.stage))
            self.trainer = Trainer(
                captioner,
                self.strategy,
                config.train,
                mode,
                stage=self.train_split.stage,
                total_steps=config.train.epochs * self.steps_per_epoch,
                objective=self._self_critical(captioner, mode.xla) if self._draws else None,
            )
        if host == 0:
            save_encoder(run, captioner.encoder)
        split = self.train_split
        rows = "captions" if split.by_caption else "photos"
        padding = "packed" if uses_packed_tokens(mode.xla) else f"padded to {split.lengths} tokens"
        print(
            f"{replicas} replica(s) on {hosts} host(s), {tf.config.list_logical_devices()[-1].device_type}, "
            f"{captioner.compute_dtype} compute, XLA {'on' if mode.xla else 'off'}; from {split.stage}"
            f"{f' in {split.views} views' if split.views > 1 else ''}, "
            f"{'in memory' if split.in_memory else 'streamed'}, by {rows}, {padding}; "
            f"{sum(int(tf.size(v)) for v in self.trainer.variables):,} weights train ({config.model.variant})",
            flush=True,
        )
        if split.stage == "photo" and host == 0:
            print(_extraction_advice(run, captioner.encoder, config.train.epochs), flush=True)
        self.history = TrainingState(self.trainer, run, writes=host == 0)
        self.steps_per_call = 1

    @property
    def _draws(self) -> bool:
        """Whether it trains on captions that it draws."""
        return self.config.train.objective == "cider"

    def _self_critical(self, captioner: Any, compiled: bool) -> Any:
        from tfcaption.records.reading import read_token_ids
        from tfcaption.training.self_critical import SelfCritical

        photos = read_token_ids(self._open("train", alone=True).files, self.skipper)
        return SelfCritical(
            captioner,
            self.train_split.stage,
            ([ids[1:] for ids in captions] for captions in photos),
            samples=self.config.train.drawn_captions,
            bleu_weight=self.config.train.bleu_weight,
            max_tokens=self.run.info.max_length - 1,
            compiled=compiled,
        )

    def _open(self, name: str, *, alone: bool = False) -> Any:
        """This host's share of a split; `alone` the whole of it, a row a photo, to be read once."""
        from tfcaption.input_pipeline.split import open_split

        data = self.config.data
        return open_split(
            name,
            self.run.info,
            self.run.data_folder,
            self.run.features,
            buckets=self.buckets,
            cache=False if alone else data.cache,
            cache_limit_mb=data.cache_limit_mb,
            by_photo=self._draws,
            skipper=self.skipper,
            host=0 if alone else self.host,
            hosts=1 if alone else self.hosts,
        )

    def _batches_per_epoch(self, split: Any) -> int:
        from tfcaption.input_pipeline.split import batches_per_epoch

        return batches_per_epoch(split, self.config.data.batch_size_photos // self.hosts)

    def iterator(self, split: Any, *, shuffled: bool, position: int = 0) -> Any:
        """An iterator over all epochs' batches, distributed over the replicas."""
        import tensorflow as tf

        from tfcaption.input_pipeline.batches import make_batches

        data = self.config.data
        dataset = make_batches(
            split,
            batch_size_photos=data.batch_size_photos // self.hosts,
            captions=data.captions if shuffled else "all",
            shuffle_seed=self.config.train.seed if shuffled else None,
            shuffle_buffer_photos=data.shuffle_buffer_photos,
            deterministic=data.deterministic,
            epochs=self.config.train.epochs,
            position=position,
        ).map(lambda batch: {"inputs": batch["inputs"], "tokens": batch["tokens"]})  # a GPU holds no strings
        if self.strategy.num_replicas_in_sync == 1 and not tf.config.list_physical_devices("GPU"):
            # Nothing to split or to copy. A distributed iterator autotunes, and closing it may wait ten seconds.
            return iter(dataset)
        if self.hosts > 1:
            return iter(self._split_locally(dataset))
        return iter(self.strategy.experimental_distribute_dataset(dataset))

    def _split_locally(self, dataset: Any) -> Any:
        """Each host makes its own share of a global batch already, for its own replicas."""
        import tensorflow as tf

        replicas = self.strategy.num_replicas_in_sync // self.hosts
        options = tf.distribute.InputOptions(
            experimental_replication_mode=tf.distribute.InputReplicationMode.PER_WORKER
        )
        if replicas > 1:
            dataset = dataset.flat_map(
                lambda batch: tf.data.Dataset.from_tensor_slices(
                    {key: tf.stack(tf.split(value, replicas)) for key, value in batch.items()}
                )
            )
        return self.strategy.distribute_datasets_from_function(lambda context: dataset, options)

    def run_to_end(self) -> Path:
        """Epoch after epoch."""
        from tfcaption.input_pipeline.read_errors import explain_read_errors

        history = self.history
        if not history.finished:
            with explain_read_errors(self.train_split, self.dev_split):
                batches = self.iterator(self.train_split, shuffled=True, position=history.position)
                dev_batches = self.iterator(self.dev_split, shuffled=False)
                while not history.finished:
                    self._train_epoch(batches)
                    figures = self._dev_figures(dev_batches)
                    history.end_epoch(left_out=self.skipper.faults if self.skipper else [], **figures)
        print(history.verdict())
        return self.run.path

    def _train_epoch(self, batches: Any) -> None:
        """From the position of the history to the end of its epoch."""
        history, trainer = self.history, self.trainer
        split = self.run.info.split("train")
        total = split.photos if self.config.data.captions == "one" else split.captions
        if self._draws:
            total = split.photos * self.config.train.drawn_captions
        label = f"epoch {history.epoch + 1}"
        last_saved = time.monotonic()
        with Progress(total, unit="captions", label=label, done=int(history.sums["captions"])) as progress:
            while left := (history.epoch + 1) * self.steps_per_epoch - history.position:
                start = time.monotonic()
                outcomes = trainer.train_steps(batches, min(self.steps_per_call, left))
                seconds = time.monotonic() - start
                history.add(outcomes, seconds)
                if not outcomes[-1].finite:
                    raise TrainingFailed(self._not_finite(label))
                sums = history.sums
                progress.update(int(sums["captions"]), f"loss {sums['loss'] / max(sums['tokens'], 1):.3f}")
                pace = min(MOST_STEPS_PER_CALL, max(1, int(SECONDS_PER_CALL * len(outcomes) / seconds)))
                stop, self.steps_per_call = self._agree(pace)
                if stop:
                    history.save()
                    raise Preempted(f"{label}: stopped as asked, after step {history.step:,}")
                if time.monotonic() - last_saved > 60 * self.config.train.checkpoint_minutes:
                    history.save()
                    last_saved = time.monotonic()

    def _agree(self, pace: int) -> tuple[bool, int]:
        """Whether any host was asked to stop, and the steps of the next call, the same on all hosts."""
        if self.hosts == 1:
            return self.stop.requested, pace
        import tensorflow as tf

        mine = tf.constant([float(self.stop.requested), float(pace)])
        summed = (
            self.strategy.reduce(
                tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: tf.identity(mine)), axis=None
            ).numpy()
            / self.strategy.num_replicas_in_sync
        )
        return summed[0] > 0, max(1, int(summed[1]))

    def _not_finite(self, label: str) -> str:
        from tfcaption.input_pipeline.batches import make_batches

        names = "unknown, since data.deterministic is false"
        if self.config.data.deterministic:
            data = self.config.data
            (batch,) = make_batches(
                self.train_split,
                batch_size_photos=data.batch_size_photos // self.hosts,
                captions=data.captions,
                shuffle_seed=self.config.train.seed,
                shuffle_buffer_photos=data.shuffle_buffer_photos,
                epochs=self.config.train.epochs,
                position=self.history.position - 1,
            ).take(1)
            names = ", ".join(sorted({photo.decode() for photo in batch["photo_id"].numpy() if photo}))
        return (
            f"{label}: the loss or its gradient is not a number in step {self.history.step + 1:,} (photos: {names}); "
            "the last checkpoint is kept; lower train.learning_rate, or look at those photos"
        )

    def _dev_figures(self, batches: Any) -> dict[str, float]:
        """Loss, accuracy and, where they decide, scores of the dev split."""
        start = time.monotonic()
        totals = [0.0] * 4
        info = self.run.info.split("dev")
        with self.trainer.averaged_weights():
            left = self._batches_per_epoch(self.dev_split)
            with Progress(info.captions, unit="captions", label=f"epoch {self.history.epoch + 1}, dev") as progress:
                while left:
                    outcomes = self.trainer.evaluate_steps(batches, min(self.steps_per_call, left))
                    left -= len(outcomes)
                    totals = [total + sum(o[index] for o in outcomes) for index, total in enumerate(totals)]
                    progress.update(int(totals[3]))
            loss, correct, tokens, _ = totals
            figures = {"dev_loss": loss / tokens, "dev_accuracy": correct / tokens}
            if self.config.train.early_stopping_metric != "dev_loss":
                figures |= self._dev_scores()
        return figures | {"dev_seconds": time.monotonic() - start}

    def _dev_scores(self) -> dict[str, float]:
        from tfcaption.evaluation.predictions import caption_split
        from tfcaption.metrics.corpus import corpus_scores
        from tfcaption.records.reading import read_references

        split = self._open("dev", alone=True)
        spoken = caption_split(
            self.trainer.captioner, split, self.run.words, batch_size_photos=self.config.data.batch_size_photos
        )
        scores = corpus_scores(spoken.captions, read_references(split.files, split.skipper))
        return {"dev_bleu_4": scores["bleu_4"], "dev_cider": scores["cider"]}


def train(config: Config) -> Path:
    """Train to the end, or from the last checkpoint on.

    Args:
        config: the run.

    Returns:
        The run directory.

    Raises:
        ValueError: (ConfigError, RunError, RecordError, GloveError, EncoderError) what cannot be trained, before
            any long work; (FolderInUse) another process trains this run.
        OSError: the run directory cannot be written into.
        TrainingFailed: the loss is no longer a number.
        Preempted: by SIGTERM or Ctrl-C, after a checkpoint was saved.
    """
    host, hosts = find_host()
    with locked(config.run) if host == 0 else nullcontext():
        run = create_run(config, writes=host == 0)
        start_tensorflow(multi_worker=hosts > 1)
        with stop_signals() as stop:
            return TrainingRun(run, host, hosts, stop).run_to_end()
