"""Several captioners as one."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions, features_of
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.hypotheses import length_normalized
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.models.ensemble import Ensemble
from tfcaption.records.vocabulary import PAD, START


def test_the_probabilities_of_an_ensemble_are_the_mean_of_those_of_its_captioners_of_any_kind():
    models = [
        captioner(seed=seed, encoder_weights=None, image_size=64, **DECODERS[decoder])
        for seed, decoder in enumerate(("gru", "luong", "transformer"))
    ]
    ensemble = Ensemble(models)
    features = tuple(features_of(model) for model in models)
    tokens = tf.constant(captions())
    pairs = zip(models, features, strict=True)
    mean = np.mean([tf.nn.softmax(model.predict(each, tokens).logits) for model, each in pairs], axis=0)
    probabilities = tf.exp(ensemble.predict(features, tokens).logits)
    np.testing.assert_allclose(probabilities, mean, rtol=1e-3, atol=1e-6)
    real = (captions()[..., 1:] != PAD)[..., None]
    of_targets = np.take_along_axis(mean, captions()[..., 1:, None], -1)
    assert float(ensemble.token_sums(features, tokens).loss) == pytest.approx(-np.log(of_targets[real]).sum(), rel=1e-3)
    options = SearchOptions(max_tokens=8, beam=3)
    hypotheses = beam_search(ensemble, features, options)
    log_p = ensemble.predict(features, tf.concat([tf.fill((6, 3, 1), START), hypotheses.tokens], -1)).logits
    totals = tf.reduce_sum(
        tf.where(hypotheses.tokens != PAD, tf.gather(log_p, hypotheses.tokens, batch_dims=3), 0.0), -1
    )
    lengths = tf.math.count_nonzero(hypotheses.tokens, -1, dtype=tf.int32)
    np.testing.assert_allclose(hypotheses.scores, length_normalized(totals, lengths, LENGTH_ALPHA), rtol=1e-3)
    twice_the_same = beam_search(Ensemble(models[:1] * 2), features[:1] * 2, options)
    np.testing.assert_array_equal(twice_the_same.tokens, beam_search(models[0], features[0], options).tokens)
