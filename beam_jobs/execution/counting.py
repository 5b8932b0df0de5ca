"""Counts of any number of things in little memory: how many there are, and the first of them, for messages."""

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_NAMED = 3  # that most messages have
_KEPT = 7  # one more than any message has


def some_of(names: Sequence[str], most: int = _NAMED) -> str:
    """The first of some names, as a terminal can print them."""
    text = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return text.encode(errors="backslashreplace").decode()


@dataclass
class Some:
    """How many items there are, and the smallest of them."""

    count: int = 0
    first: list[Any] = field(default_factory=list)

    def add(self, item: Any) -> None:
        """Count one more item, which can be compared with the others."""
        self.count += 1
        self._keep(item)

    def merge(self, other: "Some") -> None:
        """Add those of another part."""
        self.count += other.count
        for item in other.first:
            self._keep(item)

    def _keep(self, item: Any) -> None:
        if len(self.first) < _KEPT or item < self.first[-1]:
            insort(self.first, item)
            del self.first[_KEPT:]

    def names(self, *, at: int | None = None, most: int = _NAMED) -> str:
        """The first items, or their elements `at`, as a message has them."""
        return some_of([item if at is None else item[at] for item in self.first], most=most)

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass
class Distinct:
    """The smallest of some items, each once."""

    first: list[Any] = field(default_factory=list)

    def update(self, items: Iterable[Any]) -> None:
        """Add items."""
        for item in items:
            if item not in self.first and (len(self.first) < _KEPT or item < self.first[-1]):
                insort(self.first, item)
                del self.first[_KEPT:]
