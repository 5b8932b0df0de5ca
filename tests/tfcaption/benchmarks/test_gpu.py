"""The benchmark of a GPU: its data, its judgement of losses, and all of it on a CPU."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfcaption.benchmark import main
from tfcaption.benchmarks.gpu import compare_losses, tolerance
from tfcaption.benchmarks.step_losses import StepLosses
from tfcaption.benchmarks.synthetic import WORDS, EncoderFacts, write_data_set
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.input_pipeline.split import open_split
from tfcaption.records.dataset import load_dataset
from tfcaption.records.vocabulary import END, START

SMALL = [
    *("--photos=64", "--image_size=32", "--steps=2", "--repeats=2", "--set", "data.batch_size_photos=8"),
    *("data.length_buckets=2", "model.embedding_units=16", "model.gru_units=64", "model.dense_units=64"),
    "train.learning_rate=0.003",
]


@pytest.fixture
def random_data(tmp_path):
    stages = {"pooled": [6], "trunk": [2, 2, 5]}
    facts = EncoderFacts(
        names=["resnet50"],
        inputs=["caffe"],
        preprocessing="",
        layers={stage: ["layer"] for stage in stages},
        shapes=stages,
        fingerprints=dict.fromkeys(stages, "0"),
    )
    return write_data_set(tmp_path / "data", facts, photos=40, image_size=32)


def test_random_features_can_be_read_and_their_captions_are_those_of_a_language(random_data):
    records, features = random_data
    for stage, shape in (("pooled", (6,)), ("trunk", (2, 2, 5))):
        dataset = load_dataset(records, features[stage])
        split = open_split("train", dataset, buckets=1)
        batches = list(make_batches(split, BatchOptions(8)))
        inputs = np.concatenate([batch["inputs"] for batch in batches])
        tokens = np.concatenate([np.reshape(batch["tokens"], (-1, batch["tokens"].shape[-1])) for batch in batches])
        tokens = tokens[tokens[:, 0] > 0]
        assert inputs.shape[1:] == shape and 0.3 < np.mean(inputs > 0) < 0.7 and np.isfinite(inputs).all()
        assert len(tokens) == 5 * 40 and (tokens[:, 0] == START).all() and (tokens == END).any(1).all()
        assert np.count_nonzero(tokens) == dataset.info.split("train").tokens
        assert 9.8 < np.count_nonzero(tokens, 1).mean() - 2 < 11.8
        counts = np.bincount(tokens[tokens > END], minlength=WORDS)
        assert counts.tolist() == [0, 0, 0, 0, *dataset.info.word_counts[4:]]
        assert counts[4:14].sum() > 0.25 * counts.sum()  # ten words of 2,536: by Zipf's law 35% of all


def test_losses_agree_within_the_rounding_of_the_precision_and_not_beyond():
    expected = [8.0, 6.0, 4.0]
    for precision, rounding in (("mixed_bfloat16", 2**-8), ("mixed_float16", 2**-11)):
        assert tolerance(precision) == 2 * rounding
        near, far = ([8.0, 6.0 * (1 + share * rounding), 4.0] for share in (1.9, 2.1))
        assert not compare_losses("x", StepLosses(near), expected, precision).fault
        assert compare_losses("x", StepLosses(far), expected, precision).fault.startswith("x: losses differ ")
    assert compare_losses("x", StepLosses([8.0, float("nan"), 4.0]), expected, "mixed_float16").fault


def test_losses_that_hardly_fall_prove_nothing():
    flat = [8.0, 7.99, 7.98]
    assert "equal losses prove nothing" in compare_losses("x", StepLosses(flat), flat, "mixed_float16").fault


def test_without_a_gpu_one_line_says_so_and_names_the_cpu(capsys):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert main(["gpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: TensorFlow finds no GPU on this machine") and "--device cpu" in line


def test_a_config_that_samples_captions_is_refused(capsys):
    assert main(["gpu", "--device=cpu", "--configs", "flickr8k_frozen_cider"]) == 1
    assert "train.objective=cider; name a config of cross_entropy" in capsys.readouterr().err


@pytest.mark.slow
def test_all_is_measured_on_a_cpu_for_both_variants(tmp_path, capsys):
    output = tmp_path / "out.json"
    assert main(["gpu", "--device=cpu", "--profile", str(tmp_path / "traces"), "--json", str(output), *SMALL]) == 0
    rows = {row["name"]: row for row in json.loads(output.read_text())}
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)
    for variant in ("flickr8k_frozen", "flickr8k_finetuned"):
        step, ready = rows[f"{variant}: step"], rows[f"{variant}: step on batches in memory"]
        waiting = rows[f"{variant}: waiting for input"]["values"]
        shares = [100 * (1 - own / fed) for own, fed in zip(ready["values"], step["values"], strict=True)]
        assert waiting == pytest.approx(shares) and len(waiting) == 2
        arithmetic = rows[f"{variant}: arithmetic"]
        assert arithmetic["ratio"] == pytest.approx(
            arithmetic["median"] / rows["matrix product, bfloat16, 1024 x 1024"]["median"]
        )
        assert "compiled kernels read and write" in rows[f"{variant}: memory traffic"]["note"]
        assert rows[f"{variant}: largest difference of losses from the CPU's"]["values"][0] < 1e6 * 2 * 2**-8
        assert len(list((tmp_path / "traces" / variant).rglob("*.xplane.pb"))) == 1


@pytest.mark.slow
def test_without_xla_the_step_of_a_cpu_is_measured(tmp_path):
    output = tmp_path / "out.json"
    options = ["--configs", "flickr8k_finetuned", "--json", str(output), *SMALL, "train.xla=false"]
    assert main(["gpu", "--device=cpu", *options]) == 0
    rows = {row["name"]: row for row in json.loads(output.read_text())}
    arithmetic, ready = (rows[f"flickr8k_finetuned: {name}"] for name in ("arithmetic", "step on batches in memory"))
    assert (arithmetic["unit"], ready["unit"]) == ("GFLOP/CPU s", "CPU ms")
    assert "padding left out" in arithmetic["note"] and "flickr8k_finetuned: memory traffic" not in rows


def test_without_xla_only_the_arithmetic_of_the_gru_is_known(capsys):
    options = ["--configs", "flickr8k_attention", "--set", "train.xla=false"]
    assert main(["gpu", "--device=cpu", *options]) == 1
    assert "without XLA only the arithmetic of model.decoder=gru is known" in capsys.readouterr().err


@pytest.mark.slow
def test_given_features_are_taken_by_their_stage(sample_records, pooled, trunk, tmp_path, capsys):
    given = ["--records", str(sample_records), "--features", str(pooled), "--configs", "flickr8k_frozen"]
    options = ["--json", str(tmp_path / "out.json"), *SMALL, "model.weights=random"]
    assert main(["gpu", "--device=cpu", *given, *options]) == 0
    assert " flickr8k_frozen: step" in f" {capsys.readouterr().out}".replace("\n", "\n ")
    assert main(["gpu", "--device=cpu", *given[:4], "--configs", "flickr8k_finetuned", *options]) == 1
    assert "none of --features is of stage trunk" in capsys.readouterr().err
