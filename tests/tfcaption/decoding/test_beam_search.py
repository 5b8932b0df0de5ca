"""Beam search against greedy search by hand, brute force and the teacher-forced pass."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, WORDS, captioner, features_of
from tfcaption.decoding.beam_search import SearchOptions, beam_search, top_k
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.decoding.sampling import SamplingOptions, sample
from tfcaption.records.vocabulary import END, OOV, PAD, START

FEATURES = tf.constant(np.random.default_rng(3).normal(0, 2, (6, 2048)).astype(np.float32))


def search(model, features, *, compiled=False, **options):
    return beam_search(model, features, SearchOptions(**options), compiled=compiled)


def log_probabilities(model, photo, words):
    """log p of each token that may follow <start> and `words`, by the teacher-forced pass: (WORDS,)."""
    logits = model.predict(FEATURES[photo : photo + 1], tf.constant([[[START, *words, PAD]]])).logits
    return tf.nn.log_softmax(logits[0, 0, -1]).numpy()


def forced_totals(model, features, tokens):
    """Sums of the log-probabilities of captions by the teacher-forced pass, (photos, captions), and their lengths."""
    tokens = np.asarray(tokens)
    inputs = np.pad(tokens, [(0, 0), (0, 0), (1, 0)], constant_values=START)
    log_p = tf.nn.log_softmax(model.predict(features, tf.constant(inputs)).logits).numpy()
    log_p = np.take_along_axis(log_p, tokens[..., None], -1)[..., 0]
    return np.where(tokens == PAD, 0, log_p).sum(-1), np.count_nonzero(tokens != PAD, -1)


def greedy_by_hand(model, photo, length):
    words = []
    for _ in range(length):
        log_p = log_probabilities(model, photo, words)
        log_p[[PAD, OOV, START]] = -np.inf
        words.append(int(log_p.argmax()))
        if words[-1] == END:
            break
    return words + [PAD] * (length - len(words))


def test_a_beam_of_one_is_greedy_search_in_a_batch_as_one_by_one():
    finished = 0
    for seed in range(2):
        model = captioner(seed=seed, encoder_weights=None)
        in_graph = tf.function(lambda x, m=model: search(m, x, max_tokens=9).tokens, autograph=False)
        tokens = in_graph(FEATURES).numpy()
        assert tokens.shape == (6, 1, 9)
        for photo in range(6):
            assert tokens[photo, 0].tolist() == greedy_by_hand(model, photo, 9)
            finished += END in tokens[photo]
        assert not np.isin(tokens[tokens != PAD], [OOV, START]).any()
    assert finished


@pytest.mark.parametrize(
    "alpha", [pytest.param(0.0, marks=pytest.mark.slow), 0.7, pytest.param(1.0, marks=pytest.mark.slow)]
)
def test_a_beam_as_wide_as_the_vocabulary_finds_what_brute_force_finds(model, alpha):
    hypotheses = search(model, FEATURES, max_tokens=2, beam=WORDS, length_alpha=alpha)
    words = [w for w in range(WORDS) if w not in (PAD, OOV, START, END)]
    captions = np.array([(END, PAD)] + [(first, second) for first in words for second in (*words, END)])
    totals, lengths = forced_totals(model, FEATURES, np.tile(captions, (6, 1, 1)))
    scores = totals / lengths**alpha
    best = np.argsort(-scores, 1)[:, :WORDS]
    np.testing.assert_array_equal(hypotheses.tokens, captions[best])
    np.testing.assert_allclose(hypotheses.scores, np.take_along_axis(scores, best, 1), rtol=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_teacher_forced_score_of_a_caption_is_its_search_score(model, beam):
    hypotheses = search(model, FEATURES, max_tokens=8, beam=beam, length_alpha=0.6)
    totals, lengths = forced_totals(model, FEATURES, hypotheses.tokens)
    np.testing.assert_allclose(hypotheses.scores, totals / lengths**0.6, rtol=1e-4)
    assert (np.diff(hypotheses.scores.numpy(), axis=1) <= 0).all()


def beam_search_by_hand(model, features, *, beam, length, ngram):
    """Lists of tokens and scores of each photo, best first: a beam of Python lists over the teacher-forced pass."""
    photos = len(features)
    beams = [[([], 0.0)] for _ in range(photos)]
    for time in range(length):
        tokens = np.full((photos, beam, time + 2), PAD, np.int32)
        for photo, row in np.ndindex(photos, beam):
            words = beams[photo][min(row, len(beams[photo]) - 1)][0]
            tokens[photo, row, : len(words) + 1] = [START, *words]
        log_p = tf.nn.log_softmax(model.predict(features, tf.constant(tokens)).logits[:, :, time]).numpy()
        for photo in range(photos):
            candidates = []
            for row, (words, total) in enumerate(beams[photo]):
                if END in words:
                    candidates.append((words, total))
                    continue
                ngrams = [words[start : start + ngram] for start in range(len(words) - ngram + 1)]
                for word in range(WORDS):
                    if word not in (PAD, OOV, START) and [*words, word][-ngram:] not in ngrams:
                        candidates.append(([*words, word], total + log_p[photo, row, word]))
            candidates.sort(key=lambda each: -each[1] / len(each[0]) ** LENGTH_ALPHA)
            beams[photo] = candidates[:beam]
    return [[(words, total / len(words) ** LENGTH_ALPHA) for words, total in found] for found in beams]


@pytest.mark.parametrize("decoder", DECODERS)
def test_captions_equal_those_of_a_beam_search_by_hand_while_photos_finish_one_after_another(decoder):
    model = captioner(seed=3, encoder_weights=None, image_size=64, **DECODERS[decoder])
    model.decoder.logits.kernel.assign(4 * model.decoder.logits.kernel)
    features = features_of(model)
    expected = beam_search_by_hand(model, features, beam=3, length=9, ngram=2)
    last_steps = sorted(max(len(words) for words, _ in found) for found in expected)
    assert last_steps[2] < last_steps[-1]  # half of the photos leave the memory before the end
    in_graph = tf.function(lambda x: search(model, x, max_tokens=9, beam=3, no_repeat_ngram=2), autograph=False)
    hypotheses = in_graph(features)
    found = [[[word for word in words if word != PAD] for words in each] for each in hypotheses.tokens.numpy()]
    assert found == [[words for words, _ in each] for each in expected]
    np.testing.assert_allclose(hypotheses.scores, [[score for _, score in each] for each in expected], rtol=1e-4)


@pytest.mark.parametrize("size", [130, 64 * 7, 500])
def test_the_top_k_of_blocks_are_those_of_all_values(size):
    values = np.random.default_rng(0).integers(0, 40, (50, size)).astype(np.float32)  # with many equal ones
    values[:9, 3:] = -np.inf
    for k in (1, 2, 5):
        for found, expected in zip(top_k(tf.constant(values), k), tf.math.top_k(values, k), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_the_captions_of_a_wide_beam_all_differ(model):
    wide = search(model, FEATURES, max_tokens=8, beam=4).tokens.numpy()
    for photo in range(6):
        assert len({tuple(tokens) for tokens in wide[photo].tolist()}) == 4


def test_a_batch_is_captioned_as_its_photos_one_by_one_and_padding_photos_change_nothing(model):
    together = search(model, tf.concat([FEATURES, tf.zeros((2, 2048))], 0), max_tokens=8, beam=3)
    for photo in range(6):
        alone = search(model, FEATURES[photo : photo + 1], max_tokens=8, beam=3)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[photo])
        np.testing.assert_allclose(alone.scores[0], together.scores[photo], rtol=1e-4)


@pytest.mark.parametrize("photos", [1, 6, None])
def test_the_number_of_photos_may_be_static_or_dynamic(model, photos):
    search_for = tf.function(
        lambda x: search(model, x, max_tokens=8, beam=3), input_signature=[tf.TensorSpec((photos, 2048))]
    )
    expected = search(model, FEATURES[: photos or 6], max_tokens=8, beam=3)
    np.testing.assert_array_equal(search_for(FEATURES[: photos or 6]).tokens, expected.tokens)


@pytest.mark.parametrize(
    "decoder", ["gru", *(pytest.param(name, marks=pytest.mark.slow) for name in DECODERS if name != "gru")]
)
def test_compiled_search_equals_plain_search(decoder):
    model = captioner(seed=2, encoder_weights=None, image_size=64, **DECODERS[decoder])
    features = features_of(model)
    plain = search(model, features, max_tokens=8, beam=3, no_repeat_ngram=2)
    compiled = tf.function(
        lambda x: search(model, x, max_tokens=8, beam=3, no_repeat_ngram=2, compiled=True),
        jit_compile=True,
        autograph=False,
    )(features)
    np.testing.assert_array_equal(plain.tokens, compiled.tokens)
    np.testing.assert_allclose(plain.scores, compiled.scores, rtol=1e-4)


def test_nothing_follows_the_end_and_a_finished_hypothesis_stays_as_it_is(model):
    short, long = (search(model, FEATURES, max_tokens=length, beam=3) for length in (20, 30))
    for tokens in long.tokens.numpy().reshape(-1, 30):
        if END in tokens:
            assert (tokens[tokens.tolist().index(END) + 1 :] == PAD).all()
    finished = (short.tokens.numpy() == END).any(-1).all(-1)
    assert finished.any()
    np.testing.assert_array_equal(short.tokens.numpy()[finished], long.tokens.numpy()[finished, :, :20])


def test_banned_tokens_are_banned_in_the_search_not_in_the_logits():
    model = captioner(encoder_weights=None)
    bias = np.zeros(WORDS, np.float32)
    bias[[PAD, OOV, START]] = 1000
    model.decoder.logits.bias.assign(bias)
    tokens = search(model, FEATURES, max_tokens=5, beam=2).tokens.numpy()
    assert not np.isin(tokens[..., 0], [PAD, OOV, START]).any()
    logits = model.predict(FEATURES, tf.constant([[[START, PAD]]] * 6)).logits.numpy()
    assert (logits[..., PAD] > 900).all()


def test_a_photo_whose_caption_never_ends_still_gets_one():
    model = captioner(encoder_weights=None)
    model.decoder.logits.bias.assign(np.where(np.arange(WORDS) == END, -1000, 0).astype(np.float32))
    hypotheses = search(model, FEATURES, max_tokens=5, beam=2)
    assert hypotheses.tokens.shape == (6, 2, 5) and (hypotheses.tokens.numpy() >= 4).all()
    assert np.isfinite(hypotheses.scores).all()


def test_a_beam_wider_than_the_number_of_captions_has_missing_hypotheses():
    model = captioner(encoder_weights=None)
    hypotheses = search(model, FEATURES, max_tokens=1, beam=WORDS)  # <end> and WORDS - 4 words
    exists = np.isfinite(hypotheses.scores.numpy())
    assert (exists.sum(1) == WORDS - 3).all()
    assert (hypotheses.tokens.numpy()[~exists] == PAD).all()


def test_a_caption_has_at_least_min_tokens(model):
    for least in (1, 4, 7):
        lengths = (search(model, FEATURES, max_tokens=8, beam=2, min_tokens=least).tokens.numpy() != PAD).sum(-1)
        assert lengths.min() >= least
    assert (search(model, FEATURES, max_tokens=8, beam=2).tokens.numpy() != PAD).sum(-1).min() < 7


@pytest.mark.parametrize("length", [1, 2, 3])
def test_no_ngram_of_the_given_length_occurs_twice(model, length):
    def repeats(tokens):
        ngrams = [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]
        return len(ngrams) - len(set(ngrams))

    model = captioner(seed=2, encoder_weights=None)
    model.decoder.logits.bias.assign(np.where(np.arange(WORDS) == END, -1000, 0).astype(np.float32))
    free, blocked = (
        search(model, FEATURES, max_tokens=7, beam=2, no_repeat_ngram=n).tokens.numpy().reshape(-1, 7).tolist()
        for n in (0, length)
    )
    assert sum(map(repeats, free)) > 0
    assert sum(map(repeats, blocked)) == 0


@pytest.mark.parametrize("decoder", ["bahdanau", "transformer"])
def test_the_attention_of_a_hypothesis_is_that_of_its_own_tokens(decoder):
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[decoder])
    features = features_of(model)
    best = search(model, features, max_tokens=8, beam=2).tokens[:, 0]
    attention = attention_weights(model, features, best)
    assert attention.shape == (6, 8, 4)
    for photo in range(6):
        tokens = tf.concat([[START], best[photo]], 0)[None, None]
        alone = model.predict(features[photo : photo + 1], tokens).attention[0, 0]
        np.testing.assert_allclose(attention[photo], alone, rtol=1e-4, atol=1e-6)


def test_a_captioner_without_attention_has_no_attention_weights(model):
    assert attention_weights(model, FEATURES, tf.constant([[5, END]] * 6)) is None


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_is_searched_and_sampled_through_its_one_step_pass(decoder):
    """Scores are the teacher-forced ones, and a batch equals its photos one by one."""
    model = captioner(seed=2, encoder_weights=None, image_size=64, **DECODERS[decoder])
    features = features_of(model)
    found = search(model, features, max_tokens=8, beam=3)
    sampled = sample(model, features, SamplingOptions(max_tokens=8, count=3), seed=tf.constant([1, 2]))
    for hypotheses in (found, sampled):
        totals, lengths = forced_totals(model, features, hypotheses.tokens)
        np.testing.assert_allclose(hypotheses.scores, totals / lengths**LENGTH_ALPHA, rtol=1e-3)
    alone = [search(model, features[i : i + 1], max_tokens=8, beam=3).tokens[0] for i in range(6)]
    np.testing.assert_array_equal(found.tokens, alone)
