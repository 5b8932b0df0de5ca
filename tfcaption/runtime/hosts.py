"""Which of several machines this process runs on, from TF_CONFIG, and whether the others are there."""

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tfcaption.runtime.errors import HostLost, UsageError

_JOBS = ("chief", "worker")  # those that train, in TensorFlow's order
WAIT_SECONDS = 1800.0  # for the other hosts: a cluster may start them one after the other
_met: set[tuple[str, ...]] = set()  # the hosts of an earlier run of this process, where TensorFlow listens now
_SILENT_SECONDS = 10.0  # before the first line that says for whom this host waits


@dataclass(frozen=True)
class Host:
    """One of the machines that train together; the first one writes."""

    index: int = 0
    count: int = 1
    addresses: tuple[str, ...] = field(default=(), compare=False)  # HOST:PORT of each; empty for a lone host

    @property
    def writes(self) -> bool:
        """Whether this host writes the run directory."""
        return self.index == 0

    def name(self, index: int) -> str:
        """A host in words: `host 1 (two:2222)`."""
        return f"host {index} ({self.addresses[index]})" if self.addresses else f"host {index}"


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
        addresses = tuple(str(address) for each in _JOBS for address in cluster.get(each, []))
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
    if malformed := [address for address in addresses if _port(address) is None]:
        raise _refused(f"cluster names {malformed[0]!r}, which is not HOST:PORT")
    return Host(index if job == "chief" else chiefs + index, chiefs + workers, addresses)


def _listed(addresses: Any) -> list[str]:
    if not isinstance(addresses, list):
        raise TypeError
    return addresses


def _port(address: str) -> int | None:
    name, _, port = address.rpartition(":")
    return int(port) if name and port.isascii() and port.isdecimal() and 0 < int(port) < 65536 else None


def wait_for_hosts(host: Host, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until all other hosts listen at their addresses; says now and then which of them do not.

    TensorFlow would wait for an hour, without a word. This host listens meanwhile, so that the others find it; after
    that, TensorFlow does.

    Raises:
        HostLost: some do not listen in time.
        UsageError: another program listens at this host's port.
    """
    missing = [index for index in range(host.count) if index != host.index] if host.addresses else []
    if not missing or host.addresses in _met:
        return
    start, next_line = time.monotonic(), _SILENT_SECONDS
    with _listen(host):
        while missing := [index for index in missing if not _listens(host.addresses[index])]:
            waited = time.monotonic() - start
            if waited > seconds:
                raise HostLost(
                    f"{_names(host, missing)} did not start within {seconds / 60:,.0f} minutes; start the same command "
                    f"on all {host.count} hosts that TF_CONFIG names, or correct the addresses in TF_CONFIG"
                )
            if waited > next_line:
                print(f"waiting for {_names(host, missing)} of {host.count}", flush=True)
                next_line = waited + 60
            time.sleep(0.1)
    _met.add(host.addresses)


def _listen(host: Host) -> socket.socket:
    port = _port(host.addresses[host.index])
    assert port is not None  # `find_host` sees to it
    dual = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual)
    except OSError as error:
        raise UsageError(
            f"TF_CONFIG: {host.name(host.index)} cannot listen at its port: {error.strerror}; end the program that "
            "does, or name another port"
        ) from error


def _listens(address: str) -> bool:
    name, _, port = address.rpartition(":")
    try:
        with socket.create_connection((name.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:  # not started yet, or its name is not known yet
        return False


def _names(host: Host, indices: Sequence[int]) -> str:
    first = ", ".join(host.name(index) for index in indices[:5])
    return f"{first} and {len(indices) - 5} others" if len(indices) > 5 else first


def _refused(problem: str) -> UsageError:
    return UsageError(f"TF_CONFIG: {problem}; or unset TF_CONFIG to train on this machine alone")
