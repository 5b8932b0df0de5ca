"""Encoders in SavedModel folders: which signature, which pixels, which output, and saved within another SavedModel."""

import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.encoders import drawn_photos
from tfcaption.backbones.building import building
from tfcaption.backbones.cutting import split
from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.loading import file_digest, load_backbone
from tfcaption.backbones.preprocessing import preprocess


def loaded(folder, image_size=32, encoder_input=None):
    return load_backbone(str(folder), image_size=image_size, weights=None, encoder_input=encoder_input)


class Encoder(tf.Module):
    """Photos to a map of their four by four means, mixed by a matrix."""

    def __init__(self):
        self.mix = tf.Variable(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32))

    def maps(self, photos):
        pixels = tf.cast(photos, tf.float32)
        return tf.nn.avg_pool2d(pixels, 8, 8, "VALID") @ self.mix


def saved(folder, function, *specs, module=None, name="serving_default"):
    module = module or Encoder()
    signature = tf.function(lambda *inputs, **named: function(module, *inputs, **named))
    tf.saved_model.save(module, str(folder), {name: signature.get_concrete_function(*specs)})
    return folder


def photos_spec(*shape, dtype=tf.float32, name="pixels"):
    return tf.TensorSpec(shape, dtype, name)


@pytest.fixture
def folder(tmp_path):
    def outputs(module, pixels):
        maps = module.maps(pixels)
        return {"grid": maps, "pooled": tf.reduce_mean(maps, (1, 2))}

    return saved(tmp_path / "encoder", outputs, photos_spec(None, None, None, 3))


def expected(photos, convention):
    pixels = preprocess(photos, convention).numpy()
    return pixels.reshape(len(pixels), 4, 8, 4, 8, 3).mean((2, 4)) @ Encoder().mix.numpy()


def test_the_map_is_the_only_output_with_regions_and_never_trains(folder):
    backbone = loaded(folder, encoder_input="torch")
    photos = drawn_photos(3, 32)
    maps = backbone.model(preprocess(photos, "torch"))
    np.testing.assert_allclose(maps, expected(photos, "torch"), rtol=1e-4, atol=1e-5)
    assert backbone.model.output.shape == (None, 4, 4, 5)
    assert (backbone.input, backbone.trainable, backbone.name) == ("torch", False, "encoder")
    assert backbone.model.trainable_variables == []
    trunk, head = split(backbone.model, backbone.cut)
    np.testing.assert_array_equal(head(trunk(preprocess(photos, "torch"))), maps)
    with building("mixed_bfloat16"):
        assert loaded(folder, encoder_input="torch").model(preprocess(photos, "torch")).dtype == tf.bfloat16


def test_a_model_that_takes_bytes_needs_no_convention(tmp_path):
    folder = saved(
        tmp_path / "bytes", lambda module, x: module.maps(x), photos_spec(None, 32, 32, 3, dtype=tf.uint8), name="serve"
    )
    backbone = loaded(folder)
    photos = drawn_photos(2, 32)
    assert backbone.input == "inside"
    np.testing.assert_allclose(
        backbone.model(preprocess(photos, backbone.input)), expected(photos, "inside"), rtol=1e-4, atol=1e-3
    )
    with pytest.raises(EncoderError, match="takes uint8, so its input convention is 0..255 or inside"):
        loaded(folder, encoder_input="caffe")


