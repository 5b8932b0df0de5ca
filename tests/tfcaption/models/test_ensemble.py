"""Several captioners as one."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions, features_of
from tfcaption.decoding.beam_search import beam_search
from tfcaption.decoding.hypotheses import LENGTH_ALPHA, length_normalized
from tfcaption.models.ensemble import Ensemble
from tfcaption.records.vocabulary import PAD, START


def test_an_ensemble_speaks_by_the_mean_of_the_probabilities_of_captioners_of_any_kind():
    models = [
        captioner(seed=seed, encoder_weights=None, image_size=64, **DECODERS[decoder])
        for seed, decoder in enumerate(("gru", "luong", "transformer"))
    ]
    together = Ensemble(models)
    features = tuple(features_of(model) for model in models)
    tokens = tf.constant(captions())
    parts = [tf.nn.softmax(model.predict(each, tokens).logits) for model, each in zip(models, features, strict=True)]
    probabilities = tf.exp(together.predict(features, tokens).logits)
    np.testing.assert_allclose(probabilities, np.mean(parts, axis=0), rtol=1e-3, atol=1e-6)
    real = (captions()[..., 1:] != PAD)[..., None]
    right = np.take_along_axis(np.mean(parts, axis=0), captions()[..., 1:, None], -1)
    assert float(together.token_sums(features, tokens).loss) == pytest.approx(-np.log(right[real]).sum(), rel=1e-3)
    found = beam_search(together, features, max_tokens=8, beam=3)
    log_p = together.predict(features, tf.concat([tf.fill((6, 3, 1), START), found.tokens], -1)).logits
    totals = tf.reduce_sum(tf.where(found.tokens != PAD, tf.gather(log_p, found.tokens, batch_dims=3), 0.0), -1)
    lengths = tf.math.count_nonzero(found.tokens, -1, dtype=tf.int32)
    np.testing.assert_allclose(found.scores, length_normalized(totals, lengths, LENGTH_ALPHA), rtol=1e-3)
    alone = beam_search(Ensemble(models[:1] * 2), features[:1] * 2, max_tokens=8, beam=3)
    np.testing.assert_array_equal(alone.tokens, beam_search(models[0], features[0], max_tokens=8, beam=3).tokens)
