"""Small data and runs that tests share; `shared_data` skips where the real data is missing."""

import functools
import gc
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

IN_MEMORY = ["--direct_running_mode=in_memory", "--direct_num_workers=1"]


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """Folders of 60 synthetic photos and their captions, in the Flickr8k layout."""
    from tfcaption.sample_data import write_sample

    return write_sample(tmp_path_factory.mktemp("sample"), photos=60, seed=3)


def build_sample(sample, output, *flags):
    from beam_jobs.build_records import main

    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output)]
    assert main([*arguments, "--image_size=32", "--min_count=1", "--shards=3", *flags, *IN_MEMORY]) == 0
    return output


@pytest.fixture(scope="session")
def sample_records(sample, tmp_path_factory):
    """Records of those photos, 32 pixels."""
    return build_sample(sample, tmp_path_factory.mktemp("records") / "records")


@pytest.fixture(scope="session")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if not found:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


def pytest_collection_finish():
    """Objects of the imports stay: a garbage collection of them after every test would take half a second."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    """Keras keeps every layer that was ever created, and each garbage collection goes through all objects that stay."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()  # which collects garbage
        gc.freeze()


def extracted(records, output, stage, *flags, encoder=None):
    """Features of an encoder file, or of ResNet50 with random weights."""
    from beam_jobs.extract_features import main

    source = ["--encoder", str(encoder)] if encoder else ["--weights=random"]
    arguments = ["--records", str(records), "--output", str(output), "--stage", stage, *source, "--precision=float32"]
    assert main([*arguments, "--batch_size=16", *flags]) == 0
    return output


@pytest.fixture(scope="session")
def shared_extractors():
    """Jobs in this process share extractors of random weights: to build and trace one takes most of a small job."""
    from beam_jobs.pipelines import features

    new_extractor = features.open_extractor
    shared_extractor = functools.lru_cache(maxsize=4)(new_extractor)

    def open_extractor(**options):
        return (shared_extractor if options["encoder"].weights == "random" else new_extractor)(**options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "open_extractor", open_extractor)
        yield


@pytest.fixture(scope="session")
def pooled(sample_records, shared_extractors, tmp_path_factory):
    """Pooled features of those records by ResNet50."""
    return extracted(sample_records, tmp_path_factory.mktemp("features") / "pooled", "pooled")


@pytest.fixture(scope="session")
def trunk(sample_records, shared_extractors, tmp_path_factory):
    """Trunk features of those records by ResNet50."""
    return extracted(sample_records, tmp_path_factory.mktemp("features") / "trunk", "trunk")


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    """An encoder file, for tests that are not about ResNet50: to build that and to save its weights takes seconds."""
    from tests.support.encoders import keras_file

    return keras_file(tmp_path_factory.mktemp("encoders") / "small.keras", side=32)


@pytest.fixture(scope="session")
def small_pooled(sample_records, small_encoder, tmp_path_factory):
    """Pooled features of those records by the small encoder."""
    return extracted(
        sample_records, tmp_path_factory.mktemp("features") / "small_pooled", "pooled", encoder=small_encoder
    )


@pytest.fixture(scope="session")
def small_trunk(sample_records, small_encoder, tmp_path_factory):
    """Trunk features of those records by the small encoder."""
    return extracted(
        sample_records, tmp_path_factory.mktemp("features") / "small_trunk", "trunk", encoder=small_encoder
    )


@pytest.fixture(scope="session")
def trained_run(sample_records, small_pooled, tmp_path_factory):
    """A run of two epochs from those pooled features, which shows two photos; tests that write into it copy it."""
    from tests.support.runs import config, train

    settings = config(tmp_path_factory.mktemp("runs") / "two", sample_records, 2, small_pooled)
    settings.train.shown_photos = 2
    return train(settings)


@pytest.fixture(scope="session")
def resnet50_run(sample_records, pooled, tmp_path_factory):
    """A run of two epochs from pooled features of ResNet50; tests that write into it copy it."""
    from tests.support.runs import config, train

    return train(config(tmp_path_factory.mktemp("runs") / "resnet50", sample_records, 2, pooled))


@pytest.fixture(scope="session")
def glove_file(sample_records, tmp_path_factory):
    """Random word vectors of 5 units for the vocabulary, in GloVe's format."""
    from tfcaption.records.vocabulary import load_vocabulary

    words = load_vocabulary(sample_records).words
    vectors = np.random.default_rng(0).normal(size=(len(words), 5)).astype(np.float32)
    path = tmp_path_factory.mktemp("glove") / "glove.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, vectors, strict=True)))
    return path


@pytest.fixture(scope="session")
def glove_run(sample_records, small_pooled, glove_file, tmp_path_factory):
    """A run of one epoch with fixed word vectors; tests that write into it copy it."""
    from tests.support.runs import config, train

    run = tmp_path_factory.mktemp("runs") / "glove"
    return train(config(run, sample_records, 1, small_pooled, glove=str(glove_file), train_embedding=False))


@pytest.fixture(scope="session")
def info(sample_records):
    from tfcaption.records.dataset_info import load_dataset_info

    return load_dataset_info(sample_records)


@pytest.fixture(scope="session")
def shared_data():
    """Real Flickr8k, GloVe vectors and ResNet50 weights, beside the checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs Flickr8k, GloVe and ResNet50 weights below {folder}/data, and {folder}/golden")
    return folder


@pytest.fixture
def small_run(sample_records, tmp_path):
    """Config file of a run with random ResNet50 weights."""
    config = tmp_path / "config.yaml"
    config.write_text(f"run: {tmp_path / 'out'}\ndata: {{records: {sample_records}}}\nmodel: {{weights: random}}\n")
    return config


def tree_bytes(folder):
    """Content of every file below a folder, by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
