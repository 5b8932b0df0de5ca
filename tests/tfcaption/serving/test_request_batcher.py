"""Which photos are captioned together, by a clock that only the test moves."""

from types import SimpleNamespace

import pytest

from tests.support.gated_captioner import Gated
from tfcaption.serving import request_batcher
from tfcaption.serving.request_batcher import RequestBatcher

BATCH_SECONDS = 1000.0  # by the test's clock: a tenth of it outlasts the test


class TimedGated(Gated):
    """Each batch ends BATCH_SECONDS after its start."""

    now = 0.0

    def __call__(self, photos):
        captions = super().__call__(photos)
        self.now += BATCH_SECONDS
        return captions


@pytest.fixture
def gated(monkeypatch):
    gated = TimedGated()
    monkeypatch.setattr(request_batcher, "time", SimpleNamespace(monotonic=lambda: gated.now))
    return gated


@pytest.fixture
def batcher(gated):
    batcher = RequestBatcher(gated, max_batch=8)
    yield batcher
    gated.allowed.release(100)
    batcher.close()


@pytest.fixture
def four_together(gated, batcher):
    """A batch of four has just ended."""
    first = batcher.submit(b"x")
    assert gated.started.acquire(timeout=60)  # alone, at once
    others = [batcher.submit(b"x") for _ in range(3)]
    gated.allowed.release()
    first.result(60)
    # Three wait for the fourth client, who has just got an answer. Otherwise there are halves: 3, 1, 3, 1, ...
    assert not gated.started.acquire(timeout=0.2)
    others.append(batcher.submit(b"x"))
    assert gated.started.acquire(timeout=60)
    gated.allowed.release()
    for future in others:
        future.result(60)
    assert gated.batches == [1, 4]


def test_clients_that_send_photo_after_photo_stay_together(gated, batcher, four_together):
    for _ in range(4):
        assert not gated.started.acquire(timeout=0.05)
        batcher.submit(b"x")
    assert gated.started.acquire(timeout=60)
    assert gated.batches == [1, 4, 4]


def test_a_batch_waits_for_clients_that_do_not_return_no_longer_than_a_tenth_of_the_last_ones_time(
    gated, batcher, four_together
):
    batcher.submit(b"x")
    assert not gated.started.acquire(timeout=0.2)
    gated.now += 0.1 * BATCH_SECONDS
    batcher.submit(b"x")  # makes the batcher look at the test's clock, which wakes nobody
    assert gated.started.acquire(timeout=60)
    assert gated.batches == [1, 4, 2]


def test_a_lone_photo_after_a_batch_of_many_is_captioned_at_once_when_that_time_is_over(gated, batcher, four_together):
    gated.now += 0.1 * BATCH_SECONDS
    batcher.submit(b"x")
    assert gated.started.acquire(timeout=60)
    assert gated.batches == [1, 4, 1]
