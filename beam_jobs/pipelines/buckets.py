"""Items on their way to the worker that joins them: in batches, since each element of a pipeline has its cost."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from beam_jobs.pipelines.packed import packed, unpacked

ITEMS_PER_BATCH = 2_000
BUFFERED_ITEMS = 50_000  # of all buckets, at most


class Batches:
    """Collects items until there are enough of one bucket, or of all."""

    def __init__(self) -> None:
        self._batches: dict[Any, list[Any]] = defaultdict(list)
        self._buffered = 0

    def add(self, bucket: Any, item: Any) -> Iterable[tuple[Any, bytes]]:
        """Add an item; returns what is ready: buckets and their packed items."""
        batch = self._batches[bucket]
        batch.append(item)
        self._buffered += 1
        if len(batch) >= ITEMS_PER_BATCH:
            self._buffered -= len(batch)
            return [(bucket, packed(self._batches.pop(bucket)))]
        return self.rest() if self._buffered >= BUFFERED_ITEMS else ()

    def rest(self) -> Iterator[tuple[Any, bytes]]:
        """What is left."""
        while self._batches:
            bucket, batch = self._batches.popitem()
            yield bucket, packed(batch)
        self._buffered = 0


def items_of(batches: Iterable[bytes]) -> Iterator[Any]:
    """The items of some batches."""
    for batch in batches:
        yield from unpacked(batch)
