"""TF_CONFIG: which machine trains and writes, and which is refused."""

import json

import pytest

from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.hosts import Host, find_host


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
    ],
)
def test_a_machine_that_would_not_train_or_has_no_place_is_refused_in_one_line(monkeypatch, described, message):
    with pytest.raises(UsageError) as caught:
        host(monkeypatch, described)
    text = str(caught.value)
    assert text.startswith(f"TF_CONFIG: {message}") or (text.startswith("TF_CONFIG: ") and message in text)
    assert text.endswith("unset TF_CONFIG to train on this machine alone") and "\n" not in text
