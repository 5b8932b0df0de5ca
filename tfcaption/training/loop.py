"""The training loop: epochs, checkpoints, requests to stop."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluation.predictions import caption_split
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.read_errors import explain_read_errors
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.metrics.score_tokenizers import tokenizer_for
from tfcaption.records.reading import read_references
from tfcaption.runs.about import write_about
from tfcaption.runs.directory import CHECKPOINTS, Run
from tfcaption.runs.encoders import save_encoder
from tfcaption.runtime.errors import Preempted, TrainingFailed
from tfcaption.runtime.hosts import Host, wait_for_hosts
from tfcaption.runtime.paths import local_mirror
from tfcaption.runtime.process import StopRequest, stop_signals
from tfcaption.runtime.progress import Progress
from tfcaption.training.assemble import Training, assemble, open_split_once
from tfcaption.training.callbacks import Callbacks
from tfcaption.training.console import describe, epoch_line, extraction_advice, print_lines, verdict
from tfcaption.training.distribution import device_name
from tfcaption.training.exchange import explain_lost_hosts
from tfcaption.training.logs import Logs
from tfcaption.training.state import TrainingState
from tfcaption.training.step import Batches, StepSums

SECONDS_PER_CALL = 1.0  # of training, before the host looks at signals and metrics again
MAX_STEPS_PER_CALL = 64


def train_run(
    run: Run,
    host: Host = Host(),  # noqa: B008 (frozen)
    callbacks: Sequence[Any] = (),
    command: str = "",
) -> Path:
    """Train to the end, or from the last checkpoint on.

    Prints what the run is made of and a line per epoch.

    Args:
        run: as `open_run` returns it.
        host: this machine's place among those that train.
        callbacks: see `training.callbacks.Callbacks`.
        command: that was called, for `about.json`.

    Returns:
        The run directory.

    Raises:
        TrainingFailed: the loss is no longer a number.
        Preempted: by SIGTERM or Ctrl-C, after a checkpoint was saved.
        HostLost: another host did not start, or has ended.
        TfcaptionError: as `assemble` raises them, before any long work; later, a checkpoint cannot be written.
    """
    wait_for_hosts(host)
    with stop_signals() as stop, explain_lost_hosts(host), local_mirror(run.path) as directory:
        training = assemble(run, host)
        stop.listen()  # a strategy of several hosts takes SIGTERM for itself
        if host.writes:
            save_encoder(directory.folder, training.trainer.captioner.encoder)
            precision = training.trainer.captioner.compute_dtype
            features = run.features.name if run.features else ""
            write_about(directory.folder, command=command, device=device_name(), precision=precision, features=features)
        print_lines(*training.notes, describe(training))
        if training.train_split.stage == "photo" and run.config.data.augment == "none" and host.writes:
            print_lines(*extraction_advice(run, training.trainer.captioner.encoder))
        state = TrainingState(training.trainer, run.config.train, directory, writes=host.writes)
        if host.count > 1:  # the facts read all weights
            training.exchange.check_equal(
                state.facts(), f"all hosts must see the same checkpoints: put {run.path} on a disk that they share"
            )
        if state.finished:
            print_lines(f"{run.path}: is finished; nothing to do")
        elif state.restored_from:
            checkpoint = run.path / CHECKPOINTS / "last" / Path(state.restored_from).name
            print_lines(f"resuming in epoch {state.epoch + 1} after step {state.step:,} from {checkpoint}")
        logs = Logs(directory.folder, training, state)
        told = Callbacks(callbacks, training.trainer.captioner)
        with training.exchange.watched():
            train(training, state, logs, stop, told)
        print_lines(verdict(training, state, stopped_by_callback=told.stop))
        return run.path


def train(
    training: Training, state: TrainingState, logs: Logs, stop: StopRequest, callbacks: Callbacks | None = None
) -> None:
    """Epoch after epoch, from where the state is.

    Args:
        training: as `assemble` returns it.
        state: updated and saved after every epoch, and within long ones.
        logs: get the metrics of steps and epochs.
        stop: asks to save and stop.
        callbacks: are told of each epoch and may end the run; None: there are none.

    Raises:
        TrainingFailed, Preempted: see `train_run`.
    """
    if state.finished:
        return
    callbacks = callbacks or Callbacks((), training.trainer.captioner)
    callbacks.begin()
    with explain_read_errors(training.train_split, training.dev_split):
        batches = training.train_batches(state.position)
        dev_batches = training.dev_batches()
        calls = CallLength(training)
        ended = False
        while not state.finished and not ended:
            callbacks.begin_epoch(state.epoch)
            train_epoch(training, state, batches, calls, logs, stop)
            dev = evaluate_epoch(training, state, dev_batches, calls)
            metrics, is_best = state.end_epoch(dev)
            logs.add_epoch(state, metrics)
            state.save()
            print_lines(epoch_line(state.epoch, metrics, is_best=is_best))
            callbacks.end_epoch(state.epoch - 1, metrics)
            # Callbacks of several hosts see other times, and must end the run together.
            ended, _ = training.exchange.agree(stop=callbacks.stop, steps=calls.steps)
    callbacks.end()


class CallLength:
    """The number of steps that one call takes: about a second of training, equal on all hosts."""

    def __init__(self, training: Training) -> None:
        self._training, self.steps = training, 1

    def adapt(self, *, steps: int, seconds: float, stop: bool) -> bool:
        """Adapt to the last call; returns whether any host was asked to stop."""
        pace = min(MAX_STEPS_PER_CALL, max(1, int(SECONDS_PER_CALL * steps / seconds)))
        stop, self.steps = self._training.exchange.agree(stop=stop, steps=pace)
        return stop


def train_epoch(
    training: Training, state: TrainingState, batches: Batches, calls: CallLength, logs: Logs, stop: StopRequest
) -> None:
    """From the state's position to the end of its epoch."""
    label = f"epoch {state.epoch + 1}"
    end = (state.epoch + 1) * training.batches_per_epoch(training.train_split)
    batches_per_step = training.run.config.train.accumulate_steps
    done = int(state.sums["captions"])
    last_saved = time.monotonic()
    with Progress(training.training_captions(), unit="captions", label=label, done=done) as progress:
        while left := end - state.position:
            start = time.monotonic()
            steps = training.trainer.train_steps(batches, min(calls.steps * batches_per_step, left))
            seconds = time.monotonic() - start
            logs.add_steps(state.add_steps(steps, seconds))
            if not steps[-1].finite:
                raise TrainingFailed(_not_finite(training, state, label))
            progress.update(int(state.sums["captions"]), f"loss {state.loss:.3f}")
            if calls.adapt(steps=len(steps), seconds=seconds, stop=stop.requested):
                state.save()
                raise Preempted(f"{label}: stopped on request after step {state.step:,}")
            if time.monotonic() - last_saved > 60 * training.run.config.train.checkpoint_minutes:
                state.save()
                last_saved = time.monotonic()


