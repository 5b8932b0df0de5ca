"""Loss and accuracy: over real targets, in float32, against brute force."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, WORDS, captioner, captions, features_of
from tfcaption.models.loss import attention_penalty, token_sums
from tfcaption.records.vocabulary import PAD


def test_loss_is_the_cross_entropy_of_the_real_targets_and_nothing_else():
    targets = captions()[..., 1:]
    logits = np.random.default_rng(0).normal(0, 2, (*targets.shape, WORDS)).astype(np.float32)
    loss, correct, count = 0.0, 0, 0
    for index in np.ndindex(*targets.shape):
        if targets[index] != PAD:
            p = np.exp(logits[index].astype(np.float64))
            loss -= np.log(p[targets[index]] / p.sum())
            correct += logits[index].argmax() == targets[index]
            count += 1
    sums = token_sums(tf.constant(logits), tf.constant(targets))
    np.testing.assert_allclose([float(value) for value in sums], [loss, correct, count], rtol=1e-5)
    assert count == sum((caption != PAD).sum() - 1 for photo in captions() for caption in photo if caption.any())


def test_loss_and_gradient_are_those_of_tensorflow():
    targets = tf.constant(captions()[..., 1:])
    generator = np.random.default_rng(0)
    logits = tf.constant(generator.normal(0, 30, (*targets.shape, WORDS)).astype(np.float32))
    weights = tf.constant(generator.normal(size=targets.shape).astype(np.float32))
    real = tf.cast(targets != PAD, tf.float32)
    results = []
    for loss in (
        lambda: token_sums(logits, targets, weights=weights).loss,
        lambda: tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits) * weights * real),
    ):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            results.append([loss()])
        results[-1].append(tape.gradient(results[-1][0], logits))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_label_smoothing_is_the_cross_entropy_against_the_smoothed_target():
    targets = captions()[..., 1:]
    logits = np.random.default_rng(0).normal(0, 2, (*targets.shape, WORDS)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    smoothed = 0.9 * np.eye(WORDS)[targets] + 0.1 / WORDS
    expected = -(smoothed * log_p).sum(-1)[targets != PAD].sum()
    assert float(token_sums(tf.constant(logits), tf.constant(targets), 0.1).loss) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_neither_loss_nor_accuracy_nor_gradients(model, images):
    results = []
    for length in (7, 20, 40):
        with tf.GradientTape() as tape:
            sums = model.token_sums(model.encode(images), tf.constant(captions(length)))
        results.append([*sums, *tape.gradient(sums.loss, model.decoder.trainable_variables)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(a), tf.convert_to_tensor(b), rtol=2e-4, atol=2e-5)


def test_the_mask_comes_from_the_targets_not_from_the_inputs(model, images):
    """The step whose input is <end> has <pad> as its target: it must not count."""
    tokens = tf.constant(captions())
    with_end_as_input = tf.reduce_sum(tf.cast(tokens[..., :-1] != PAD, tf.float32))
    sums = model.token_sums(model.encode(images), tokens)
    assert float(sums.tokens) == float(with_end_as_input) - 11  # one less for each of 11 captions


def test_logits_and_loss_are_float32_under_every_precision_policy(images):
    for policy in ("mixed_bfloat16", "mixed_float16", "float32"):
        keras.mixed_precision.set_dtype_policy(policy)
        try:
            mixed = captioner()
            features = mixed.encode(images)
            logits = mixed.predict(features, tf.constant(captions())).logits
            assert logits.dtype == tf.float32
            assert features.dtype == (policy.removeprefix("mixed_"))
            assert all(v.dtype == "float32" for v in mixed.trainable_variables)
            assert np.isfinite(logits.numpy()).all()
        finally:
            keras.mixed_precision.set_dtype_policy("float32")


def test_the_attention_penalty_is_the_doubly_stochastic_sum_over_real_captions():
    attention = np.random.default_rng(0).dirichlet(np.ones(4), (3, 5)).astype(np.float32)
    targets = np.array([[5, 6, 3, 0, 0], [5, 3, 0, 0, 0], [0, 0, 0, 0, 0]])
    expected = ((1 - attention[0, :3].sum(0)) ** 2).sum() + ((1 - attention[1, :2].sum(0)) ** 2).sum()
    assert float(attention_penalty(tf.constant(attention), tf.constant(targets))) == pytest.approx(expected, rel=1e-5)


def test_the_attention_penalty_is_part_of_the_training_loss_only():
    tokens = tf.constant(captions())
    sums = []
    for penalty in (0.0, 2.0):
        options = {**DECODERS["luong"], "attention_penalty": penalty, "dropout": 0.0}
        model = captioner(encoder_weights=None, image_size=64, **options)
        features = features_of(model)
        sums.append([float(model.token_sums(features, tokens, seed).loss) for seed in (None, tf.constant([1, 2]))])
    attention = model.predict(features, tokens).attention
    expected = 2 * float(attention_penalty(tf.reshape(attention, (12, 6, 4)), tf.reshape(tokens[..., 1:], (12, 6))))
    assert sums[1][0] == pytest.approx(sums[0][0]) == pytest.approx(sums[0][1])
    assert sums[1][1] - sums[0][1] == pytest.approx(expected, rel=1e-3)
