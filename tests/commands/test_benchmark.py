"""The benchmarks measure what they name, beside an alternative that does equal work."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tests.support.runs import config, train
from tfcaption.benchmark import BENCHMARKS, main, parse_arguments
from tfcaption.benchmarks import serve
from tfcaption.benchmarks.baselines import KerasSequence, fit_seconds, keras_captioner
from tfcaption.benchmarks.harness import Row, find_jpegs, ratio_to_reference, read_rows, repeated_photos, write_rows
from tfcaption.benchmarks.machine import Machine
from tfcaption.benchmarks.search import find_dataset
from tfcaption.benchmarks.suite import FULL, QUICK, Prepared, measure, planned
from tfcaption.config import save_config
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records import tfrecord
from tfcaption.records.captions import Hypothesis, PhotoCaptions
from tfcaption.records.examples import decode_record
from tfcaption.runs.directory import load_run
from tfcaption.runtime.errors import UsageError
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
        "JPEGs of the records in memory",
        "tfcaption from photo",
    ]
    for row in rows:
        assert len(row["values"]) == 2 and min(row["values"]) > 0 and row["name"] in printed
    assert rows[2]["ratio"] == pytest.approx(rows[2]["median"] / rows[0]["median"])
    assert rows[-1]["ratio"] == pytest.approx(rows[-1]["median"] / rows[-2]["median"])
    assert {row["unit"] for row in rows[-2:]} == {"photos/CPU s"}


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
    assert main([*search, "--photos=6", "--batch_size=2", "--naive_photos=1", "--xla", "--cpu", *options]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == 7 and all(row["reference"] == rows[0]["name"] for row in rows[1:])
    for beam, greedy in ((3, 1), (6, 4)):
        assert f"{rows[greedy]['median'] / rows[beam]['median']:.2f} times the time of greedy" in rows[beam]["note"]


def test_cider_compares_both_phases_and_rewards_and_refuses_other_objectives(
    sample_records, small_pooled, trained_run, tmp_path, capsys
):
    settings = config(tmp_path / "run", sample_records, 1, small_pooled)
    save_config(settings, tmp_path / "plain.yaml")
    command = ["cider", "--configs", str(tmp_path / "plain.yaml"), "--repeats=2", "--steps=6"]
    assert main(command) == 1
    assert "plain.yaml: train.objective=cross_entropy; name a config of the CIDEr phase" in capsys.readouterr().err
    overrides = ["train.objective=cider", f"train.start_from={trained_run}"]
    assert main([*command, "--set", *overrides, "--json", str(tmp_path / "out.json")]) == 0
    plain, ours, one_by_one, at_once = json.loads((tmp_path / "out.json").read_text())
    assert plain["unit"] == ours["unit"] == "s/epoch" and at_once["unit"] == "captions/s"
    assert ours["reference"] == plain["name"] and at_once["reference"] == one_by_one["name"]
    assert all(len(row["values"]) == 2 and min(row["values"]) > 0 for row in (plain, ours, one_by_one, at_once))
    assert re.match(r" \(sampling \d+% of the time, rewards [\d.]+%, the rest is the update; 6 steps of", ours["note"])
    assert not (tmp_path / "run").exists()


def test_search_takes_of_several_features_those_that_a_run_reads(trained_run, small_pooled):
    run = load_run(trained_run)
    assert find_dataset(run, []).stage == find_dataset(run, [small_pooled]).stage == "pooled"
    attends = run.config.model_copy(update={"model": run.config.model.model_copy(update={"decoder": "attention"})})
    with pytest.raises(UsageError, match="reads features of stage map or trunk; add such a folder to --features"):
        find_dataset(replace(run, config=attends), [small_pooled])


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


class LeavesItsProcess(KerasSequence):
    """Leaves a file for each batch, named by the process that prepared it."""

    folder = None

    def __getitem__(self, index):
        (self.folder / f"{os.getpid()}-{index}").touch()
        return super().__getitem__(index)


def test_keras_fit_prepares_batches_in_processes_and_the_first_ones_are_not_measured(sample, tmp_path):
    options = {"longest": 4, "image_size": 8, "batch_size": 2, "workers": 2}
    pairs = LeavesItsProcess(find_jpegs(sample[0]), [[2, 5, 3]] * 100, **options)
    pairs.folder = tmp_path
    images, tokens = keras.Input((8, 8, 3)), keras.Input((None,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling2D()(images)[:, None]
    model = keras.Model([images, tokens], keras.layers.Dense(9)(keras.layers.Embedding(9, 3)(tokens) + pooled))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    seconds = fit_seconds(model, pairs, 3)
    assert len(seconds) == 3 and min(seconds) > 0
    found = [name.name.split("-") for name in tmp_path.iterdir()]
    others = {int(index) for process, index in found if int(process) != os.getpid()}
    assert len(others) >= 1 + pairs.max_queue_size + 3


def test_keras_fit_is_compiled_as_keras_chooses_by_default():
    sizes = {"vocabulary_size": 9, "image_size": 32, "weights": "random", "gru_units": 4, "dense_units": 4}
    model = keras_captioner(**sizes, finetuned=False)
    default = keras.Sequential([keras.layers.GRU(4)])
    default.compile(loss="mse")
    assert model.jit_compile == default.jit_compile


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


def test_rows_that_were_written_are_read_back(tmp_path):
    rows = [Row("slow", "photos/s", values=[10.0]), Row("ours", "photos/s", "slow", [40.0, 50.0], "; two")]
    write_rows(rows, tmp_path / "rows.json")
    assert read_rows(tmp_path / "rows.json") == rows


def test_all_measures_every_benchmark_that_needs_no_gpu_with_arguments_that_its_command_takes(tmp_path):
    for sizes in (FULL, QUICK):
        plan = planned(Prepared(tmp_path, tmp_path / "photos"), sizes)
        assert plan.keys() == BENCHMARKS.keys() - {"all", "gpu"}
        for name, arguments in plan.items():
            options = parse_arguments([name, *map(str, arguments)])
            assert options.benchmark == name and options.repeats == sizes.repeats


def test_a_benchmark_that_fails_is_named_with_its_message_and_without_the_temporary_folder(tmp_path):
    measured = measure("records", ("--images", tmp_path / "none", "--repeats", 1), tmp_path)
    assert measured.command == "python -m tfcaption.benchmark records --images none --repeats 1"
    assert "none: no JPEG photo below it" in measured.failure and not measured.rows


def test_photos_without_captions_are_refused(tmp_path, capsys):
    assert main(["all", "--images", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 1
    assert capsys.readouterr().err.startswith("error: --images and --captions belong together")


def test_the_machine_is_described_as_the_system_describes_it():
    machine = Machine()
    assert machine.threads == len(os.sched_getaffinity(0))
    assert machine.versions["keras"] == keras.__version__ and machine.versions["tfcaption"] == version("tfcaption")
    kilobytes = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())[1]
    assert machine.memory_gb == pytest.approx(int(kilobytes) / 2**20, abs=0.06)


@pytest.mark.slow
def test_all_measures_drawn_photos_and_its_file_can_be_shown_as_a_page(tmp_path, capsys):
    assert main(["all", "--quick", "--json", str(tmp_path / "out.json")]) == 0
    results = json.loads((tmp_path / "out.json").read_text())
    assert [one["name"] for one in results["benchmarks"]] == [name for name in BENCHMARKS if name not in ("all", "gpu")]
    assert all(min(row["values"]) > 0 for one in results["benchmarks"] for row in one["rows"])
    assert results["data"]["photos"] == QUICK.drawn_photos and results["quick"]
    assert tempfile.gettempdir() not in json.dumps(results["benchmarks"])
    page = subprocess.run(
        [sys.executable, Path(__file__).parents[2] / "docs" / "machine_table.py", tmp_path / "out.json"],
        capture_output=True,
        text=True,
    )
    printed = capsys.readouterr().out
    for one in results["benchmarks"]:
        assert one["command"] in printed
        assert f"`{one['command'].removeprefix('python -m tfcaption.benchmark ')}`" in page.stdout
        assert all(f"| {row['name']} | {row['median']:,.1f} |" in page.stdout for row in one["rows"])


def test_repeated_photos_have_the_flickr8k_layout(sample):
    with repeated_photos(sample[0], 70) as (folder, texts, paths):
        assert len(list(folder.iterdir())) == len(paths) == 70
        assert len((texts / "Flickr8k.token.txt").read_text().splitlines()) == 350
