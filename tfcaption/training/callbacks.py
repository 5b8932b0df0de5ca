"""Keras-style callbacks of a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras


class Callbacks:
    """Tells callbacks of each epoch, as Keras' `fit` does; any of them may end the run.

    A callback is a `keras.callbacks.Callback`, or any object with some of its methods: `set_model(model)`,
    `on_train_begin(logs)`, `on_epoch_begin(epoch, logs)`, `on_epoch_end(epoch, logs)`, `on_train_end(logs)`. Epochs
    count from 0, as in Keras; `logs` are the metrics of the epoch as in `metrics.jsonl`. It ends the run after an epoch
    by `self.model.stop_training = True`, or by returning True from `on_epoch_end`.

    Args:
        callbacks: in the order in which they are called.
        model: is trained, with the weights of the running step.
    """

    def __init__(self, callbacks: Sequence[Any], model: keras.Model) -> None:
        self._callbacks, self._model, self._stop = callbacks, model, False
        model.stop_training = False
        self._call("set_model", model)

    @property
    def stop(self) -> bool:
        """Whether a callback has ended the run."""
        return self._stop or bool(self._model.stop_training)

    def begin(self) -> None:
        """Training begins."""
        self._call("on_train_begin", {})

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins, or is resumed."""
        self._call("on_epoch_begin", epoch, {})

    def end_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch has ended, and its checkpoint is saved."""
        self._stop = self._call("on_epoch_end", epoch, dict(metrics)) or self._stop

    def end(self) -> None:
        """Training has ended."""
        self._call("on_train_end", {})

    def _call(self, method: str, *arguments: Any) -> bool:
        """Whether any callback returned True."""
        answers = [getattr(each, method)(*arguments) for each in self._callbacks if hasattr(each, method)]
        return any(answer is True for answer in answers)
