"""Self-critical training: rewards against the formulas, weights of captions, and that the reward rises."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from nltk.translate import bleu_score

from tests.support.cider import brute_force_cider
from tests.support.models import DECODERS, captioner, captions, features_of
from tfcaption.benchmarks.cider import tokens_to_end
from tfcaption.config import TrainConfig
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.decoding.sampling import SamplingOptions, sample
from tfcaption.models.captioner import banned_token_mask
from tfcaption.records.vocabulary import END, OOV, PAD, START
from tfcaption.training.precision import ComputeMode
from tfcaption.training.self_critical import SelfCritical
from tfcaption.training.step import Trainer

TARGETS = [[[START, *words, END]] * 2 for words in ([4, 5, 6], [7, 8, 9], [6, 4, 10], [9, 10, 7])]  # of four photos


def corpus(tokens):
    return [[ids[1:] for ids in photo] for photo in tokens]


def subject_of(model, samples=3, **options):
    photos = corpus([[[t for t in tokens if t] for tokens in photo if tokens.any()] for photo in captions()])
    settings = {"samples": samples, "bleu_weight": 0.0, "max_tokens": 8, "compiled": False} | options
    return SelfCritical(model, model.decoder.stage, photos, **settings)


def test_the_advantage_is_cider_minus_the_mean_of_the_photos_other_samples():
    references = captions()
    sampled = np.random.default_rng(1).choice(references[..., 1:].reshape(12, 6), (6, 3))
    sampled[2, 1] = [5, 6, 7, 8, 9, 10]  # never ends
    advantages = subject_of(captioner(encoder_weights=None)).advantages(sampled, references)

    def words(tokens):
        return " ".join(f"w{token}" for token in tokens if token not in (PAD, START))

    by_photo = {str(i): [words(tokens) for tokens in photo if tokens.any()] for i, photo in enumerate(references)}
    scores = np.array(
        [[brute_force_cider_of(str(i), words(sampled[i, k]), by_photo) for k in range(3)] for i in range(6)]
    )
    others = (scores.sum(1, keepdims=True) - scores) / 2
    np.testing.assert_allclose(advantages, scores - others, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(advantages.sum(1), 0, atol=1e-5)
    assert advantages.std() > 0.1


def test_the_bleu_weight_adds_the_mean_of_nltks_bleu_1_to_4_to_the_reward():
    references = captions()
    references[4, 1] = PAD  # a photo with one caption less
    references[5] = PAD  # a photo that only fills up the batch
    sampled = np.random.default_rng(1).choice(references[:4, :, 1:].reshape(8, 6), (6, 3))
    sampled[2, 1] = [5, 6, 7, 8, 9, 10]  # never ends
    model = captioner(encoder_weights=None)
    with_bleu, without = (
        subject_of(model, bleu_weight=weight).advantages(sampled, references).astype(float) for weight in (2.0, 0.0)
    )
    bleu = np.zeros((6, 3))
    for photo, caption in itertools.product(range(5), range(3)):
        tokens = [tokens_to_end(reference[1:]) for reference in references[photo] if reference.any()]
        bleu[photo, caption] = np.mean(
            bleu_score.sentence_bleu(
                tokens,
                tokens_to_end(sampled[photo, caption]),
                weights=[(1 / n,) * n for n in range(1, 5)],
                smoothing_function=bleu_score.SmoothingFunction().method2,
            )
        )
    others = (bleu.sum(1, keepdims=True) - bleu) / 2
    np.testing.assert_allclose(with_bleu - without, 2 * (bleu - others), atol=1e-6)
    assert (bleu[:5].std(1) > 0.01).any() and not with_bleu[5].any()


def brute_force_cider_of(photo, caption, references):
    """CIDEr-D of one caption: the corpus mean where all other captions score 0, times the number of photos."""
    nothing = dict.fromkeys(references, "nothing")
    return len(references) * brute_force_cider(nothing | {photo: caption}, references)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("decoder", DECODERS)
def test_weights_scale_each_captions_share_of_the_gradient(decoder, compiled):
    model = captioner(encoder_weights=None, image_size=64, compiled=compiled, **DECODERS[decoder])
    features, tokens = features_of(model), tf.constant(captions())
    weights = tf.random.stateless_normal((6, 2), [3, 4])

    def gradient(weights):
        with tf.GradientTape() as tape:
            loss = model.token_sums(features, tokens, weights=weights).loss
        return tape.gradient(loss, model.decoder.logits.kernel.value)

    one_by_one = sum(
        weights[index] * gradient(tf.scatter_nd([index], [1.0], (6, 2)))
        for index in itertools.product(range(6), (0, 1))
    )
    np.testing.assert_allclose(gradient(weights), one_by_one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_logits_of_banned_tokens_get_no_gradient(compiled):
    """Otherwise <oov>, which is never sampled, takes the probability of all captions with low rewards."""
    model = captioner(encoder_weights=None, image_size=64, compiled=compiled)
    features, tokens = features_of(model), tf.constant(captions())
    model.decoder.logits.bias.assign(tf.where(tf.range(model.decoder.logits.units) == OOV, 3.0, 0.0))
    with tf.GradientTape() as tape:
        loss = model.token_sums(features, tokens, weights=tf.ones((6, 2))).loss
    gradient = tape.gradient(loss, model.decoder.logits.bias.value).numpy()
    assert gradient[[PAD, OOV, START]] == pytest.approx(0, abs=1e-7) and np.abs(gradient).max() > 0.1
    logits = model.predict(features, tokens).logits.numpy()
    logits[..., [PAD, OOV, START]] = -np.inf
    targets = tokens.numpy()[..., 1:]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    of_targets = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    assert float(loss) == pytest.approx(-of_targets[targets != PAD].sum(), rel=1e-4)


def test_sampled_captions_begin_with_start_and_padding_photos_have_none():
    model = captioner(encoder_weights=None)
    tokens = captions()
    tokens[4] = PAD
    batch = {"inputs": features_of(model), "tokens": tf.constant(tokens)}
    first = subject_of(model)(batch, tf.constant([1, 2]))
    again = subject_of(model)(batch, tf.constant([1, 2]))
    sampled = first["tokens"].numpy()
    assert sampled.shape == (6, 3, 9) and first["weights"].shape == (6, 3)
    assert (sampled[[0, 1, 2, 3, 5], :, 0] == START).all() and not sampled[4].any()
    np.testing.assert_array_equal(sampled, again["tokens"])
    other = subject_of(model)(batch, tf.constant([1, 3]))["tokens"]
    assert not np.array_equal(sampled, other)
    assert len({tuple(tokens) for tokens in sampled[0].tolist()}) > 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_sampled_captions_are_trained_with_the_photo_dropout_they_were_sampled_with(decoder):
    """Teacher forcing gives a sampled caption exactly the probability with which it was sampled."""
    model = captioner(encoder_weights=None, image_size=64, dropout=0.5, **DECODERS[decoder])
    features, seed = features_of(model), tf.constant([1, 2])
    # The loss masks banned tokens before the softmax, a score does not: make their probability negligible.
    model.decoder.logits.bias.assign(banned_token_mask(model.decoder.logits.units, -30.0))
    options = SamplingOptions(max_tokens=8, count=2)
    hypotheses = sample(model, features, options, seed=tf.constant([3, 4]), dropout_seed=seed)
    tokens = tf.concat([tf.fill((6, 2, 1), START), hypotheses.tokens], -1)
    lengths = np.count_nonzero(hypotheses.tokens, -1)
    log_probs = hypotheses.scores.numpy() * lengths**LENGTH_ALPHA
    for photo, index in itertools.product(range(6), (0, 1)):
        weights = tf.scatter_nd([[photo, index]], [1.0], (6, 2))
        loss = float(model.token_sums(features, tokens, seed, weights=weights).loss)
        assert loss == pytest.approx(-log_probs[photo, index], rel=1e-3)
        assert float(model.token_sums(features, tokens, None, weights=weights).loss) != pytest.approx(loss, rel=1e-3)


def test_training_by_cider_raises_the_reward_though_it_never_trains_on_a_reference():
    tokens = np.array(TARGETS, np.int32)
    model = captioner(encoder_weights=None, dropout=0.0)
    features = features_of(model, 4)
    config = TrainConfig(learning_rate=5e-4, objective="cider")
    strategy = tf.distribute.get_strategy()
    warm = Trainer(model, strategy, TrainConfig(learning_rate=1e-3), ComputeMode("float32", False), stage="pooled")
    batch = {"inputs": features, "tokens": tf.constant(tokens)}
    data = tf.data.Dataset.from_tensors(batch).repeat()
    warm.train_steps(iter(data), 60)
    objective = SelfCritical(model, "pooled", corpus(TARGETS), samples=8, bleu_weight=0.0, max_tokens=8, compiled=False)
    trainer = Trainer(model, strategy, config, ComputeMode("float32", False), stage="pooled", objective=objective)

    def mean_reward():
        sampled = objective(batch, tf.constant([7, 7]))["tokens"].numpy()
        return objective._rewards(sampled[..., 1:], tokens[:, :1, 1:]).mean()

    before = mean_reward()
    steps = trainer.train_steps(iter(data), 120)
    assert all(sums.finite for sums in steps) and steps[0].captions == 32
    assert mean_reward() > before + 2, before