def test_channels_first_and_tokens_are_taken_as_models_of_pytorch_have_them(tmp_path):
    def tokens(module, pixels):
        return tf.reshape(module.maps(tf.transpose(pixels, (0, 2, 3, 1))), (-1, 16, 5))

    folder = saved(tmp_path / "vit", tokens, photos_spec(None, 3, 32, 32), name="my_signature")
    backbone = loaded(folder, encoder_input="tf")
    photos = drawn_photos(2, 32)
    np.testing.assert_allclose(
        backbone.model(preprocess(photos, "tf")), expected(photos, "tf").reshape(2, 16, 5), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(EncoderError, match="takes photos of 32 x 32 pixels, and these have 64 x 64"):
        loaded(folder, 64, encoder_input="tf")


def test_what_keras_exports_is_the_model(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
    model.export(tmp_path / "exported", verbose=False)
    photos = drawn_photos(2, 32)
    backbone = loaded(tmp_path / "exported", encoder_input="tf")
    pixels = preprocess(photos, "tf")
    np.testing.assert_allclose(backbone.model(pixels), model(pixels), rtol=1e-5, atol=1e-5)


class Captioner(tf.Module):
    """Holds an encoder as an export of a captioner does."""

    def __init__(self, backbone):
        self.encoder = backbone.model
        self.convention = backbone.input

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.uint8)])
    def __call__(self, photos):
        return self.encoder(preprocess(photos, self.convention))


READ = """
import sys, numpy, tensorflow as tf
numpy.save(sys.argv[3], tf.saved_model.load(sys.argv[1])(numpy.load(sys.argv[2])))
"""


def test_it_can_be_saved_within_another_saved_model_that_needs_the_folder_no_more(folder, tmp_path):
    photos = drawn_photos(3, 32)
    module = Captioner(loaded(folder, encoder_input="caffe"))
    maps = module(photos)
    tf.saved_model.save(module, str(tmp_path / "captioner"))
    shutil.rmtree(folder)
    np.save(tmp_path / "photos.npy", photos)
    arguments = [str(tmp_path / name) for name in ("captioner", "photos.npy", "maps.npy")]
    subprocess.run([sys.executable, "-c", READ, *arguments], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "maps.npy"), maps)


def test_the_digest_of_a_folder_depends_on_its_files_alone(folder, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    (copy / "fingerprint.pb").write_bytes(b"another")
    assert file_digest(copy) == file_digest(folder)
    (copy / "variables" / "variables.index").write_bytes(b"another")
    assert file_digest(copy) != file_digest(folder)


def two_maps(module, pixels):
    return {"first": module.maps(pixels), "second": module.maps(pixels)}


@pytest.mark.parametrize(
    "function, specs, message",
    [
        (
            two_maps,
            [photos_spec(None, 32, 32, 3)],
            r"2 of its outputs are maps .* first \(4, 4, 5\), second \(4, 4, 5\)",
        ),
        (lambda _, x: tf.reduce_mean(x, (1, 2)), [photos_spec(None, 32, 32, 3)], r"0 of its outputs are maps"),
        (lambda module, x: module.maps(x), [photos_spec(1, 32, 32, 3)], "takes batches of 1 only; export it with"),
        (lambda _, x: x, [photos_spec(None, 7)], r"takes inputs of \(None, 7\) instead of photos"),
        (
            lambda _, x, y: x + y,
            [photos_spec(None, 32, 32, 3), photos_spec(None, 1, 1, 3, name="words")],
            "takes pixels, ",
        ),
    ],
)
def test_a_folder_that_is_no_encoder_is_an_error_of_one_line(function, specs, message, tmp_path):
    folder = saved(tmp_path / "wrong", function, *specs)
    with pytest.raises(EncoderError, match=f"^{folder}: {message}") as caught:
        loaded(folder, encoder_input="tf")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_saved_model_or_a_signature_or_a_convention_is_an_error(folder, tmp_path):
    with pytest.raises(EncoderError, match="encoder: does not say which pixels it takes; .*--encoder_input"):
        loaded(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="empty: neither a .keras file nor a SavedModel"):
        loaded(tmp_path / "empty")
    tf.saved_model.save(Encoder(), str(tmp_path / "no_signature"))
    with pytest.raises(EncoderError, match="has no signature; export it with one named serving_default"):
        loaded(tmp_path / "no_signature", encoder_input="tf")
    (folder / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(EncoderError, match="encoder: TensorFlow cannot load it"):
        loaded(folder, encoder_input="tf")
