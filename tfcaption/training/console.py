"""What a training run prints: what it is made of, a line per epoch, how it ended."""

import tensorflow as tf

from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.training.assemble import Training
from tfcaption.training.state import TrainingState


def describe(training: Training) -> str:
    """What a run is made of, in one line."""
    split, trainer, strategy = training.train_split, training.trainer, training.strategy
    rows = "captions" if split.by_caption else "photos"
    padding = "packed" if uses_packed_tokens(trainer.mode.xla) else f"padded to {split.lengths} tokens"
    weights = sum(int(tf.size(variable)) for variable in trainer.variables)
    return (
        f"{strategy.num_replicas_in_sync} replica(s) on {training.host.count} host(s), "
        f"{tf.config.list_logical_devices()[-1].device_type}, {trainer.captioner.compute_dtype} compute, "
        f"XLA {'on' if trainer.mode.xla else 'off'}; from {split.stage}"
        f"{f' in {split.views} views' if split.views > 1 else ''}, "
        f"{'in memory' if split.in_memory else 'streamed'}, by {rows}, {padding}; "
        f"{weights:,} trainable weights ({training.run.config.model.variant})"
    )


def epoch_line(epoch: int, metrics: dict[str, float], *, is_best: bool) -> str:
    """The metrics of an epoch, in one line."""
    scores = ""
    if "dev_cider" in metrics:
        scores = f", BLEU-4 {metrics['dev_bleu_4']:.4f}, CIDEr {metrics['dev_cider']:.4f}"
    return (
        f"epoch {epoch}: train loss {metrics['train_loss']:.4f}, dev loss {metrics['dev_loss']:.4f}, "
        f"dev accuracy {metrics['dev_accuracy']:.4f}{scores}, {metrics['train_seconds']:.0f} s"
        f"{', best so far' if is_best else ''}"
    )


def verdict(training: Training, state: TrainingState) -> str:
    """Why the run ended, and which epoch was best."""
    config = training.run.config.train
    why = "stopped early" if state.stopped_early and state.epoch < config.epochs else "finished"
    metric = config.early_stopping_metric.replace("_", " ")
    return f"{why} after epoch {state.epoch}; best {metric} {state.best_score:.4f} in epoch {state.best_epoch}"


def print_lines(*lines: str) -> None:
    """Print lines at once, so that a log shows them while the run goes on."""
    for line in lines:
        print(line, flush=True)
