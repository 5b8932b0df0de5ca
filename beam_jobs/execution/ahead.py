"""Work on the next item while the current one is used."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[tuple[Item, Future[Result]]]:
    """Each item, and the result of work on it, which a thread begins before the item ahead of it is yielded.

    Args:
        items: read one ahead.
        work: what it raises, the result raises when it is asked for.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[Item, Future[Result]] | None = None
        for item in items:
            begun = item, pool.submit(work, item)
            if waiting is not None:
                yield waiting
            waiting = begun
        if waiting is not None:
            yield waiting
