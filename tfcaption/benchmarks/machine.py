"""The machine and the versions that figures were measured with."""

import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import psutil

from tfcaption.runtime.processor import cpu_model, gpu_models

PACKAGES = ("tfcaption", "tensorflow", "keras", "apache-beam", "numpy", "pillow")


@dataclass(frozen=True)
class Machine:
    """What figures depend on beside the program."""

    cpu: str = field(default_factory=cpu_model)  # its model; empty: unknown
    cores: int = field(default_factory=lambda: psutil.cpu_count(logical=False) or 0)  # 0: unknown
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # that this process may use
    memory_gb: float = field(default_factory=lambda: round(psutil.virtual_memory().total / 2**30, 1))
    gpus: list[str] = field(default_factory=gpu_models)
    system: str = field(default_factory=platform.platform)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    load_average: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))  # other work, the minute before
    versions: dict[str, str] = field(default_factory=lambda: {"python": platform.python_version()} | _versions())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
