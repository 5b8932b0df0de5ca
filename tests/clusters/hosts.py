"""Hosts of a cluster on this machine: network namespaces, each with its own loopback, on one bridge."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.clusters.fetching import Unavailable

_NETWORK = f"10.{os.getpid() // 256 % 256}.{os.getpid() % 256}"  # several clusters may run beside each other
_PATIENCE = 20  # seconds, for a process that was asked to end


@dataclass(frozen=True)
class Host:
    """A host, by the namespace that it is; empty for the one that this process runs in."""

    address: str
    namespace: str = ""


@contextmanager
def new_hosts(count: int) -> Iterator[tuple[Host, ...]]:
    """This host, as the others reach it, and `count` others.

    Raises:
        Unavailable: no namespace can be made here.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise Unavailable("needs root, and ip of the package iproute2, to make network namespaces")
    bridge = f"tfc{os.getpid()}"
    others = [Host(f"{_NETWORK}.{number}", f"{bridge}-{number}") for number in range(2, 2 + count)]
    links = [f"{bridge}.{number}" for number in range(count)]
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{_NETWORK}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for outside, host in zip(links, others, strict=True):
            _ip("netns", "add", host.namespace)
            _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            _ip("link", "set", outside, "master", bridge, "up")
            for command in (["address", "add", f"{host.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
                _ip("-n", host.namespace, *command)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        yield (Host(f"{_NETWORK}.1"), *others)
    finally:
        # First the links: a namespace goes some time after its name, and would keep theirs.
        for link in (*links, bridge):
            subprocess.run(["ip", "link", "delete", link], capture_output=True)
        for host in others:
            subprocess.run(["ip", "netns", "delete", host.namespace], capture_output=True)


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"ip {' '.join(arguments)}: {error.stderr.strip()}") from None


class Processes:
    """Programs on hosts, each with a log; all of them, and what they started, end with the block."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.terminate()
        for name in list(self._running):
            with suppress(subprocess.TimeoutExpired):
                self._running[name].wait(_PATIENCE)
            self.kill(name)

    def start(self, name: str, host: Host, *command: str | Path, **environment: str) -> None:
        """Start a program under a name, which also names its log."""
        inside = ["ip", "netns", "exec", host.namespace] if host.namespace else []
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*inside, *map(str, command)],
                cwd=self.logs,
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """SIGKILL for a program and all that it started."""
        process = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def at_work(self, name: str) -> bool:
        """Whether a process that a program started holds three or more connections, as a worker with a bundle does.

        Logging and control come first, data with the first bundle.
        """
        return any(_connections(child.pid) > 2 for child in psutil.Process(self._running[name].pid).children())

    def ended(self, name: str) -> bool:
        """Whether a program has ended by itself."""
        return self._running[name].poll() is not None

    def log(self, name: str) -> Path:
        """What it said so far."""
        return self.logs / f"{name}.log"


def _connections(pid: int) -> int:
    """TCP connections of a process, in whichever namespace it lives."""
    established = set()
    with suppress(OSError):  # it may just end
        for table in ("tcp", "tcp6"):
            rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
            established |= {f"socket:[{row[9]}]" for row in rows if row[3] == "01"}
        return sum(str(link.readlink()) in established for link in Path(f"/proc/{pid}/fd").iterdir())
    return 0
