"""Features for tests: stored ones, and those of Keras."""

import keras

from tests.support.models import new_encoder
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import captions_of, features_of


def all_features(folder):
    """Photo id -> bytes of its features, from all shards."""
    found = {}
    for shards in load_features_info(folder).splits.values():
        for shard in shards:
            with (folder / shard.name).open("rb") as stream:
                for serialized in tfrecord.read_frames(stream, shard.name):
                    photo, _ = captions_of(serialized)
                    assert photo not in found
                    found[photo] = features_of(serialized)
    return found


def keras_resnet50(layer):
    """A function of pixels (32, 32, 3): a layer of the random ResNet50, preprocessed and computed by Keras alone."""
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    model.set_weights(new_encoder().base.get_weights())
    model = keras.Model(model.input, model.get_layer(layer).output)
    return lambda pixels: model(keras.applications.resnet50.preprocess_input(pixels[None]), training=False).numpy()[0]
