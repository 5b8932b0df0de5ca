"""Two hundred thousand photos, a million rejections: a worker's memory does not grow with them, and nothing is lost."""

import json
import os
import resource
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import apache_beam as beam
import pytest

from beam_jobs.execution.options import beam_options
from beam_jobs.execution.rejection_files import RejectionFiles, line_in_file, merge_rejections
from tests.support.photos import picture
from tfcaption.records.dataset_info import Rejection, load_dataset_info

PHOTOS, CAPTIONS = 200_000, 5
DIFFERENT = 50  # files; all photos are links to them


def write_photos(folder, count):
    """`count` photos of 32 pixels in folders of a thousand, and a table of their captions."""
    folder.mkdir()
    for index in range(DIFFERENT):
        picture().resize((32, 32)).rotate(index).save(folder / f"{index}.bytes", "JPEG")
    with (folder / "captions.csv").open("w") as table:
        table.write("image,caption\n")
        for index in range(count):
            below = folder / f"{index // 1000:04d}"
            if not index % 1000:
                below.mkdir()
            os.link(folder / f"{index % DIFFERENT}.bytes", below / f"{index:07d}.jpg")
            for number in range(CAPTIONS):
                table.write(
                    f"{index:07d}.jpg,a photo with the number {number} of {index % 4000} different things in it\n"
                )
    return folder


class MemoryWatch:
    """Resident memory (MB) of a process and its children, watched until it ends."""

    def __init__(self, process, output):
        self.peak = defaultdict(int)  # launcher or worker -> peak of any such process
        self.writing = defaultdict(list)  # worker -> (shards written by then, memory), sampled over time
        self._family, self._ended = {process.pid}, threading.Event()
        watcher = threading.Thread(target=self._watch, args=(output,))
        watcher.start()
        code = process.wait()
        self._ended.set()
        watcher.join()
        assert code == 0

    def _watch(self, output):
        while not self._ended.wait(0.5):
            shards = len(list(output.glob("*-of-*.tfrecord")))
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                    command = (status.parent / "cmdline").read_text()
                except OSError:  # the process ended
                    continue
                process = int(lines["Pid"])
                if process in self._family or int(lines["PPid"]) in self._family:
                    self._family.add(process)
                    resident, peak = (int(lines.get(name, "0").split()[0]) // 1000 for name in ("VmRSS", "VmHWM"))
                    role = "worker" if "sdk_worker_main" in command else "launcher"
                    self.peak[role] = max(self.peak[role], peak)
                    if role == "worker":
                        self.writing[process].append((shards, resident))


def build(folder, output):
    command = [sys.executable, "-m", "beam_jobs.build_records", "--images", folder, "--captions", folder]
    command += ["--source", "table", "--output", output, "--image_size=32", "--direct_num_workers=2"]
    with subprocess.Popen([*map(str, command)]) as process:
        return MemoryWatch(process, output)


@pytest.mark.slow
def test_a_worker_s_memory_does_not_grow_while_it_writes_two_hundred_thousand_photos(tmp_path):
    watches = {}
    for count in (PHOTOS // 10, PHOTOS):
        folder = write_photos(tmp_path / f"photos-{count}", count)
        watches[count] = build(folder, tmp_path / f"records-{count}")
        info = load_dataset_info(tmp_path / f"records-{count}")
        assert sum(split.photos for split in info.splits.values()) == count
        assert info.captions_in == CAPTIONS * count and not info.rejected_photos
        shards = [shard for split in info.splits.values() for shard in split.shards]
        assert max(shard.records for shard in shards) <= 600
    large = watches[PHOTOS]
    print({count: dict(watch.peak) for count, watch in watches.items()})
    memory = {}
    for worker, samples in large.writing.items():
        early = [resident for done, resident in samples if 0.1 < done / len(shards) < 0.3]
        late = [resident for done, resident in samples if 0.7 < done / len(shards) < 0.95]
        if early and late:
            memory[worker] = max(early), max(late)
    print(memory)
    assert sum(early > 50 for early, _ in memory.values()) == 2, "two workers, and the shells that started them"
    assert all(late <= early + 20 for early, late in memory.values())
    # FnApiRunner sends a worker its share of the shuffle in one message, before the first shard.
    share = large.peak["worker"] - watches[PHOTOS // 10].peak["worker"]
    assert share < 3e-3 * (PHOTOS - PHOTOS // 10), share


class RejectMany(beam.DoFn):
    """A thousand rejections of each number."""

    def process(self, number):
        for index in range(1000):
            rejection = Rejection(kind="photo", id=f"{number}/{index}.jpg", reason="truncated", detail="x" * 50)
            yield line_in_file(rejection)


def finish(_, files, output):
    """The final step of a job; says how much memory (MB) merging took at most, and how much the worker had before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    counts = merge_rejections(files, output)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    Path(output, "peak.json").write_text(json.dumps({"rejections": counts.total, "before": before, "peak": peak}))


@pytest.mark.slow
def test_a_million_rejections_pass_through_no_worker_as_a_whole(tmp_path):
    found = {}
    for thousands in (10, 1000):
        output = str(tmp_path / str(thousands))
        Path(output).mkdir()
        options = beam_options(["--direct_num_workers=2"], output=output)
        with beam.Pipeline(options=options) as pipeline:
            rejections = pipeline | beam.Create(range(thousands), reshuffle=True) | beam.ParDo(RejectMany())
            files = rejections | RejectionFiles(output)
            _ = pipeline | "Once" >> beam.Create([None]) | beam.Map(finish, beam.pvalue.AsList(files), output)
        found[thousands] = json.loads(Path(output, "peak.json").read_text())
        assert found[thousands]["rejections"] == 1000 * thousands
        with Path(output, "rejected.jsonl").open() as lines:
            assert sum(1 for _ in lines) == 1000 * thousands
    print(found)
    # FnApiRunner sends a worker its half of all lines in one message. As a list, all take 0.6 GB.
    assert found[1000]["peak"] - found[10]["peak"] < 500, found
    assert found[1000]["peak"] - found[1000]["before"] < 50, found
