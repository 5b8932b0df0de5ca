"""Claims that hold for every decoder."""

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, WORDS, captioner, captions, features_of
from tfcaption.config import ModelConfig
from tfcaption.models.captioner import DECODERS as CAPTIONER_DECODERS
from tfcaption.models.decoder import StepCaptions
from tfcaption.records.vocabulary import START
from tfcaption.runs.directory import trainable_stages


@pytest.mark.parametrize("static_shapes", [False, True])
def test_teacher_forced_logits_equal_step_by_step_logits(any_model, static_shapes):
    tokens = tf.constant(captions())
    features = features_of(any_model)
    teacher_forced = any_model.predict(features, tokens).logits
    memory, start = any_model.decoder.start(features, static_shapes=static_shapes)
    state = tf.nest.map_structure(lambda values: tf.repeat(values, 2, axis=0), start)
    for time in range(tokens.shape[2] - 1):
        previous = tf.reshape(tokens[..., time], (-1,))
        logits, state = any_model.decoder.step(previous, state, memory, StepCaptions(6, 2))
        np.testing.assert_allclose(logits, tf.reshape(teacher_forced[:, :, time], (12, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_checkpoint_holds_all_weights_of_a_decoder(decoder, tmp_path):
    """Layers that Keras keeps in a list are silently missing from TensorFlow's checkpoints."""
    first, second = (captioner(seed=seed, encoder_weights=None, **DECODERS[decoder]).decoder for seed in (0, 1))
    path = tf.train.Checkpoint(decoder=first).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(decoder=second).restore(path).assert_existing_objects_matched()
    for saved, restored in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(saved, restored)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_with_another_vocabulary_says_of_shared_words_what_the_one_says_that_it_took_the_weights_of(decoder):
    """And leaves alone the weights of words that the other one lacks; captions may be longer or shorter there."""
    ours = [0, 1, 2, 3, 8, 5, 9, 4, 6]  # token ids here by those there, which lacks 7 and 10
    options = {"encoder_weights": None, "image_size": 64, **DECODERS[decoder]}
    model, other = captioner(seed=0, **options), captioner(seed=1, words=9, max_tokens=9, **options)
    fresh = [weight.numpy() for weight in model.decoder.weights]
    model.decoder.take_weights(other.decoder, [(id_, index) for index, id_ in enumerate(ours)])
    tokens = captions()
    tokens[np.isin(tokens, (7, 10))] = 5
    features = features_of(model)
    said = model.predict(features, tf.constant(tokens)).logits.numpy()[..., ours]
    expected = other.predict(features, tf.constant(np.vectorize(ours.index)(tokens)))
    np.testing.assert_allclose(said, expected.logits, rtol=1e-5, atol=1e-6)
    for weight, before in zip(model.decoder.weights, fresh, strict=True):
        if WORDS in before.shape:
            axis = before.shape.index(WORDS)
            np.testing.assert_array_equal(np.take(weight, (7, 10), axis), np.take(before, (7, 10), axis))
        elif before.shape[0] == 40:
            np.testing.assert_array_equal(weight[9:], before[9:])


def test_a_step_of_some_captions_does_not_need_the_others(any_model):
    features = features_of(any_model)
    memory, state = any_model.decoder.start(features)
    logits, _ = any_model.decoder.step(tf.constant([START] * 6), state, memory, StepCaptions(6, 1))
    chosen_state = tf.nest.map_structure(lambda values: tf.gather(values, [4, 1, 1]), state)
    chosen = StepCaptions(6, 2, tf.constant([9, 2, 3]))  # the second of photo 4, both of photo 1
    chosen_logits, _ = any_model.decoder.step(tf.constant([START] * 3), chosen_state, memory, chosen)
    np.testing.assert_allclose(chosen_logits, logits.numpy()[[4, 1, 1]], rtol=1e-4, atol=1e-5)


def test_each_photo_is_decoded_from_its_own_features(any_model):
    tokens, features = tf.constant(captions()), features_of(any_model)
    together = any_model.predict(features, tokens).logits
    for photo in range(6):
        alone = any_model.predict(features[photo : photo + 1], tokens[photo : photo + 1]).logits
        np.testing.assert_allclose(alone[0], together[photo], rtol=1e-3, atol=1e-4)
    assert np.abs(together[1] - together[2]).max() > 1e-3


def test_no_position_attends_to_a_later_one(any_model):
    tokens = captions()
    changed = tokens.copy()
    changed[:, 0, 2:] = 7
    features = features_of(any_model)
    before, after = (any_model.predict(features, tf.constant(x)).logits for x in (tokens, changed))
    np.testing.assert_allclose(before[:, 0, :2], after[:, 0, :2], rtol=1e-5, atol=1e-6)
    assert np.abs(before[:, 0, 3] - after[:, 0, 3]).max() > 1e-3


@pytest.mark.parametrize("name", CAPTIONER_DECODERS)
def test_a_decoder_is_offered_by_the_config_and_trains_from_the_stage_that_it_takes(name):
    options = get_args(ModelConfig.model_fields["decoder"].annotation)
    assert set(options) == CAPTIONER_DECODERS.keys()
    assert trainable_stages(ModelConfig(decoder=name))[0] == CAPTIONER_DECODERS[name].stage
