"""Progress of work that takes over a few seconds: a bar on a terminal, a line every ten seconds in a log."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_INTERVAL_SECONDS = 10.0


class Progress:
    """Prints units done of a total, rate and remaining time to standard error.

    Args:
        total: number of units; None: not known, then a log has no rate either.
        unit: name of the units, in the plural ("photos").
        label: name of the work, printed in front.
        done: units that were done before, which do not count for the rate.
        since: when the work began, as `time.monotonic()` said then; None: now.
    """

    def __init__(self, total: int | None, *, unit: str, label: str, done: int = 0, since: float | None = None) -> None:
        self.total, self.unit, self.label = total, unit, label
        self._done = self._before = done
        self._note = ""
        self._last_line = time.monotonic()
        self._start = self._last_line if since is None else since
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, unit=f" {unit}", desc=label, leave=True, initial=done) if terminal else None
        if self._bar is not None:
            self._bar.start_t -= self._last_line - self._start

    def update(self, done: int, note: str = "") -> None:
        """Set the units done so far, not the increment, and a short note such as the loss."""
        step, self._done, self._note = done - self._done, done, note or self._note
        if self._bar is not None:
            self._bar.update(step)
            if note:
                self._bar.set_postfix_str(note)
        elif time.monotonic() - self._last_line >= LINE_INTERVAL_SECONDS:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        elapsed = max(self._last_line - self._start, 1e-9)
        rate = (self._done - self._before) / elapsed
        text = f"{self.label}: {self._done:,} {self.unit}"
        if self.total is not None:
            left = f", {(self.total - self._done) / rate:.0f} s left" if self._done < self.total and rate else ""
            text = f"{self.label}: {self._done:,}/{self.total:,} {self.unit}, {rate:,.1f} {self.unit}/s{left}"
        print(f"{text}  {self._note}".rstrip(), file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._print_line()
