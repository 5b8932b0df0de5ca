"""Self-critical training: rewards against the formulas, weights of captions, and that it learns what scores well."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from nltk.translate import bleu_score

from tests.support.cider import brute_force_cider
from tests.support.models import DECODERS, captioner, captions, features_of
from tfcaption.config import TrainConfig
from tfcaption.decoding.hypotheses import LENGTH_ALPHA
from tfcaption.decoding.sampling import sample
from tfcaption.models.captioner import banned
from tfcaption.records.vocabulary import END, OOV, PAD, START
from tfcaption.training import self_critical
from tfcaption.training.precision import ComputeMode
from tfcaption.training.self_critical import SelfCritical
from tfcaption.training.step import Trainer

TARGETS = [[[START, *words, END]] * 2 for words in ([4, 5, 6], [7, 8, 9], [6, 4, 10], [9, 10, 7])]  # of four photos


def corpus(tokens):
    return [[ids[1:] for ids in photo] for photo in tokens]


def subject_of(model, samples=3, **options):
    photos = corpus([[[t for t in row if t] for row in photo if row.any()] for photo in captions()])
    settings = {"samples": samples, "bleu_weight": 0.0, "max_tokens": 8, "compiled": False} | options
    return SelfCritical(model, model.decoder.stage, photos, **settings)


def test_the_advantage_is_cider_less_the_mean_of_the_photos_other_captions():
    references = captions()
    drawn = np.random.default_rng(1).choice(references[..., 1:].reshape(12, 6), (6, 3))
    drawn[2, 1] = [5, 6, 7, 8, 9, 10]  # never ends
    found = subject_of(captioner(encoder_weights=None)).advantages(drawn, references)

    def words(tokens):
        return " ".join(f"w{token}" for token in tokens if token not in (PAD, START))

    expected = {str(i): [words(row) for row in photo if row.any()] for i, photo in enumerate(references)}
    scores = np.array(
        [
            # One photo's caption is exchanged at a time: a mean over photos changes by its share.
            [brute_force_cider_of(str(i), words(drawn[i, k]), expected) for k in range(3)]
            for i in range(6)
        ]
    )
    others = (scores.sum(1, keepdims=True) - scores) / 2
    np.testing.assert_allclose(found, scores - others, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-5)
    assert found.std() > 0.1


def test_the_weight_of_bleu_adds_the_mean_of_those_of_nltk_to_the_reward():
    references = captions()
    references[4, 1] = PAD  # a photo with one caption less
    references[5] = PAD  # a row that fills up the batch
    drawn = np.random.default_rng(1).choice(references[:4, :, 1:].reshape(8, 6), (6, 3))
    drawn[2, 1] = [5, 6, 7, 8, 9, 10]  # never ends
    model = captioner(encoder_weights=None)
    with_bleu, without = (
        subject_of(model, bleu_weight=weight).advantages(drawn, references).astype(float) for weight in (2.0, 0.0)
    )
    bleu = np.zeros((6, 3))
    for photo, caption in itertools.product(range(5), range(3)):
        rows = [self_critical.spoken(row[1:]) for row in references[photo] if row.any()]
        bleu[photo, caption] = np.mean(
            bleu_score.sentence_bleu(
                rows,
                self_critical.spoken(drawn[photo, caption]),
                weights=[(1 / n,) * n for n in range(1, 5)],
                smoothing_function=bleu_score.SmoothingFunction().method2,
            )
        )
    others = (bleu.sum(1, keepdims=True) - bleu) / 2
    np.testing.assert_allclose(with_bleu - without, 2 * (bleu - others), atol=1e-6)
    assert (bleu[:5].std(1) > 0.01).any() and not with_bleu[5].any()


def brute_force_cider_of(photo, caption, references):
    nothing = dict.fromkeys(references, "nothing")
    return len(references) * brute_force_cider(nothing | {photo: caption}, references)


def test_only_what_is_said_up_to_the_end_counts():
    assert self_critical.spoken(np.array([5, 6, END, PAD, PAD])) == [5, 6, END]
    assert self_critical.spoken(np.array([5, 6, 7])) == [5, 6, 7]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("decoder", DECODERS)
def test_weights_scale_each_captions_part_of_the_gradient(decoder, compiled):
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
def test_what_is_never_drawn_is_never_moved(compiled):
    """Otherwise <oov>, which no search says, takes the probability of all that is said badly."""
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
    said = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    assert float(loss) == pytest.approx(-said[targets != PAD].sum(), rel=1e-4)


def test_a_drawn_batch_begins_with_start_and_leaves_rows_that_fill_up_empty():
    model = captioner(encoder_weights=None)
    tokens = captions()
    tokens[4] = PAD
    batch = {"inputs": features_of(model), "tokens": tf.constant(tokens)}
    found = subject_of(model)(batch, tf.constant([1, 2]))
    again = subject_of(model)(batch, tf.constant([1, 2]))
    drawn = found["tokens"].numpy()
    assert drawn.shape == (6, 3, 9) and found["weights"].shape == (6, 3)
    assert (drawn[[0, 1, 2, 3, 5], :, 0] == START).all() and not drawn[4].any()
    np.testing.assert_array_equal(drawn, again["tokens"])
    other = subject_of(model)(batch, tf.constant([1, 3]))["tokens"]
    assert not np.array_equal(drawn, other)
    assert len({tuple(row) for row in drawn[0].tolist()}) > 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_drawn_captions_are_trained_as_they_were_drawn_with_dropout_of_the_photo(decoder):
    """Teacher forcing gives a drawn caption the very probability with which it was drawn."""
    model = captioner(encoder_weights=None, image_size=64, dropout=0.5, **DECODERS[decoder])
    features, seed = features_of(model), tf.constant([1, 2])
    # The loss leaves these out of the softmax, a score does not; so they get nothing of it.
    model.decoder.logits.bias.assign(banned(model.decoder.logits.units, -30.0))
    found = sample(model, features, max_tokens=8, seed=tf.constant([3, 4]), count=2, dropout_seed=seed)
    tokens = tf.concat([tf.fill((6, 2, 1), START), found.tokens], -1)
    lengths = np.count_nonzero(found.tokens, -1)
    drawn = found.scores.numpy() * lengths**LENGTH_ALPHA
    for row, column in itertools.product(range(6), (0, 1)):
        weights = tf.scatter_nd([[row, column]], [1.0], (6, 2))
        loss = float(model.token_sums(features, tokens, seed, weights=weights).loss)
        assert loss == pytest.approx(-drawn[row, column], rel=1e-3)
        assert float(model.token_sums(features, tokens, None, weights=weights).loss) != pytest.approx(loss, rel=1e-3)


def test_training_by_cider_learns_what_scores_well_though_it_never_reads_a_reference():
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
        drawn = objective(batch, tf.constant([7, 7]))["tokens"].numpy()
        expected = [objective._cider.tf_idf(photo[0][1:]) for photo in TARGETS]
        return np.mean(
            [
                objective._cider.score(objective._cider.tf_idf(self_critical.spoken(row[1:])), [expected[photo]])
                for photo in range(4)
                for row in drawn[photo]
            ]
        )

    before = mean_reward()
    outcomes = trainer.train_steps(iter(data), 120)
    assert all(sums.finite for sums in outcomes) and outcomes[0].captions == 32
    assert mean_reward() > before + 2, before
