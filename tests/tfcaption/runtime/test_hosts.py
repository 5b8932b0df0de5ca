"""TF_CONFIG: which machine trains and writes, which is refused, and how machines wait for each other."""

import json
import socket
import threading
import time

import pytest

from tests.support.runs import free_ports
from tfcaption.runtime import hosts
from tfcaption.runtime.errors import HostLost, UsageError
from tfcaption.runtime.hosts import Host, find_host, wait_for_hosts


def host(monkeypatch, described):
    monkeypatch.setenv("TF_CONFIG", described if isinstance(described, str) else json.dumps(described))
    return find_host()


def roles(job, index, **counts):
    cluster = {each: [f"{each}{number}:1" for number in range(count)] for each, count in counts.items()}
    return {"cluster": cluster, "task": {"type": job, "index": index}}


@pytest.mark.parametrize("described", ["", "{}", '{"cluster": {}, "task": {}}', '{"environment": "cloud"}'])
def test_without_hosts_in_tf_config_one_machine_trains_alone(monkeypatch, described):
    assert host(monkeypatch, described) == Host(0, 1)
    monkeypatch.delenv("TF_CONFIG")
    assert find_host() == Host(0, 1)


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (roles("chief", 0, chief=1), Host(0, 1)),
        (roles("worker", 0, worker=1), Host(0, 1)),
        (roles("chief", 0, chief=1, evaluator=1), Host(0, 1)),
        (roles("worker", 1, worker=2), Host(1, 2)),
        (roles("worker", "1", worker=2), Host(1, 2)),
        (roles("chief", 0, chief=1, worker=2, evaluator=1), Host(0, 3)),
        (roles("worker", 0, chief=1, worker=2, evaluator=1), Host(1, 3)),
        (roles("worker", 1, chief=1, worker=2), Host(2, 3)),
    ],
)
def test_the_chief_or_else_the_first_worker_writes(monkeypatch, described, expected):
    assert host(monkeypatch, described) == expected
    assert expected.writes == (expected.index == 0)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("{", "is not "),
        ("[]", "is not "),
        ('"worker"', "is not "),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "is not "),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "first"}}', "is not "),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": null}}', "is not "),
        (roles("evaluator", 0, worker=2, evaluator=1), "task.type is 'evaluator': only a chief and workers train"),
        (roles("evaluator", 0, worker=2), "task.type is 'evaluator': only a chief and workers train"),
        (roles("ps", 0, worker=2, ps=1), "task.type is 'ps': only a chief and workers train"),
        (roles("master", 0, master=1), "task.type is 'master': only"),
        ({"cluster": {"worker": ["a:1"]}}, "task.type is None: only"),
        (roles("worker", 0, worker=2, ps=1), "cluster names ps: only a chief and workers train; leave them out"),
        (roles("chief", 1, chief=2), "several chiefs; name one"),
        (roles("worker", 2, worker=2), "task.index is 2, but cluster names 2 of type worker"),
        (roles("worker", -1, worker=2), "task.index is -1, but"),
        (roles("worker", 0, chief=1), "task.index is 0, but cluster names 0 of type worker"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}, "task.index is None"),
        ({"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 0}}, "cluster names 'b', which is"),
        ({"cluster": {"worker": ["a:x"]}, "task": {"type": "worker", "index": 0}}, "cluster names 'a:x', which is"),
    ],
)
def test_a_machine_that_would_not_train_or_has_no_place_is_refused_in_one_line(monkeypatch, described, message):
    with pytest.raises(UsageError) as caught:
        host(monkeypatch, described)
    text = str(caught.value)
    assert text.startswith(f"TF_CONFIG: {message}") or (text.startswith("TF_CONFIG: ") and message in text)
    assert text.endswith("unset TF_CONFIG to train on this machine alone") and "\n" not in text


def cluster_of(count):
    addresses = tuple(f"localhost:{port}" for port in free_ports(count))
    return [Host(index, count, addresses) for index in range(count)]


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(hosts, "_met", set())


def test_hosts_wait_until_all_are_there_in_whatever_order_they_start():
    cluster = cluster_of(3)
    servers, ended = [], []

    def start(host):
        wait_for_hosts(host, seconds=10)
        ended.append(host.index)
        servers.append(hosts._listen(host))  # as TensorFlow does then

    threads = [threading.Thread(target=start, args=(host,)) for host in reversed(cluster)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(0.3)
    assert not ended
    threads[2].start()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == [0, 1, 2]
    wait_for_hosts(cluster[0], seconds=0)  # another run of the process, in which TensorFlow has the port
    for server in servers:
        server.close()


def test_a_host_says_for_whom_it_waits_and_gives_up_at_last(capsys, monkeypatch):
    monkeypatch.setattr(hosts, "_SILENT_SECONDS", 0.1)
    first, second, third = cluster_of(3)
    with hosts._listen(second), pytest.raises(HostLost) as caught:
        wait_for_hosts(first, seconds=0.4)
    missing = f"host 2 ({third.addresses[2]})"
    assert capsys.readouterr().out == f"waiting for {missing} of 3\n"
    assert str(caught.value).startswith(f"{missing} did not start within 0 minutes; start the same command on all 3")
    nowhere = Host(0, 2, (first.addresses[0], "no-such-host.invalid:1"))
    with pytest.raises(HostLost, match=r"host 1 \(no-such-host.invalid:1\) did not start"):
        wait_for_hosts(nowhere, seconds=0.01)
    wait_for_hosts(Host())


def test_a_port_that_another_program_has_is_named():
    host, _ = cluster_of(2)
    with (
        socket.create_server(("", int(host.addresses[0].rpartition(":")[2]))),
        pytest.raises(UsageError, match=r"TF_CONFIG: host 0 \(localhost:\d+\) cannot listen at its port: Address al"),
    ):
        wait_for_hosts(host, seconds=1)
