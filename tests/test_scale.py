"""Two hundred thousand photos: what a worker holds in memory does not grow with the data, nor is anything lost."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from tests.test_photos import picture
from tfcaption import records

PHOTOS, CAPTIONS = 200_000, 5
DIFFERENT = 50  # files; all photos are links to them


def write_photos(folder, count):
    """So many photos of 32 pixels in folders of a thousand, and a table of their captions."""
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


def peaks(process):
    """Largest resident memory (MB) that a process and its children, by what they are, were seen to have had."""
    found, done, family = defaultdict(int), threading.Event(), {process.pid}

    def watch():
        while not done.wait(0.5):
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                    command = (status.parent / "cmdline").read_text()
                except OSError:  # it ended
                    continue
                if int(lines["Pid"]) in family or int(lines["PPid"]) in family:
                    family.add(int(lines["Pid"]))
                    role = "worker" if "sdk_worker_main" in command else "launcher"
                    found[role] = max(found[role], int(lines.get("VmHWM", "0 kB").split()[0]) // 1000)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    assert code == 0
    return found


def build(folder, output):
    command = [sys.executable, "-m", "beam_jobs.build_records", "--images", folder, "--captions", folder]
    command += ["--source", "table", "--output", output, "--image_size=32", "--direct_num_workers=2"]
    with subprocess.Popen([*map(str, command)]) as process:
        return peaks(process)


@pytest.mark.slow
def test_a_worker_holds_no_more_of_two_hundred_thousand_photos_than_of_twenty_thousand(tmp_path):
    peak = {}
    for count in (PHOTOS // 10, PHOTOS):
        folder = write_photos(tmp_path / f"photos-{count}", count)
        peak[count] = build(folder, tmp_path / f"records-{count}")
        info = records.load_dataset_info(tmp_path / f"records-{count}")
        assert sum(split.photos for split in info.splits.values()) == count
        assert info.captions_in == CAPTIONS * count and not info.rejected_photos
        assert max(shard.records for split in info.splits.values() for shard in split.shards) <= 600
    print(peak)
    assert peak[PHOTOS]["worker"] > 50, "no worker was seen"
    assert peak[PHOTOS]["worker"] < 1.25 * peak[PHOTOS // 10]["worker"], peak
