"""Trainers and batches for tests of the step."""

import numpy as np
import tensorflow as tf

from tests.support.models import captioner, captions
from tfcaption.config import TrainConfig
from tfcaption.training.precision import ComputeMode
from tfcaption.training.step import Trainer

LEARNING_RATE = 3e-3
EMA_DECAY = 0.8  # of shared trainers
STAGES = {"frozen": "pooled", "finetuned": "trunk"}


def features(variant):
    """Six photos as the variant's cheapest stage: (6, 2048) pooled, or (6, 1, 1, 2048) trunk."""
    shape = {"frozen": (6, 2048), "finetuned": (6, 1, 1, 2048)}[variant]
    return np.maximum(np.random.default_rng(4).normal(size=shape), 0).astype(np.float16)


def batch_of(variant, length=7):
    return {"inputs": tf.constant(features(variant)), "tokens": tf.constant(captions(length))}


def steps(subject, batch, count=1):
    """Train `count` steps on one batch; the sums of each."""
    return subject.train_steps(iter(tf.data.Dataset.from_tensors(batch).repeat()), count)


def judged(subject, batch):
    (sums,) = subject.evaluate_steps(iter(tf.data.Dataset.from_tensors(batch)), 1)
    return sums


PLAIN = ComputeMode("float32", False)


def trainer(variant="frozen", mode=PLAIN, model_options=None, **options):
    config = TrainConfig(**({"learning_rate": LEARNING_RATE, "encoder_learning_rate": 1e-3} | options))
    model = captioner(variant, **{"encoder_weights": None, "compiled": mode.xla} | (model_options or {}))
    stage = STAGES[variant]
    return Trainer(model, tf.distribute.get_strategy(), config, mode, stage=stage)


class SharedTrainers:
    """Trainers by their options: each is built and traced once, and every test gets it in its initial state."""

    def __init__(self):
        self._known = {}

    def __call__(self, variant="frozen", mode=PLAIN, **options):
        """A trainer without dropout, and with averaged weights."""
        key = variant, mode, *sorted(options.items())
        if key not in self._known:
            subject = trainer(variant, mode, {"dropout": 0.0}, ema_decay=EMA_DECAY, **options)
            self._known[key] = subject, [(variable, variable.numpy()) for variable in _state(subject)]
        subject, initial = self._known[key]
        for variable, value in initial:
            variable.assign(value)
        return subject


def _state(subject):
    """Every variable that a step may change."""
    yield from subject.variables
    yield from (variable for optimizer in subject.optimizers.all for variable in optimizer.variables)
    yield from (subject.step, subject.position, subject.loss_scale.value, subject.loss_scale.good_steps)


def weights(layer):
    return {variable.path: variable.numpy() for variable in layer.variables}


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}