def evaluate_epoch(training: Training, state: TrainingState, batches: Batches, calls: CallLength) -> dict[str, float]:
    """Loss and accuracy of the dev split and, where they select the best epoch, its scores."""
    start = time.monotonic()
    sums: list[StepSums] = []
    total = training.run.info.split("dev").captions
    left = training.batches_per_epoch(training.dev_split)
    with training.trainer.optimizers.averaged_weights():
        with Progress(total, unit="captions", label=f"epoch {state.epoch + 1}, dev") as progress:
            while left:
                found = training.trainer.evaluate_steps(batches, min(calls.steps, left))
                left -= len(found)
                sums += found
                progress.update(int(sum(each.captions for each in sums)))
        tokens = sum(each.tokens for each in sums)
        metrics = {
            "dev_loss": sum(each.loss for each in sums) / tokens,
            "dev_accuracy": sum(each.correct for each in sums) / tokens,
        }
        if training.run.config.train.early_stopping_metric != "dev_loss":
            metrics |= _dev_scores(training)
    # The last bit of a sum may differ between kinds of hosts, and with it what is best.
    return training.exchange.first(metrics) | {"dev_seconds": time.monotonic() - start}


def _dev_scores(training: Training) -> dict[str, float]:
    """BLEU-4 and CIDEr-D of greedy captions of the dev split, of which each host captions its share.

    The first host computes the scores; those of all others are zero, and are not used.
    """
    run, mode, host = training.run, training.trainer.mode, training.host
    share = open_split_once("dev", run, mode, training.skipper, host)
    captions: dict[str, str] = {}
    if share.photos:
        captions = caption_split(
            training.trainer.captioner,
            share,
            run.vocabulary,
            batch_size_photos=run.config.data.batch_size_photos // host.count,
            options=CaptionOptions(beam=1, no_repeat_ngram=0),
        ).captions
    captions = {
        key: value for text in training.exchange.gather(json.dumps(captions)) for key, value in json.loads(text).items()
    }
    if not host.writes:
        return {"dev_bleu_4": 0.0, "dev_cider": 0.0}
    whole = open_split_once("dev", run, mode, training.skipper)
    tokenize = tokenizer_for(run.info.settings.tokenizer).tokenize
    scores = corpus_scores(captions, read_references(whole.files, whole.skipper), tokenize)
    return {"dev_bleu_4": scores["bleu_4"], "dev_cider": scores["cider"]}


def _not_finite(training: Training, state: TrainingState, label: str) -> str:
    """The message for a loss that is not a number, with the photos of its step."""
    names = "unknown, since data.deterministic is false"
    if training.run.config.data.deterministic:
        in_epoch = state.position - state.epoch * training.batches_per_epoch(training.train_split)
        taken = (in_epoch - 1) % training.run.config.train.accumulate_steps + 1  # by the step
        batches = make_batches(training.train_split, training.batch_options, position=state.position - taken)
        photos = {photo for batch in batches.take(taken) for photo in batch["photo_id"].numpy()}
        names = ", ".join(sorted(photo.decode() for photo in photos if photo))
    return (
        f"{label}: the loss or its gradient is not a number in step {state.step + 1:,} (photos: {names}); "
        "the last checkpoint is kept; lower train.learning_rate, or look at those photos"
    )
