"""The benchmarks measure what they name, beside an alternative that does equal work."""

import contextlib
import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from tests.support.runs import config, train
from tfcaption.benchmark import main
from tfcaption.benchmarks import serve
from tfcaption.benchmarks.baselines import KerasSequence
from tfcaption.benchmarks.harness import Row, find_jpegs, ratio_to_reference, repeated_photos
from tfcaption.config import save_config
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records import tfrecord
from tfcaption.records.captions import Hypothesis, PhotoCaptions
from tfcaption.records.examples import decode_record
from tfcaption.serving.http_server import Server
from tfcaption.serving.server_options import ServerOptions


def test_a_ratio_is_a_speed_up_for_rates_and_for_seconds():
    medians = {"slow": 10.0, "long": 60.0}
    assert ratio_to_reference(Row("ours", "photos/s", "slow", [5.0, 40.0, 900.0]), medians) == 4
    assert ratio_to_reference(Row("ours", "s/epoch", "long", [6.0]), medians) == 10


def test_input_measures_all_candidates_in_one_run(sample, sample_records, pooled, tmp_path, capsys):
    command = ["input", "--images", str(sample[0]), "--records", str(sample_records), "--features", str(pooled)]
    assert main([*command, "--seconds=0.05", "--repeats=2", "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"].partition(",")[0] for row in rows] == [
        "Keras sequence over files (a photo for each caption)",
        "tf.data list_files over files",
        *["tfcaption from photo"] * 2,
        *["tfcaption from pooled"] * 2,
    ]
    for row in rows:
        assert len(row["values"]) == 2 and min(row["values"]) > 0 and row["name"] in printed
    assert rows[2]["ratio"] == pytest.approx(rows[2]["median"] / rows[0]["median"])


@pytest.mark.slow
def test_train_and_search_compare_with_keras_and_write_no_run_directory(sample, sample_records, pooled, tmp_path):
    settings = config(tmp_path / "run", sample_records, 1, pooled)
    save_config(settings, tmp_path / "config.yaml")
    options = ["--repeats=1", "--json", str(tmp_path / "out.json")]
    trained = ["train", "--images", str(sample[0]), "--configs", str(tmp_path / "config.yaml")]
    assert main([*trained, "--steps=2", "--naive_steps=1", *options]) == 0
    names = ["Keras fit, encoder in the graph, frozen", "tfcaption.train from pooled, frozen"]
    assert [row["name"] for row in json.loads((tmp_path / "out.json").read_text())] == names
    assert not (tmp_path / "run").exists()
    search = ["search", "--run", str(train(settings)), "--features", str(pooled)]
    assert main([*search, "--photos=6", "--batch_size=2", "--naive_photos=1", *options]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == 7 and all(row["reference"] == rows[0]["name"] for row in rows[1:])


def test_the_keras_sequence_yields_pixels_and_shifted_padded_captions(sample):
    paths = find_jpegs(sample[0])
    captions = [[2, 5, 6, 3], [2, 7, 3]]
    pairs = KerasSequence(paths, captions, longest=6, image_size=32, batch_size=2)
    (images, inputs), targets = pairs[0]
    assert images.shape == (2, 32, 32, 3) and images.dtype == np.float32
    assert inputs.tolist() == [[2, 5, 6, 3, 0], [2, 7, 3, 0, 0]]
    assert targets.tolist() == [[5, 6, 3, 0, 0], [7, 3, 0, 0, 0]]
    with Image.open(paths[0]) as photo:
        red = np.asarray(photo.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))[..., 0]
    np.testing.assert_allclose(images[0, ..., 2], red - 123.68, atol=1e-3)


def test_serve_measures_each_number_of_clients_and_counts_captions_that_changed(sample, monkeypatch, capsys):
    class BatchSize:
        """Captions every photo with the size of its batch, so that captions depend on how many ask."""

        options = CaptionOptions(beam=1)

        def prepare(self, photo):
            return photo[:9]

        def __call__(self, photos):
            threading.Event().wait(0.01)
            return [PhotoCaptions((Hypothesis(f"{len(photos)}", -1.0),)) for _ in photos]

    @contextlib.contextmanager
    def server(model, max_batch):
        started = Server(BatchSize(), ServerOptions("x", max_batch=max_batch), host="127.0.0.1", port=0)
        thread = threading.Thread(target=started.run)
        thread.start()
        try:
            yield started.port
        finally:
            started.close()
            thread.join()

    monkeypatch.setattr(serve, "_server", server)
    command = ["serve", "--model", "x", "--images", str(sample[0]), "--seconds=0.5", "--repeats=2"]
    assert main([*command, "--max_batch=4", "--clients", "1", "4"]) == 0
    one, four, *latencies = capsys.readouterr().out.splitlines()[1:]
    assert re.match(r"1 client +[\d.]+ .* photos/s; 0 of \d+ captions differ$", one)
    found = re.match(r"4 clients +[\d.]+ .*x  photos/s; (\d+) of (\d+) captions differ$", four)
    assert 0 < int(found[1]) <= int(found[2]) and [line.rpartition("  ")[2] for line in latencies] == ["ms", "ms"]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_plain_loop_writes_a_record_for_every_photo(sample, tmp_path, processes):
    paths = find_jpegs(sample[0])[:10]
    (tmp_path / "photos").mkdir()
    (tmp_path / "records").mkdir()
    for path in paths:
        (tmp_path / "photos" / path.name).symlink_to(path)
    module = [sys.executable, "-m", "tfcaption.benchmarks.plain_loops", "records"]
    subprocess.run([*module, tmp_path / "photos", tmp_path / "records", str(processes), "32"], check=True)
    found = []
    for file in sorted((tmp_path / "records").iterdir()):
        with file.open("rb") as stream:
            found += [decode_record(data).photo_id for data in tfrecord.read_frames(stream, file.name)]
    assert sorted(found) == sorted(str(path) for path in (tmp_path / "photos").iterdir())


def test_repeated_photos_have_the_flickr8k_layout(sample):
    with repeated_photos(sample[0], 70) as (folder, texts, paths):
        assert len(list(folder.iterdir())) == len(paths) == 70
        assert len((texts / "Flickr8k.token.txt").read_text().splitlines()) == 350
