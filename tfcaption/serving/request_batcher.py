"""Captions the photos of concurrent requests together: one thread runs the model on all photos that wait."""

import threading
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


class RequestBatcher:
    """Runs a captioner for many threads, in batches of the photos that they wait for.

    A photo never waits for others to come: as soon as the model is free, it runs on those that wait, in the order in
    which they came. So a lone photo is a batch of one, and under load the batches grow up to `max_batch`.

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
            try:
                results = self._captioner([photo for photo, _ in batch])
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
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
