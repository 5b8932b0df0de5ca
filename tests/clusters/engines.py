"""Engines that run Beam's jobs on several hosts: their processes, and the options of a job that runs on them."""

import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.clusters import fetching
from tests.clusters.hosts import Host, Processes, new_hosts

WORKERS = 2
POOL_PORT = 50000
_PATIENCE = 120  # seconds, for an engine to start
# What Java 17 has closed, and Flink 1.19 and Spark 3.5 read.
_OPENED = [
    *(
        "java.lang",
        "java.lang.invoke",
        "java.lang.reflect",
        "java.io",
        "java.net",
        "java.nio",
        "java.text",
        "java.time",
    ),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
]
_JAVA = ["java", "-Xmx1g", *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED)]
_TASK_HEAP = "-Xmx2560m"  # Beam keeps up to 100 messages of 10 MB from a worker


@dataclass
class Engine:
    """An engine that is running."""

    flags: list[str]  # of a job, to run on it
    processes: Processes
    environment: dict[str, str] = field(default_factory=dict)  # of a job
    starters: dict[str, Callable[[], None]] = field(default_factory=dict)  # victims -> what starts them, up to ready

    def start(self, name: str) -> None:
        """Start one of `starters`, which was killed or never ran."""
        self.starters[name]()


@contextmanager
def prism(logs: Path, python: Path) -> Iterator[Engine]:
    """Prism, which the job itself starts, and a worker pool of the environment of `python`."""
    program = fetching.prism()
    with Processes(logs) as processes:
        pool = _pool(processes, "pool-0", Host("localhost"), python)
        flags = ["--runner=PrismRunner", f"--prism_location={program}", *_EXTERNAL]
        engine = Engine(flags, processes, starters={"pool-0": pool})
        engine.start("pool-0")
        yield engine


@contextmanager
def flink(logs: Path, python: Path) -> Iterator[Engine]:
    """A job manager, and two hosts that have a task manager of one slot and a worker pool each."""
    home, job_server = fetching.distribution("flink"), fetching.job_server("flink")
    with new_hosts(WORKERS) as (manager, *others), Processes(logs) as processes:
        url = f"http://{manager.address}:8081"
        engine = Engine(
            [
                *("--runner=FlinkRunner", f"--flink_master={url}", f"--parallelism={WORKERS}"),
                *(f"--flink_job_server_jar={job_server}", *_EXTERNAL),
            ],
            processes,
        )
        # With Beam on Flink's own class path, a worker process outlives the step that started it.
        class_path = ["-cp", f"{home}/jars/*:{job_server}"]
        entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        config = _flink_config(logs / "manager", manager, manager)
        processes.start("manager", manager, *_JAVA, *class_path, entry, "--configDir", config)
        _wait(processes, "manager", lambda: _read(f"{url}/overview"))

        def task_manager(number: int, host: Host) -> Callable[[], None]:
            def start() -> None:
                name = f"worker-{number}"
                before = _read(f"{url}/taskmanagers").count('"id"')
                config = _flink_config(logs / name, manager, host)
                entry = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
                processes.start(name, host, *_JAVA, _TASK_HEAP, *class_path, entry, "--configDir", config)
                _wait(processes, name, lambda: _read(f"{url}/taskmanagers").count('"id"') > before)

            return start

        for number, host in enumerate(others):
            engine.starters[f"worker-{number}"] = task_manager(number, host)
            engine.starters[f"pool-{number}"] = _pool(processes, f"pool-{number}", host, python)
        for name in engine.starters:
            engine.start(name)
        yield engine


@contextmanager
def spark(logs: Path, python: Path) -> Iterator[Engine]:
    """A master, and two hosts that have a worker of one core and a worker pool each."""
    home, job_server = fetching.distribution("spark"), fetching.job_server("spark")
    with new_hosts(WORKERS) as (manager, *others), Processes(logs) as processes:
        url, page = f"spark://{manager.address}:7077", f"http://{manager.address}:8080/json/"
        engine = Engine(
            ["--runner=SparkRunner", f"--spark_master_url={url}", f"--spark_job_server_jar={job_server}", *_EXTERNAL],
            processes,
            environment={"SPARK_LOCAL_IP": manager.address},
        )
        command = [*_JAVA, "-cp", f"{home}/jars/*"]
        options = ["--host", manager.address, "--port", "7077", "--webui-port", "8080"]
        processes.start("manager", manager, *command, "org.apache.spark.deploy.master.Master", *options)
        _wait(processes, "manager", lambda: _read(page))

        def worker(number: int, host: Host) -> Callable[[], None]:
            def start() -> None:
                name = f"worker-{number}"
                before = _read(page).count('"ALIVE"')
                options = ["--host", host.address, "--cores", "1", "--memory", "1g", "--work-dir", logs / name, url]
                processes.start(
                    *(name, host, *command, "org.apache.spark.deploy.worker.Worker", *options),
                    SPARK_LOCAL_IP=host.address,
                    SPARK_HOME=str(home),
                    SPARK_SCALA_VERSION="2.12",
                )
                _wait(processes, name, lambda: _read(page).count('"ALIVE"') > before)

            return start

        for number, host in enumerate(others):
            engine.starters[f"worker-{number}"] = worker(number, host)
            engine.starters[f"pool-{number}"] = _pool(processes, f"pool-{number}", host, python)
        for name in engine.starters:
            engine.start(name)
        yield engine


_EXTERNAL = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{POOL_PORT}"]


def _pool(processes: Processes, name: str, host: Host, python: Path) -> Callable[[], None]:
    """Starts a worker pool, whose workers run the first `python` of the path."""

    def start() -> None:
        command = [python, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={POOL_PORT}"]
        environment = {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
        processes.start(name, host, *command, **environment)
        _wait(processes, name, lambda: _listens(host.address, POOL_PORT))

    return start


def _flink_config(folder: Path, manager: Host, host: Host) -> Path:
    """A configuration folder, made anew; sizes that Flink's start scripts would compute are named here."""
    folder.mkdir(exist_ok=True)
    settings = {
        "jobmanager.rpc.address": manager.address,
        "rest.address": manager.address,
        "rest.bind-address": manager.address,
        "taskmanager.host": host.address,
        "taskmanager.numberOfTaskSlots": 1,
        "taskmanager.cpu.cores": 1,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.heap.size": "2g",
        "taskmanager.memory.task.off-heap.size": "64m",
        "taskmanager.memory.managed.size": "256m",
        "taskmanager.memory.network.min": "128m",
        "taskmanager.memory.network.max": "128m",  # what Flink gives a task manager by default
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        "classloader.resolve-order": "parent-first",
        "cluster.uncaught-exception-handling": "FAIL",  # else a task manager without memory waits for ever
        # A task manager that was killed is missed after some seconds, not fifty.
        "heartbeat.interval": 1000,
        "heartbeat.timeout": 8000,
        "io.tmp.dirs": folder,
    }
    (folder / "flink-conf.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    return folder


def _read(url: str) -> str:
    """A page of an engine; empty where nobody answers."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def _listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=5):
        return True
    return False


def _wait(processes: Processes, name: str, ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        said = processes.log(name).read_text(errors="replace")[-2000:]
        assert not processes.ended(name), f"{name} has ended: {said}"
        assert time.monotonic() < deadline, f"{name} is not ready after {_PATIENCE} s: {said}"
        time.sleep(0.2)
