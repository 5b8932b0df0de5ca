"""Benchmark of the server: photos/s and latency, by the number of clients that ask at the same time."""

import http.client
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tfcaption.benchmarks.harness import BenchmarkError, Row, find_jpegs

PHOTOS = 32
TIMEOUT = 120  # seconds, of one request


def measure_serve(
    *, model: str, images: Path, clients: Sequence[int], seconds: float, max_batch: int | None, repeats: int
) -> list[Row]:
    """Photos/s of `tfcaption.serve` with some clients, each of which sends one photo after another.

    Also says how many requests got another caption than that which the photo gets alone.

    Args:
        model: run directory, export or hf://OWNER/NAME.
        images: folder of JPEG photos, the first PHOTOS of which are sent.
        clients: numbers of clients; the first is the reference.
        seconds: that they send, in each repeat.
        max_batch: of the server; None: its default.
        repeats: measurements of each.

    Raises:
        BenchmarkError: the server does not start, or refuses a request.
    """
    photos = [path.read_bytes() for path in find_jpegs(images)[:PHOTOS]]
    rates = [Row(_named(count), "photos/s", _named(clients[0]) if index else "") for index, count in enumerate(clients)]
    latencies = [Row(f"{_named(count)}, median latency", "ms") for count in clients]
    with _server(model, max_batch) as port:
        expected = {index: caption for index, caption, _ in _send(port, photos, range(len(photos)), 1, math.inf)}
        for _ in range(repeats):
            for count, rate, latency in zip(clients, rates, latencies, strict=True):
                start = time.monotonic()
                answers = _send(port, photos, itertools.cycle(range(len(photos))), count, seconds)
                rate.values.append(len(answers) / (time.monotonic() - start))
                latency.values.append(1000 * statistics.median(taken for _, _, taken in answers))
                differ = sum(caption != expected[index] for index, caption, _ in answers)
                rate.note = f"; {differ} of {len(answers)} captions differ"
    return [*rates, *latencies]


def _named(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


@contextmanager
def _server(model: str, max_batch: int | None) -> Iterator[int]:
    """The port of a server that runs in a process of its own."""
    command = [sys.executable, "-m", "tfcaption.serve", model, "--port", "0", "--quiet"]
    command += [] if max_batch is None else ["--max_batch", str(max_batch)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        started = process.stdout.readline().split()
        if not started:
            (*_, message) = ["", *process.stderr.read().strip().splitlines()]
            raise BenchmarkError(f"{' '.join(command[1:])}: {message}")
        yield int(started[2].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def _send(
    port: int, photos: Sequence[bytes], indices: Iterable[int], clients: int, seconds: float
) -> list[tuple[int, str, float]]:
    """(index of the photo, its caption, seconds) of each request that some clients send for so long."""
    end, left = time.monotonic() + seconds, iter(indices)

    def client(_: int) -> list[tuple[int, str, float]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        answers = []
        while (start := time.monotonic()) < end and (index := next(left, None)) is not None:
            connection.request("POST", "/v1/captions?nbest=1&attention=0", photos[index])
            answer = json.loads(connection.getresponse().read())
            if "error" in answer:
                raise BenchmarkError(f"the server refused a photo: {answer['error']['message']}")
            answers.append((index, answer["captions"][0]["caption"], time.monotonic() - start))
        connection.close()
        return answers

    with ThreadPoolExecutor(clients) as pool:
        return [answer for answers in pool.map(client, range(clients)) for answer in answers]
