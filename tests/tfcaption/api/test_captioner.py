"""`load` and `Captioner.caption`: every form of a photo, damaged photos, options, precision."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfcaption
from tests.support.fake_export import expected_caption, write_export
from tfcaption.api.caption import Caption, WordAttention, caption_of
from tfcaption.api.photos import photo_reader
from tfcaption.preprocessing.photos import PhotoError, prepare
from tfcaption.records.captions import Hypothesis, PhotoCaptions
from tfcaption.records.captions import WordAttention as RegionAttention
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.process import set_keras


@pytest.fixture(scope="module")
def captioner(trained_run):
    return tfcaption.load(trained_run)


@pytest.fixture(scope="module")
def photos(sample):
    return sorted(sample[0].glob("*.jpg"))[:3]


def image_of(path):
    image = Image.open(path)
    image.load()
    return image


def test_every_form_of_a_photo_gives_the_caption_of_its_file(captioner, photos, tmp_path):
    path = tmp_path / "small.jpg"  # a file of four times the size that is needed is decoded in a smaller one
    Image.open(photos[0]).resize((96, 72)).save(path)
    expected = captioner.caption(path)
    forms = [
        str(path),
        path.read_bytes(),
        Image.open(path),
        image_of(path),
        np.asarray(Image.open(path)),
        tf.constant(np.asarray(Image.open(path))),
    ]
    together = captioner.caption(forms)
    assert together == [together[0]] * len(forms)
    assert together[0].text == expected.text and together[0].score == pytest.approx(expected.score, rel=1e-5)
    assert all(captioner.caption(form) == expected for form in forms)
    assert str(expected) == expected.text and expected.score < 0


def test_a_user_of_channels_first_and_float16_gets_the_same_captions_and_keeps_both(captioner, trained_run, photos):
    expected = captioner.caption(photos)
    before = set_keras({"image_data_format": "channels_first", "floatx": "float16"})
    try:
        assert tfcaption.load(trained_run).caption(photos) == expected == captioner.caption(photos)
        assert keras.config.image_data_format() == "channels_first" and keras.config.floatx() == "float16"
    finally:
        set_keras(before)


def test_keras_2_and_keras_on_another_backend_are_refused_with_the_cure(trained_run, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(UsageError, match="TF_USE_LEGACY_KERAS is set, .*: unset it"):
        patch.setenv("TF_USE_LEGACY_KERAS", "1")
        tfcaption.load(trained_run)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="Keras runs on jax, but .* needs TensorFlow: set KERAS_BACKEND=tensorflow"):
        tfcaption.load(trained_run)


def test_an_image_that_was_opened_but_not_decoded_is_prepared_from_its_file():
    """Pillow scales a large JPEG while decoding it, so that the decoded image has other pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=90)
    size = {"image_size": 32, "resize": "squash"}
    opened = Image.open(stream)
    from_image = prepare(photo_reader(opened)(), **size)
    assert from_image == prepare(stream.getvalue(), **size) != prepare(image_of(stream), **size)
    assert opened.size == (400, 300)  # as it was


def test_the_frame_that_was_chosen_is_prepared_and_a_closed_image_is_a_damaged_photo(tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    chosen = Image.open(tmp_path / "two.tif")
    chosen.seek(1)
    size = {"image_size": 32, "resize": "squash"}
    assert prepare(photo_reader(chosen)(), **size) == prepare(frames[1], **size)
    with Image.open(tmp_path / "two.tif") as closed:
        pass
    with pytest.raises(PhotoError, match="unreadable"):
        prepare(photo_reader(closed)(), **size)


def test_an_image_is_not_changed_by_captioning_it(captioner):
    image = Image.new("RGBA", (40, 30), (200, 10, 10, 128))
    image.getexif()[0x0112] = 6
    before = image.tobytes(), image.size, image.mode
    captioner.caption(image)
    assert (image.tobytes(), image.size, image.mode) == before


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "must be uint8, from 0 to 255, not float32"),
        (np.zeros((8, 8), np.uint8), "must have the shape (height, width, 3), RGB, not (8, 8)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "holds several photos; pass a list of them"),
        (7, "a photo must be a path, bytes, a PIL image"),
    ],
)
def test_what_is_no_photo_is_refused_with_the_cure(captioner, photo, message):
    with pytest.raises(UsageError) as raised:
        captioner.caption(photo)
    assert message in str(raised.value)


def test_a_damaged_photo_is_an_error_with_its_name_or_stands_in_its_place(captioner, photos, tmp_path):
    damaged = tmp_path / "half.jpg"
    damaged.write_bytes(photos[0].read_bytes()[:300])
    missing = tmp_path / "nothere.jpg"
    for path in (damaged, missing):
        with pytest.raises(PhotoError, match=path.name):
            captioner.caption(path)
        with pytest.raises(PhotoError, match=path.name):
            captioner.caption([photos[0], path])
    first, second, third, fourth = captioner.caption([missing, photos[1], damaged, photos[2]], errors="return")
    assert isinstance(first, PhotoError) and isinstance(third, PhotoError)
    assert [second, fourth] == captioner.caption(photos[1:], errors="return")


