"""What a server counts, for Prometheus, and its access log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
ACCESS_LOG = logging.getLogger("tfcaption.access")  # shown by the command; in other programs silent, as any INFO is
SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)  # of a request for captions
BATCHES = (1, 2, 4, 8, 16, 32, 64)  # photos
MAX_SHOWN = 200  # characters of an address in the log


@dataclass(frozen=True)
class Answer:
    """One answered request."""

    client: str  # address
    method: str
    path: str  # with its options, as it was sent
    status: int
    sent: int  # bytes of the answer, without its head
    photos: int  # that it was about
    seconds: float

    def line(self) -> str:
        """A line of the access log; characters that could end or forge one are replaced."""
        method, path = (
            "".join(character if character.isprintable() and character != " " else "?" for character in text)
            for text in (self.method[:20], self.path[:MAX_SHOWN])
        )
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        sizes = f"{self.sent} bytes {self.photos} photos {self.seconds * 1000:.0f} ms"
        return f"{time} {self.client} {method} {path} {self.status} {sizes}"


class ServerMetrics:
    """Counters of one server, and its access log.

    Args:
        waiting: the number of photos that wait for the model.
    """

    def __init__(self, waiting: Callable[[], int] = lambda: 0) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("tfcaption_requests", "Answered requests.", ["status"], registry=registry)
        self._seconds = Histogram(
            "tfcaption_request_seconds",
            "Time from the last byte of a request with photos to its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self._captioned = Counter("tfcaption_photos_captioned", "Photos that got captions.", registry=registry)
        self._errors = Counter("tfcaption_photo_errors", "Photos without captions.", ["reason"], registry=registry)
        self._batches = Histogram(
            "tfcaption_batch_photos", "Photos of a batch that the model ran on.", buckets=BATCHES, registry=registry
        )
        self.waiting = Gauge("tfcaption_photos_waiting", "Photos that wait for the model.", registry=registry)
        self.waiting.set_function(waiting)

    def answered(self, answer: Answer) -> None:
        """Count and log a request."""
        self._requests.labels(answer.status).inc()
        if answer.photos:
            self._seconds.observe(answer.seconds)
        ACCESS_LOG.info(answer.line())

    def photo_done(self, error_reason: str | None = None) -> None:
        """Count a photo that was captioned or, with a reason, was not."""
        if error_reason is None:
            self._captioned.inc()
        else:
            self._errors.labels(error_reason).inc()

    def batch_started(self, photos: int) -> None:
        """Count a batch."""
        self._batches.observe(photos)

    def as_text(self) -> bytes:
        """All of them in Prometheus' text format, of type CONTENT_TYPE."""
        return generate_latest(self._registry)
