"""Many small Python objects as one element of a pipeline, since each element has its cost."""

import pickle
import zlib
from typing import Any

_LEVEL = 1  # captions become a fifth; the next levels take up to three times as long for a tenth less


def packed(value: Any) -> bytes:
    """A value as it travels between workers.

    It is compressed, because a job on Flink cannot have more of a worker's output on its way than some 1 GB: see
    `docs/upstream`.
    """
    return zlib.compress(pickle.dumps(value), _LEVEL)


def unpacked(data: bytes) -> Any:
    """The value that `packed` was given."""
    return pickle.loads(zlib.decompress(data))
