"""Small data that the tests make themselves; `shared_data` skips where the real data is not there."""

import gc
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

IN_MEMORY = ["--direct_running_mode=in_memory", "--direct_num_workers=1"]


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """Folders of 60 drawn photos and their captions, in the Flickr8k layout."""
    from tfcaption.sample_data import write_sample

    return write_sample(tmp_path_factory.mktemp("sample"), photos=60, seed=3)


@pytest.fixture(scope="session")
def sample_records(sample, tmp_path_factory):
    """Records of those photos, 32 pixels."""
    from beam_jobs.build_records import main

    output = tmp_path_factory.mktemp("records") / "records"
    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output)]
    assert main([*arguments, "--image_size=32", "--min_count=1", "--shards=3", *IN_MEMORY]) == 0
    return output


def pytest_collection_finish():
    """What the imports made stays: looking through it after every test would take half a second each time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def forget_models():
    """Keras remembers every layer that was ever made."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()


def extracted(records, output, stage, *flags):
    from beam_jobs.extract_features import main

    arguments = ["--records", str(records), "--output", str(output), "--stage", stage, "--weights", "random"]
    assert main([*arguments, "--batch_size=16", *flags]) == 0
    return output


@pytest.fixture(scope="session")
def pooled(sample_records, tmp_path_factory):
    """Pooled features of those records."""
    return extracted(sample_records, tmp_path_factory.mktemp("features") / "pooled", "pooled")


@pytest.fixture(scope="session")
def trunk(sample_records, tmp_path_factory):
    """Trunk features of those records."""
    return extracted(sample_records, tmp_path_factory.mktemp("features") / "trunk", "trunk")


@pytest.fixture(scope="session")
def info(sample_records):
    from tfcaption.records.dataset_info import load_dataset_info

    return load_dataset_info(sample_records)


@pytest.fixture(scope="session")
def shared_data():
    """Real Flickr8k, beside the checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs real data in {folder}")
    return folder


@pytest.fixture
def small_run(sample_records, tmp_path):
    """A config file of a training of a random ResNet50."""
    config = tmp_path / "config.yaml"
    config.write_text(f"run: {tmp_path / 'out'}\ndata: {{records: {sample_records}}}\nmodel: {{weights: random}}\n")
    return config


def tree_bytes(folder):
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
