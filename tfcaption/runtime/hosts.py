"""Which of several machines this process runs on, from TF_CONFIG."""

import json
import os
from dataclasses import dataclass
from typing import Any

from tfcaption.runtime.errors import UsageError

_JOBS = ("chief", "worker")  # those that train, in TensorFlow's order


@dataclass(frozen=True)
class Host:
    """One of the machines that train together; the first one writes."""

    index: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this host writes the run directory."""
        return self.index == 0


def find_host() -> Host:
    """This machine's place among those that TF_CONFIG names; the only one where it names none.

    The chief is the first host; without one, worker 0 is. An evaluator may be in the cluster, but not this machine.

    Raises:
        UsageError: TF_CONFIG is not as TensorFlow documents it, or names this machine for other work than training.
    """
    try:
        described = json.loads(os.environ.get("TF_CONFIG") or "{}")
        cluster, task = described.get("cluster") or {}, described.get("task") or {}
        counts = {job: len(_listed(addresses)) for job, addresses in cluster.items()}
        job, index = task.get("type"), int(task["index"]) if "index" in task else None
    except (ValueError, TypeError, AttributeError):
        raise _refused(
            'is not {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": ..., "index": ...}}'
        ) from None
    if not cluster and not task:
        return Host()
    if job not in _JOBS:
        raise _refused(f"task.type is {job!r}: only a chief and workers train; start nothing on this machine")
    if others := counts.keys() - {*_JOBS, "evaluator"}:
        raise _refused(f"cluster names {', '.join(sorted(others))}: only a chief and workers train; leave them out")
    if counts.get("chief", 0) > 1:
        raise _refused("cluster names several chiefs; name one, and the others as workers")
    if index is None or not 0 <= index < counts.get(job, 0):
        raise _refused(f"task.index is {index}, but cluster names {counts.get(job, 0)} of type {job}")
    chiefs, workers = (counts.get(each, 0) for each in _JOBS)
    return Host(index if job == "chief" else chiefs + index, chiefs + workers)


def _listed(addresses: Any) -> list[str]:
    if not isinstance(addresses, list):
        raise TypeError
    return addresses


def _refused(problem: str) -> UsageError:
    return UsageError(f"TF_CONFIG: {problem}; or unset TF_CONFIG to train on this machine alone")
