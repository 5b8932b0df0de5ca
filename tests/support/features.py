"""Features for tests: stored ones, and those of Keras."""

import functools
import shutil

import keras
import numpy as np

from beam_jobs.execution.reading import read_shard
from beam_jobs.execution.shard_writer import write_shard
from tests.support.models import shared_resnet50
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import FEATURES_FILE, load_features_info
from tfcaption.records.examples import PHOTO_ID, captions_of, feature_record, features_of
from tfcaption.records.sharding import view_name


def all_features(folder):
    """Photo id -> bytes of its features, from all shards."""
    return _features(folder, [shard for shards in load_features_info(folder).splits.values() for shard in shards])


def all_views(folder):
    """Photo id -> bytes of the features of each of its views, from all shards."""
    found = {photo: [features] for photo, features in all_features(folder).items()}
    for shards in load_features_info(folder).further_views:
        for photo, features in _features(folder, shards).items():
            found[photo].append(features)
    return found


def _features(folder, shards):
    found = {}
    for shard in shards:
        for serialized in read_shard(str(folder), shard.name):
            photo, _ = captions_of(serialized)
            assert photo not in found
            found[photo] = features_of(serialized)
    return found


def with_views(features, folder, views):
    """A copy of features of one view with further ones, which no encoder made: other numbers in the same form."""
    shutil.copytree(features, folder)
    info = load_features_info(folder)

    def records(shard, view):
        for serialized in read_shard(str(folder), shard.name):
            values = np.frombuffer(features_of(serialized), np.float16) + np.float16(view)
            yield feature_record(serialized, values.tobytes(), view)

    info.settings.views = views
    info.further_views = [
        [write_shard(str(folder), view_name(shard.name, view), records(shard, view)) for shard in info.splits["train"]]
        for view in range(1, views)
    ]
    (folder / FEATURES_FILE).write_text(info.model_dump_json())
    return folder


@functools.cache
def _whole_keras_resnet50():
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    model.set_weights(shared_resnet50().base.get_weights())
    return model


def keras_resnet50(layer):
    """A function of pixels (32, 32, 3): a layer of the random ResNet50, preprocessed and computed by Keras alone."""
    model = _whole_keras_resnet50()
    model = keras.Model(model.input, model.get_layer(layer).output)
    return lambda pixels: model(keras.applications.resnet50.preprocess_input(pixels[None]), training=False).numpy()[0]


def enlarged(features, folder, *, copies, numbers):
    """Features of copies of each photo, with as many random numbers as asked for."""
    shutil.copytree(features, folder)
    info, rng = load_features_info(folder), np.random.default_rng(0)

    def records(shard):
        for serialized in read_shard(str(features), shard.name):
            for copy in range(copies):
                example = tfrecord.Example.FromString(
                    feature_record(serialized, rng.integers(0, 256, 2 * numbers, np.uint8).tobytes())
                )
                (photo,) = example.features.feature[PHOTO_ID].bytes_list.value
                example.features.feature[PHOTO_ID].bytes_list.value[:] = [b"%d %s" % (copy, photo)]
                yield example.SerializeToString()

    info.settings.shape = [numbers]
    info.splits = {
        split: [write_shard(str(folder), shard.name, records(shard)) for shard in shards]
        for split, shards in info.splits.items()
    }
    (folder / FEATURES_FILE).write_text(info.model_dump_json())
    return folder
