"""Captions as strings, with scores and attention."""

import numpy as np
import pytest

from tests.support.models import DECODERS, WORDS, captioner, features_of
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.captioning import caption_features
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.tokenizer import Vocabulary
from tfcaption.records.vocabulary import SPECIAL_TOKENS

VOCABULARY = Vocabulary([*SPECIAL_TOKENS, *"abcdefg"])
OPTIONS = CaptionOptions(beam=3)


@pytest.mark.parametrize("decoder", ["gru", "luong"])
def test_strings_scores_words_and_attention_belong_to_the_same_hypotheses(decoder):
    assert len(VOCABULARY) == WORDS
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[decoder])
    features = features_of(model)
    batch = caption_features(model, features, VOCABULARY, OPTIONS, max_tokens=8)
    hypotheses = beam_search(model, features, SearchOptions(max_tokens=8, beam=3))
    np.testing.assert_array_equal(batch.captions, VOCABULARY.decode(hypotheses.tokens))
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
    batch = caption_features(model, features_of(model), VOCABULARY, OPTIONS, max_tokens=8, attention=False)
    assert batch.words is None and batch.attention is None