def test_an_empty_list_gives_an_empty_list(captioner):
    assert captioner.caption([]) == []


def test_options_of_the_search_are_those_of_the_call(captioner, photos):
    plain, wide = captioner.caption(photos[0]), captioner.caption(photos[0], beam=4, nbest=4)
    assert len(plain.nbest) == 1 and len(wide.nbest) == 4
    assert [each.score for each in wide.nbest] == sorted((each.score for each in wide.nbest), reverse=True)
    assert len(captioner.caption(photos[0], min_words=12).text.split()) >= 12
    sampled = [captioner.caption(photos[0], temperature=2.0, nbest=5, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2] and len(sampled[0].nbest) == 5
    assert captioner.caption(photos[0]) == plain  # nothing stays
    for wrong, message in (
        ({"beam": 2, "nbest": 4}, "^nbest 4: must be at most beam 2"),
        ({"beam": 0}, "^beam 0: must be at least 1"),
        ({"beam": 2.5}, "^beam 2.5: must be a whole number"),
        ({"beam": "3"}, "^beam '3': must be a whole number"),
        ({"beam": 2, "top_p": 0.9}, "^beam 2: there is no beam where top_p samples"),
        ({"errors": "retrun"}, "^errors='retrun': must be"),
    ):
        with pytest.raises(UsageError, match=message):
            captioner.caption(photos[0], **wrong)


def test_a_captioner_computes_in_float32_whatever_the_policy_of_the_process(captioner, trained_run, photos):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert tfcaption.load(trained_run).caption(photos) == captioner.caption(photos)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_newest_of_numbered_exports_is_loaded(tmp_path, photos):
    for name in ("2", "10", "latest"):
        write_export(tmp_path / "exports" / name)
    loaded = tfcaption.load(tmp_path / "exports")
    assert loaded.path.name == "10"
    assert loaded.caption(photos[0]).text == expected_caption(photos[0].read_bytes())
    with pytest.raises(UsageError, match="beam 5: .* was exported with beam search, beam 3"):
        loaded.caption(photos[0], beam=5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("records", "is a folder of records"), ("photos", "is a folder of photos"), ("none", "no such folder")],
)
def test_a_path_that_is_no_model_is_named_for_what_it_is(sample, sample_records, tmp_path, name, kind):
    path = {"records": sample_records, "photos": sample[0], "none": tmp_path / "none"}[name]
    with pytest.raises(UsageError, match=kind):
        tfcaption.load(path)


def test_a_notebook_shows_photo_captions_and_a_heat_map_for_each_word(photos):
    weights = np.full((7, 7), 1 / 49, np.float32)
    caption = Caption(
        "a <b> dog",
        -0.5,
        (Hypothesis("a <b> dog", -0.5), Hypothesis("a cat", -0.75)),
        tuple(WordAttention(word, weights) for word in ("a", "<b>", "dog")),
        photos[0],
    )
    page = caption._repr_html_()
    assert page.count("<img src='data:image/jpeg;base64,") == 4
    assert "<b>a &lt;b&gt; dog</b>" in page and "<li>a cat <small>-0.75</small></li>" in page


def test_attention_to_regions_without_a_grid_keeps_its_weights_and_is_not_drawn(photos):
    captions = PhotoCaptions(
        (Hypothesis("a dog", -0.5),), tuple(RegionAttention(word, [0.2, 0.5, 0.3]) for word in ("a", "dog"))
    )
    caption = caption_of(captions, photos[0], nbest=1)
    np.testing.assert_allclose([word.weights for word in caption.attention], [[0.2, 0.5, 0.3]] * 2)
    page = caption._repr_html_()
    assert page.count("<img ") == 1 and "regions that form no grid" in page


def test_show_opens_the_photo_above_its_caption_where_there_is_no_notebook(photos, monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: shown.append(picture))
    Caption("a dog", -0.5, (Hypothesis("a dog", -0.5),), photo=photos[0]).show()
    (picture,) = shown
    assert picture.width == 640 and picture.height > 640 * Image.open(photos[0]).height / Image.open(photos[0]).width


def test_a_heat_map_is_bright_where_the_captioner_looked():
    from tfcaption.api.caption import _heat_map

    weights = np.zeros((4, 4), np.float32)
    weights[0, 3] = 1.0  # top right
    pixels = np.asarray(_heat_map(Image.new("RGB", (80, 80), (200, 200, 200)), weights), float)[..., 0]
    assert pixels[:10, -10:].mean() > 180 and pixels[-30:, :30].mean() < 60
