"""Photos with fewer regions than others: padding changes nothing."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions
from tfcaption.config import ModelConfig
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.sampling import SamplingOptions, sample
from tfcaption.models.captioner import DECODERS as CAPTIONER_DECODERS
from tfcaption.models.ensemble import Ensemble
from tfcaption.models.layers import masked_mean

REGIONS = (5, 3, 1, 4, 2, 5)  # of each photo
WITH_REGIONS = [name for name in DECODERS if name != "gru"]


def masked_model(decoder, **options):
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[decoder], **options)
    model.decoder.masked = True
    return model


def regions_of_photos():
    generator = np.random.default_rng(0)
    return [generator.normal(size=(count, 2048)).astype(np.float32) for count in REGIONS]


def padded(photos, most):
    return tf.constant([np.pad(regions, ((0, most - len(regions)), (0, 0))) for regions in photos])


@pytest.mark.parametrize("decoder", WITH_REGIONS)
def test_logits_and_attention_are_those_of_the_regions_alone_without_a_mask(decoder):
    model, photos, tokens = masked_model(decoder), regions_of_photos(), tf.constant(captions())
    little, much = (model.predict(padded(photos, most), tokens) for most in (5, 11))
    np.testing.assert_allclose(little.logits, much.logits, atol=1e-5)
    np.testing.assert_allclose(little.attention, much.attention[..., :5], atol=1e-5)
    model.decoder.masked = False
    for photo, regions in enumerate(photos):
        alone = model.predict(tf.constant(regions[None]), tokens[photo : photo + 1])
        np.testing.assert_allclose(much.logits[photo], alone.logits[0], atol=1e-5)
        np.testing.assert_allclose(much.attention[photo, ..., : len(regions)], alone.attention[0], atol=1e-5)
        assert np.all(much.attention[photo, ..., len(regions) :].numpy() == 0)
    unmasked = model.predict(padded(photos, 11), tokens)
    assert np.abs(unmasked.logits - much.logits).max() > 1e-3  # so the mask does something


@pytest.mark.parametrize("decoder", WITH_REGIONS)
def test_searched_and_sampled_captions_do_not_depend_on_padding(decoder):
    model, photos = masked_model(decoder), regions_of_photos()
    options, seed = SearchOptions(max_tokens=6, beam=2), tf.constant([1, 2])
    sampling = SamplingOptions(max_tokens=6, count=2)
    few, many = padded(photos, 5), padded(photos, 9)
    for captions_of in (
        lambda features: beam_search(model, features, options),
        lambda features: beam_search(Ensemble([model, model]), (features, features), options),
        lambda features: sample(model, features, sampling, seed=seed),
    ):
        found, expected = captions_of(many), captions_of(few)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("decoder", WITH_REGIONS)
def test_the_loss_has_no_gradient_at_padding_even_under_dropout(decoder):
    model, features = masked_model(decoder, dropout=0.3, attention_penalty=0.5), padded(regions_of_photos(), 7)
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = model.token_sums(features, tf.constant(captions()), dropout_seed=tf.constant([3, 4])).loss
    gradient = tape.gradient(loss, features).numpy()
    for photo, count in enumerate(REGIONS):
        assert np.all(gradient[photo, count:] == 0)
        assert np.all(np.abs(gradient[photo, :count]).max(-1) > 0)


@pytest.mark.parametrize("decoder", WITH_REGIONS)
def test_a_photo_without_regions_gives_finite_losses_and_gradients(decoder):
    model, features = masked_model(decoder, dropout=0.3), padded([np.zeros((0, 2048), np.float32)] * 6, 4)
    with tf.GradientTape() as tape:
        loss = model.token_sums(features, tf.constant(captions()), dropout_seed=tf.constant([3, 4])).loss
    assert np.isfinite(loss)
    gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, model.decoder.trainable_variables)]
    assert gradients and all(np.isfinite(each).all() for each in gradients)


def test_the_masked_mean_is_over_real_regions():
    photos = regions_of_photos()
    expected = [regions.mean(0) for regions in photos]
    np.testing.assert_allclose(masked_mean(padded(photos, 8)), expected, rtol=1e-4, atol=1e-6)
    assert np.all(masked_mean(tf.zeros((2, 3, 4))).numpy() == 0)
    kept = tf.constant([[True, False, True]])
    np.testing.assert_allclose(masked_mean(tf.constant([[[0.0], [7.0], [4.0]]]), kept), [[2.0]])


@pytest.mark.parametrize("decoder", WITH_REGIONS)
def test_a_grid_and_its_rows_as_regions_give_the_same_memory(decoder):
    config = ModelConfig(**DECODERS[decoder], gru_units=8, dense_units=8, transformer_units=8, transformer_heads=2)
    embedding, features = np.ones((9, 4), np.float32), tf.random.stateless_normal((3, 2, 4, 7), [1, 2])
    build = CAPTIONER_DECODERS[config.decoder]
    of_grid, of_regions = (
        build(config, embedding, shape=shape, use_cudnn=False, max_tokens=5) for shape in ((2, 4, 7), (8, 7))
    )
    of_regions.set_weights(of_grid.get_weights())
    expected = tf.nest.flatten(of_grid.start(features))
    for part, same in zip(expected, tf.nest.flatten(of_regions.start(tf.reshape(features, (3, 8, 7)))), strict=True):
        np.testing.assert_array_equal(part, same)
