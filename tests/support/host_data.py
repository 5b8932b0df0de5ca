"""What several hosts train from in tests, without an encoder."""

import numpy as np

from tests.conftest import IN_MEMORY
from tests.support.records import read_all
from tests.support.runs import config
from tfcaption.records.dataset_info import load_dataset_info


def records_and_vectors(sample, folder):
    """Records of several dev shards, and a vector for each photo, so that no host builds an encoder."""
    from beam_jobs.build_records import main
    from beam_jobs.import_features import main as import_features

    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(folder / "records")]
    assert main([*arguments, "--image_size=32", "--min_count=1", "--shards=16", *IN_MEMORY]) == 0
    info = load_dataset_info(folder / "records")
    assert len([shard for shard in info.split("dev").shards if shard.records]) == 2
    (folder / "npy").mkdir()
    for index, photo in enumerate(read_all(folder / "records")[1]):
        np.save(folder / "npy" / f"{photo}.npy", np.random.default_rng(index).normal(size=16).astype(np.float16))
    arguments = ["--records", str(folder / "records"), "--input", str(folder / "npy")]
    assert import_features([*arguments, "--output", str(folder / "vectors"), "--name", "vectors", *IN_MEMORY]) == 0
    return folder / "records", folder / "vectors"


def settings_of(run, data, epochs=2, **train):
    """The config of a run on them."""
    settings = config(run, data[0], epochs, data[1], dropout=0.0, weights=None)
    settings.train = settings.train.model_copy(update=train)
    return settings
