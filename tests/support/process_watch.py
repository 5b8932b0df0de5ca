"""Samples the memory and CPU time of all processes that this one has started, by what they do."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

SECONDS = 1.0  # between samples


class Sample(NamedTuple):
    """A process at some moment."""

    seconds: float  # since the start
    role: str
    process: int
    resident: int  # MB
    peak: int  # MB, since the process started
    cpu: float  # seconds on any core, since the process started


class ProcessWatch:
    """Within the block, samples every second the processes below this one, by words of their command lines.

    Args:
        roles: role -> a word of the command line of its processes; the first role that fits counts.
    """

    def __init__(self, roles: Mapping[str, str]) -> None:
        self.samples: list[Sample] = []
        self._roles, self._ended = roles, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ProcessWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def peaks(self) -> dict[str, list[int]]:
        """Role -> peak (MB) of each of its processes, the largest first."""
        by_process: dict[tuple[str, int], int] = {}
        for sample in self.samples:
            key = sample.role, sample.process
            by_process[key] = max(by_process.get(key, 0), sample.peak)
        return {
            role: sorted((peak for (of, _), peak in by_process.items() if of == role), reverse=True)
            for role in self._roles
        }

    def cpu_seconds(self) -> dict[str, float]:
        """Role -> CPU seconds of all its processes."""
        by_process = {(sample.role, sample.process): sample.cpu for sample in self.samples}
        return {role: sum(cpu for (of, _), cpu in by_process.items() if of == role) for role in self._roles}

    def write(self, path: Path) -> None:
        """Write all samples as a table, values separated by tabs."""
        rows = ["\t".join(Sample._fields), *("\t".join(map(str, sample)) for sample in self.samples)]
        path.write_text("".join(f"{row}\n" for row in rows))

    def _watch(self) -> None:
        start = time.monotonic()
        while not self._ended.wait(SECONDS):
            seconds = round(time.monotonic() - start, 1)
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError, KeyError):  # it has just ended
                    command = " ".join(process.cmdline())
                    role = next((role for role, word in self._roles.items() if word in command), None)
                    if role:
                        rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                        status = dict(row.split(":\t", 1) for row in rows)
                        resident, peak = (int(status[name].split()[0]) // 1000 for name in ("VmRSS", "VmHWM"))
                        times = process.cpu_times()
                        cpu = times.user + times.system
                        self.samples.append(Sample(seconds, role, process.pid, resident, peak, cpu))
