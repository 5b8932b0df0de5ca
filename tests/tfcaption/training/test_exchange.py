"""What hosts tell each other: a lone host gets what it gives, and one that hears nothing for long ends."""

import time

import pytest
import tensorflow as tf

from tfcaption.runtime.errors import HostLost
from tfcaption.runtime.hosts import Host
from tfcaption.training import exchange
from tfcaption.training.exchange import Exchange, explain_lost_hosts


def exchange_of(*host):
    return Exchange(tf.distribute.get_strategy(), Host(*host))


def test_a_lone_host_gets_what_it_gives():
    alone = exchange_of()
    assert alone.agree(stop=True, steps=7) == (True, 7) and alone.agree(stop=False, steps=0) == (False, 1)
    assert alone.gather("ein Mädchen läuft 跑") == ["ein Mädchen läuft 跑"] and alone.gather("") == [""]
    assert alone.first({"b": 0.1, "a": 3.0}) == {"b": 0.1, "a": 3.0}
    alone.check_equal({"x": [1, None]}, "a cure")


def test_a_host_that_hears_nothing_for_long_ends_with_a_line(capsys, monkeypatch):
    ends = []
    monkeypatch.setattr(exchange.os, "_exit", lambda code: (ends.append(code), exit_thread()))
    monkeypatch.setattr(exchange.threading, "excepthook", lambda arguments: None)
    with exchange_of(0, 2).watched(seconds=0.1):
        time.sleep(0.5)
    assert ends == [1] and "error: nothing heard of the other hosts for 0 minutes" in capsys.readouterr().err
    with exchange_of().watched(seconds=0.01):
        time.sleep(0.1)
    assert ends == [1]


def exit_thread():
    raise SystemExit


LOST = tf.errors.UnavailableError(None, None, "Socket closed")
ABORTED = tf.errors.InternalError(None, None, "Collective ops is aborted by: x\nThe error could be from a previous")
OTHER = tf.errors.InvalidArgumentError(None, None, "shapes")


@pytest.mark.parametrize(
    ("error", "count", "raised"),
    [
        (LOST, 2, HostLost),
        (ABORTED, 2, HostLost),
        (OTHER, 2, tf.errors.InvalidArgumentError),
        (LOST, 1, tf.errors.UnavailableError),
    ],
)
def test_errors_of_lost_hosts_become_one_line_and_others_stay(error, count, raised):
    with pytest.raises(raised) as caught, explain_lost_hosts(Host(0, count)):
        raise error
    if raised is HostLost:
        assert "\n" not in str(caught.value) and "run the same command on all 2 hosts" in str(caught.value)
