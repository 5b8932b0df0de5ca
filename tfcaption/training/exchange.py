"""What the hosts of a run tell each other between its steps; afterwards all of them know the same."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from tfcaption.runtime.errors import HostLost, UsageError
from tfcaption.runtime.hosts import Host

STALL_SECONDS = 1800.0  # longer than any work between two exchanges
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class Exchange:
    """Small facts, by the collective operations of the strategy: nothing of it lies in the run directory.

    All hosts must call the same methods in the same order. A lone host gets back what it gives.

    Args:
        strategy: over the devices of all hosts.
        host: this machine's place among them.
    """

    def __init__(self, strategy: tf.distribute.Strategy, host: Host) -> None:
        self._strategy, self._host = strategy, host
        self._last = time.monotonic()  # when all hosts were last heard of

    def agree(self, *, stop: bool, steps: int) -> tuple[bool, int]:
        """Whether any host was asked to stop, and the mean number of steps of the next call."""
        stops, total = self._sum(np.array([float(stop), float(steps)]))
        return bool(stops), max(1, int(total / self._host.count))

    def first(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values of the first host; those of all others, under the same names, are not used."""
        mine = np.array(list(values.values()), np.float64)
        return dict(zip(values, self._sum(mine if self._host.writes else np.zeros_like(mine)).tolist(), strict=True))

    def gather(self, text: str) -> list[str]:
        """The texts of all hosts, in the order of the hosts."""
        data, count = text.encode(), self._host.count
        sizes = np.zeros(count)
        sizes[self._host.index] = len(data)
        sizes = self._sum(sizes).astype(int)
        table = np.zeros((count, int(sizes.max())), np.float32)  # which every device can add; a byte is exact in it
        table[self._host.index, : len(data)] = np.frombuffer(data, np.uint8)
        rows = self._sum(table).astype(np.uint8)
        return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]

    def check_equal(self, facts: Mapping[str, Any], cure: str) -> None:
        """Refuse hosts that differ from the first one, which would train without an error, and wrongly.

        Args:
            facts: values that JSON holds, by their names.
            cure: ends the message.

        Raises:
            UsageError: a fact differs; the same one on all hosts.
        """
        first, *others = map(json.loads, self.gather(json.dumps(facts)))
        for index, other in enumerate(others, 1):
            for name in first | other:
                if first.get(name) != other.get(name):
                    raise UsageError(
                        f"{self._host.name(index)}: {name} is {other.get(name)}, but {first.get(name)} on "
                        f"{self._host.name(0)}; {cure}"
                    )

    @contextmanager
    def watched(self, seconds: float = STALL_SECONDS) -> Iterator[None]:
        """Within the block, this process ends with a line where no exchange succeeds for long.

        TensorFlow notices processes that end and machines that send no heartbeat, but waits forever for a first host
        that hangs.
        """
        ended = threading.Event()
        self._last = time.monotonic()

        def watch() -> None:
            while not ended.wait(seconds / 10):
                if time.monotonic() - self._last > seconds:
                    print(
                        f"error: nothing heard of the other hosts for {seconds / 60:,.0f} minutes: one of them hangs "
                        "or cannot be reached; end all, and run the same command on all of them to resume",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(1)  # the main thread waits in TensorFlow, which no exception ends

        thread = threading.Thread(target=watch, name="watch", daemon=True)
        if self._host.count > 1:
            thread.start()
        try:
            yield
        finally:
            ended.set()

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sums over the hosts, element by element."""
        if self._host.count == 1:
            return values
        replicas = self._strategy.num_replicas_in_sync // self._host.count

        def contribution() -> tf.Tensor:
            replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
            return tf.where(replica % replicas == 0, values, np.zeros_like(values))  # once for each host

        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._strategy.run(contribution), axis=None)
        summed: np.ndarray = total.numpy()
        self._last = time.monotonic()
        return summed


@contextmanager
def explain_lost_hosts(host: Host) -> Iterator[None]:
    """Turn TensorFlow's errors about hosts that have ended or cannot be reached into one that says so.

    Raises:
        HostLost: another host is lost.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if host.count > 1 and (isinstance(error, _LOST) or "Collective ops is aborted" in str(error)):
            # TensorFlow leaves a pool of threads open, which complains when it is collected at the end of the process.
            traceback.clear_frames(error.__traceback__)
            raise HostLost(
                "another host has ended or cannot be reached (its own output says why); the last checkpoint is kept: "
                f"run the same command on all {host.count} hosts to resume"
            ) from error
        raise
