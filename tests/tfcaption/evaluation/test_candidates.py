"""Candidates of a reranking: all searches' hypotheses once, with their log-probabilities under each captioner."""

import numpy as np
import pytest
import tensorflow as tf

from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluation.candidates import Candidates, collect_candidates, consensus, hypothesis_features
from tfcaption.evaluation.predictions import caption_split
from tfcaption.evaluation.rerank_weights import feature_names
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import NO_CACHE, BatchOptions
from tfcaption.input_pipeline.split import open_split
from tfcaption.metrics.cider import Cider
from tfcaption.metrics.tokens import score_tokens
from tfcaption.models.ensemble import Ensemble
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import load_run, load_run_dataset

SEARCH = CaptionOptions(beam=3, nbest=3)


@pytest.fixture(scope="module")
def runs(trained_run, glove_run):
    return [load_run(path) for path in (trained_run, glove_run)]


@pytest.fixture(scope="module")
def captioners(runs):
    return [load_captioner(run)[0] for run in runs]


@pytest.fixture(scope="module")
def split(runs):
    return open_split("dev", load_run_dataset(runs[0]), buckets=2, cache=NO_CACHE)


@pytest.fixture(scope="module")
def candidates(captioners, runs, split):
    return collect_candidates(captioners, split, runs[0].vocabulary, batch_size_photos=4, options=SEARCH)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_the_hypotheses_of_the_ensemble_come_first_and_equal_ones_count_once(candidates, captioners, runs, split):
    found = caption_split(Ensemble(captioners), split, runs[0].vocabulary, batch_size_photos=4, options=SEARCH).nbest
    assert candidates.keys() == found.keys() and len(candidates) == split.photos
    for photo, of_photo in candidates.items():
        assert of_photo.captions[:3] == [hypothesis.caption for hypothesis in found[photo]]
        assert len(set(of_photo.captions)) == len(of_photo.captions) == len(of_photo.tokens) <= 9
    assert max(len(of_photo.captions) for of_photo in candidates.values()) > 3


def test_log_probabilities_are_those_of_one_caption_at_a_time(candidates, captioners, runs, split):
    tokenizer = Tokenizer(runs[0].vocabulary)
    batch = next(iter(make_batches(split, BatchOptions(split.photos))))
    ids = [photo_id.decode() for photo_id in batch["photo_id"].numpy()]  # an empty one fills up the batch
    for row in [row for row, photo_id in enumerate(ids) if photo_id][::4]:
        of_photo = candidates[ids[row]]
        features = [captioner.encode(batch["inputs"][row : row + 1], split.stage) for captioner in captioners]
        for index, caption in enumerate(of_photo.captions):
            tokens = tf.constant([tokenizer.encode([caption], max_words=99)], tf.int32)
            # A caption that is cut after the most tokens has no <end>.
            targets = tokens[0, 0, 1:].numpy()[: split.lengths[-1]]
            assert of_photo.tokens[index] == len(targets)
            probabilities = [
                softmax(captioner.predict(own, tokens).logits[0, 0].numpy())[np.arange(len(targets)), targets]
                for captioner, own in zip(captioners, features, strict=True)
            ]
            expected = [np.log(each).sum() for each in (np.mean(probabilities, axis=0), *probabilities)]
            np.testing.assert_allclose(of_photo.log_probs[index], expected, rtol=1e-4)


def test_one_captioner_is_its_own_ensemble(candidates, captioners, runs, split):
    alone = collect_candidates(captioners[:1], split, runs[0].vocabulary, batch_size_photos=64, options=SEARCH)
    for photo, of_photo in alone.items():
        assert of_photo.log_probs.shape == (3, 1)
        pooled = candidates[photo]
        places = [pooled.captions.index(caption) for caption in of_photo.captions]
        np.testing.assert_allclose(of_photo.log_probs[:, 0], pooled.log_probs[places, 1], rtol=1e-4)


def test_consensus_is_the_mean_similarity_to_the_others_weighted_by_their_probabilities():
    corpus = [["a dog runs", "the dog runs fast"], ["a man sits"], ["two birds fly"]]
    cider = Cider([[score_tokens(caption) for caption in captions] for captions in corpus])
    captions, log_probs = ["a dog runs", "the dog runs fast", "two birds fly"], np.log([0.5, 0.3, 0.1])

    def similarity(one, other):
        return (
            cider.score(*(cider.tf_idf(score_tokens(captions[one])), [cider.tf_idf(score_tokens(captions[other]))]))
            / 10
        )

    expected = (0.3 * similarity(0, 1) + 0.1 * similarity(0, 2)) / 0.4
    found = consensus(captions, log_probs - 2000, cider, score_tokens)  # whose probabilities are 0 in float64
    assert found[0] == pytest.approx(expected) and expected > 0.1
    assert found[2] == 0 and consensus(captions[:1], log_probs[:1], cider, score_tokens).tolist() == [0]


def test_the_features_of_a_hypothesis_are_in_the_order_of_their_names():
    log_probs = np.array([[-2.0, -4.0, -6.0], [-3.0, -3.0, -3.0]])
    candidates = Candidates(["a dog runs", "it flies"], log_probs, np.array([4, 3]))
    cider = Cider([[("a", "dog")], [("it",)]])
    features = hypothesis_features(candidates, cider, score_tokens, np.array([[0.1, 0.2], [0.3, 0.4]]))
    names = dict(zip(feature_names(2), features.T.tolist(), strict=True))
    assert names["ensemble_log_prob"] == [-2, -3] and names["run_2_log_prob"] == [-6, -3]
    assert names["ensemble_mean_log_prob"] == [-0.5, -1] and names["run_1_mean_log_prob"] == [-1, -1]
    assert names["words"] == [3, 2] and names["consensus"] == [0, 0] and len(names) == 10
    assert names["mean_similarity"] == [0.1, 0.3] and names["predicted_similarity"] == [0.2, 0.4]
