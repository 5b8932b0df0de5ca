"""Captions as strings, with scores and attention."""

import numpy as np
import pytest

from tests.support.models import DECODERS, WORDS, captioner, features_of
from tests.tfcaption.decoding.test_beam_search import FEATURES, forced_totals
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.captioning import caption_features, find_hypotheses
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.vocabulary import END, PAD, SPECIAL_TOKENS, Vocabulary
from tfcaption.runtime.errors import UsageError

VOCABULARY = Vocabulary([*SPECIAL_TOKENS, *"abcdefg"])
TOKENIZER = Tokenizer(VOCABULARY)
OPTIONS = CaptionOptions(beam=3, no_repeat_ngram=0)


@pytest.mark.parametrize("decoder", ["gru", "luong"])
def test_strings_scores_words_and_attention_belong_to_the_same_hypotheses(decoder):
    assert len(VOCABULARY.words) == WORDS
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[decoder])
    features = features_of(model)
    batch = caption_features(model, features, TOKENIZER, OPTIONS, max_tokens=8)
    hypotheses = beam_search(model, features, SearchOptions(max_tokens=8, beam=3))
    np.testing.assert_array_equal(batch.captions, TOKENIZER.decode(hypotheses.tokens))
    np.testing.assert_array_equal(batch.scores, hypotheses.scores)
    attention = attention_weights(model, features, hypotheses.tokens[:, 0])
    if attention is None:
        assert decoder == "gru" and batch.attention is None and batch.words is None
    else:
        np.testing.assert_array_equal(batch.attention, attention)
        joined = [b" ".join(word for word in words if word) for words in batch.words.numpy()]
        assert joined == batch.captions.numpy()[:, 0].tolist()


def test_attention_is_computed_only_if_requested():
    model = captioner(encoder_weights=None, image_size=64, **DECODERS["luong"])
    batch = caption_features(model, features_of(model), TOKENIZER, OPTIONS, max_tokens=8, attention=False)
    assert batch.words is None and batch.attention is None


@pytest.mark.parametrize("sampling", [{}, {"temperature": 2.0, "nbest": 3}], ids=["searched", "sampled"])
def test_the_options_reach_search_and_sampling(model, sampling):
    free = find_hypotheses(model, FEATURES, CaptionOptions(no_repeat_ngram=0, **sampling), max_tokens=9)
    options = CaptionOptions(min_words=5, no_repeat_ngram=1, length_alpha=0.0, seed=3, **sampling)
    found = find_hypotheses(model, FEATURES, options, max_tokens=9)
    assert found.tokens.shape == (6, 3, 9)
    captions = [[t for t in caption if t not in (PAD, END)] for caption in found.tokens.numpy().reshape(-1, 9).tolist()]
    assert all(len(words) >= 5 and len(set(words)) == len(words) for words in captions)
    assert (np.count_nonzero(free.tokens != PAD, -1) < 5).any()
    totals, _ = forced_totals(model, FEATURES, found.tokens)
    np.testing.assert_allclose(found.scores, totals, rtol=1e-4)  # length_alpha 0: the sums
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_equal_seeds_give_equal_samples_and_others_differ(model):
    def tokens(seed, instead=None):
        options = CaptionOptions(temperature=2.0, nbest=4, seed=seed)
        return find_hypotheses(model, FEATURES, options, max_tokens=6, seed=instead).tokens.numpy()

    np.testing.assert_array_equal(tokens(1), tokens(1))
    np.testing.assert_array_equal(tokens(1), tokens(2, instead=1))  # so that one graph serves all seeds
    assert (tokens(1) != tokens(2)).any()


def test_more_words_than_a_caption_can_have_are_refused(model):
    with pytest.raises(UsageError, match="--min_words 7: captions of this model have at most 6 words"):
        find_hypotheses(model, FEATURES, CaptionOptions(min_words=7), max_tokens=6)
