"""Captions the photos of concurrent requests together: one thread runs the model on all photos that wait."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from PIL import Image

from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.serving.photo_captioner import PhotoCaptioner

Result = PhotoCaptions | PhotoError


def warm_up(captioner: PhotoCaptioner, max_batch: int) -> None:
    """Caption a white photo in batches of several sizes, so that no request waits for TensorFlow to trace and plan."""
    photo = captioner.prepare(Image.new("RGB", (8, 8), "white"))
    for photos in sorted({1, min(2, max_batch), max_batch}):
        captioner([photo] * photos)


# After a batch, the next one waits at most so long for as many photos as were there before, as a share of the batch's
# time. Clients that send photo after photo come back then. Without, half of them would always wait for the other half.
WAIT_SHARE = 0.1


class RequestBatcher:
    """Runs a captioner for many threads, in batches of the photos that they wait for.

    Photos that come while the model runs form the next batch, in the order in which they came, up to `max_batch`. It
    starts when as many wait as there were when the last one ended, those of that batch included, or a tenth of its
    time later. A photo that comes after that is captioned at once, as a batch of one.

    Args:
        captioner: captions prepared photos; called by one thread only.
        max_batch: photos of a batch at most.
        on_batch: told the photos of each batch before the model runs.
    """

    def __init__(
        self,
        captioner: PhotoCaptioner,
        *,
        max_batch: int,
        on_batch: Callable[[int], object] = lambda photos: None,
    ) -> None:
        self._captioner, self._max_batch, self._on_batch = captioner, max_batch, on_batch
        self._waiting: deque[tuple[bytes, Future[Result]]] = deque()
        self._changed = threading.Condition()
        self._expected, self._until = 1, 0.0  # photos that the next batch waits for, and how long
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="captioner", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Photos that wait for the model, without those that it runs on."""
        return len(self._waiting)

    def submit(self, photo: bytes) -> "Future[Result]":
        """Caption one prepared photo; the result is its captions or its error.

        Raises:
            RuntimeError: the batcher is closed.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the captioner has stopped")
            self._waiting.append((photo, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Let the running batch end; photos that still wait are cancelled."""
        with self._changed:
            self._closed = True
            while self._waiting:
                self._waiting.popleft()[1].cancel()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._on_batch(len(batch))
            start = time.monotonic()
            try:
                results = self._captioner([photo for photo, _ in batch])
                end = time.monotonic()
                self._expected, self._until = len(batch) + len(self._waiting), end + WAIT_SHARE * (end - start)
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
            except Exception as error:  # goes to the requests of this batch; the next batches are not concerned
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    def _next_batch(self) -> list[tuple[bytes, "Future[Result]"]]:
        """The photos that have waited longest; waits until there is one; empty when closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            expected = min(self._expected, self._max_batch)
            while len(self._waiting) < expected and not self._closed and (left := self._until - time.monotonic()) > 0:
                self._changed.wait(left)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
