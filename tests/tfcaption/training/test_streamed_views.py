"""Runs that stream features in several views: resumed exactly in every variant, on several replicas and hosts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.features import with_views
from tests.support.host_data import records_and_vectors, settings_of
from tests.support.runs import config, evaluate, figures, hosts_of, outputs_of, step_losses, train
from tfcaption.config import save_config


@pytest.fixture(scope="module")
def views(small_pooled, tmp_path_factory):
    return with_views(small_pooled, tmp_path_factory.mktemp("features") / "pooled", 3)


def streaming(settings, **train):
    settings.data.cache = False
    settings.train = settings.train.model_copy(update=train)
    return settings


def assert_equal_runs(one, other, epochs):
    assert step_losses(one) == step_losses(other) and figures(one) == figures(other)
    assert len(figures(one)) == epochs


def test_a_run_resumes_exactly_and_its_first_epoch_shows_other_views(sample_records, small_pooled, views, tmp_path):
    for name, features, *epochs in (("whole", views, 3), ("resumed", views, 1, 3), ("single", small_pooled, 1)):
        for number in epochs:
            train(streaming(config(tmp_path / name, sample_records, number, features)))
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed", 3)
    # Shards of the first epoch are in views 0, 1 and 2.
    assert step_losses(tmp_path / "single")[0] != step_losses(tmp_path / "whole")[0]


def test_the_training_split_is_evaluated_as_it_is_without_the_shards_of_further_views(
    sample_records, info, views, tmp_path
):
    run = train(streaming(config(tmp_path / "run", sample_records, 1, views)))
    moved = [shard.rename(tmp_path / shard.name) for shard in views.glob("train.view*")]
    assert evaluate(run, split="train")["photos"] == info.splits["train"].photos
    for shard in moved:
        shard.rename(views / shard.name)


@pytest.mark.slow
def test_the_finetuned_variant_resumes_exactly(sample_records, small_trunk, tmp_path):
    features = with_views(small_trunk, tmp_path / "views", 2)
    for name, *epochs in (("whole", 2), ("resumed", 1, 2)):
        for number in epochs:
            train(streaming(config(tmp_path / name, sample_records, number, features, variant="finetuned")))
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed", 2)


@pytest.mark.slow
def test_training_by_cider_resumes_exactly(trained_run, sample_records, views, tmp_path):
    for name, *epochs in (("whole", 3), ("resumed", 1, 3)):
        for number in epochs:
            settings = config(tmp_path / name, sample_records, number, views)
            train(streaming(settings, start_from=str(trained_run), objective="cider"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed", 3)


TWO_REPLICAS = """
import sys
import tensorflow as tf
from tests.support.runs import train
from tfcaption.config import load_config
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
for path in sys.argv[1:]:
    train(load_config(path))
"""


@pytest.mark.slow
def test_two_replicas_resume_exactly_and_train_as_one_does(sample_records, views, tmp_path):
    paths = []
    for name, *epochs in (("whole", 2), ("resumed", 1, 2)):
        for number in epochs:
            settings = streaming(config(tmp_path / name, sample_records, number, views, dropout=0.0))
            paths.append(str(tmp_path / f"{name}-{number}.yaml"))
            save_config(settings, Path(paths[-1]))
    command = [sys.executable, "-c", TWO_REPLICAS, *paths]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert "2 replica(s)" in done.stdout and "in 3 views, streamed" in done.stdout
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed", 2)
    train(streaming(config(tmp_path / "one", sample_records, 2, views, dropout=0.0)))
    losses = [[line["loss"] for line in step_losses(tmp_path / name)] for name in ("one", "whole")]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_two_hosts_resume_exactly(sample, tmp_path):
    records, vectors = records_and_vectors(sample, tmp_path)
    data = records, with_views(vectors, tmp_path / "views", 3)
    for name, *epochs in (("whole", 3), ("resumed", 1, 3)):
        for number in epochs:
            settings = streaming(settings_of(tmp_path / name, data, epochs=number))
            processes = hosts_of(tmp_path, settings, ("worker", "worker"))
            outputs = outputs_of(processes)
            assert [process.returncode for process in processes] == [0, 0], outputs
    assert_equal_runs(tmp_path / "whole", tmp_path / "resumed", 3)
    assert "in 3 views, streamed" in outputs[0][0]
