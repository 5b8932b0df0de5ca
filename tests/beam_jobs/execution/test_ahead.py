"""Work one item ahead: its order, its errors, and what it overlaps with."""

import threading

import pytest

from beam_jobs.execution.ahead import one_ahead


def test_items_keep_their_order_and_have_their_own_results():
    found = [(item, result.result()) for item, result in one_ahead(range(5), lambda item: item * item)]
    assert found == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]
    assert list(one_ahead([], str)) == []


def test_the_next_item_is_worked_on_before_the_one_ahead_of_it_is_given_out():
    """Work on the second item must end while the first one is used, and the third one is not begun."""
    begun = []
    ended = {item: threading.Event() for item in range(3)}

    def work(item):
        begun.append(item)
        ended[item].set()

    results = one_ahead(range(3), work)
    next(results)
    assert ended[1].wait(10) and begun == [0, 1]


def test_an_error_of_work_is_raised_where_its_result_is_asked_for():
    def work(item):
        if item == 1:
            raise ValueError("not this one")
        return item

    results = one_ahead(range(3), work)
    assert next(results)[1].result() == 0
    _, second = next(results)
    with pytest.raises(ValueError, match="not this one"):
        second.result()
    assert next(results)[1].result() == 2
