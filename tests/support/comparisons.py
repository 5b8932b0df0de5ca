"""Compares what two devices computed, for tests/system/gpu_check.sh:

python -m tests.support.comparisons features DIR OTHER MOST
python -m tests.support.comparisons losses RUN OTHER MOST

Prints the largest relative difference; the exit code is 1 if it is more than MOST.
"""

import json
import sys
from pathlib import Path

import numpy as np

from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import features_of
from tfcaption.records.tfrecord import read_frames


def feature_difference(folder, other):
    """The largest difference of a photo's features, relative to their norm; both folders hold the same shards."""
    shards = [shard.name for split in load_features_info(folder).splits.values() for shard in split]
    largest = 0.0
    for name in shards:
        with (folder / name).open("rb") as ours, (other / name).open("rb") as theirs:
            for pair in zip(read_frames(ours, name), read_frames(theirs, name), strict=True):
                found, expected = (np.frombuffer(features_of(record), np.float16).astype(np.float64) for record in pair)
                largest = max(largest, float(np.linalg.norm(found - expected) / np.linalg.norm(expected)))
    return largest


def loss_difference(run, other):
    """The largest relative difference of the dev losses of two runs, epoch by epoch."""
    ours, theirs = (
        [json.loads(line)["dev_loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (run, other)
    )
    return max(abs(found - expected) / expected for found, expected in zip(ours, theirs, strict=True))


def main(kind, path, other, most):
    """The commands above."""
    compare = {"features": feature_difference, "losses": loss_difference}[kind]
    difference = compare(Path(path), Path(other))
    print(f"{kind}: relative difference {difference:.2e}, at most {float(most):.2e} is allowed")
    return 0 if difference <= float(most) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
