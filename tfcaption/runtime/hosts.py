"""Which of several machines this process runs on, from TF_CONFIG."""

import json
import os
from dataclasses import dataclass

from tfcaption.runtime.errors import UsageError


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

    Raises:
        UsageError: TF_CONFIG names a chief.
    """
    described = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = described.get("cluster", {}).get("worker", [])
    if "chief" in described.get("cluster", {}):
        raise UsageError("TF_CONFIG: name all hosts as worker; worker 0 is the chief")
    return Host(described["task"]["index"], len(workers)) if len(workers) > 1 else Host()
