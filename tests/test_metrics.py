"""Scores agree with reference values, and refuse what would be scored wrongly."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from tfcaption.evaluation.references import constant_caption
from tfcaption.metrics.corpus import ScoreError, corpus_scores
from tfcaption.metrics.diversity import caption_statistics
from tfcaption.metrics.rouge import longest_common_subsequence
from tfcaption.metrics.similarity import embedding_cosine, shuffled
from tfcaption.metrics.tokens import score_tokens

GOLDEN = ["constant_caption", "human_0_against_the_other_4", "human_2_against_the_other_4"]
WORDS = ["a", "b", "c", "d", "e"]


def draw(generator, shortest=1, longest=9):
    return " ".join(generator.choice(WORDS, size=generator.integers(shortest, longest)))


@pytest.fixture
def drawn():
    """Captions and references of 12 photos from five words, so that much repeats and much matches."""
    generator = np.random.default_rng(5)
    photos = [f"photo{index}" for index in range(12)]
    references = {photo: [draw(generator) for _ in range(generator.integers(1, 5))] for photo in photos}
    return {photo: draw(generator, 4) for photo in photos}, references


@pytest.mark.parametrize("case", GOLDEN)
def test_scores_agree_with_the_reference_scores(shared_data, case):
    """All that is left comes from one caption with brackets, which coco-caption takes for words."""
    golden = json.loads((shared_data / "golden" / "caption_scores_dev200.json").read_text())[case]
    scores = corpus_scores(golden["hypotheses"], golden["references"])
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"):
        assert scores[name] == pytest.approx(golden["scores"][name], abs=1e-9)
    assert scores["cider"] == pytest.approx(golden["scores"]["cider"], abs=3e-4)


def test_bleu_is_that_of_nltk_where_every_caption_has_four_words(drawn):
    hypotheses, references = drawn
    expected = [[caption.split() for caption in references[photo]] for photo in hypotheses]
    spoken = [caption.split() for caption in hypotheses.values()]
    scores = corpus_scores(hypotheses, references)
    for n in range(1, 5):
        assert scores[f"bleu_{n}"] == pytest.approx(corpus_bleu(expected, spoken, weights=[1 / n] * n))


def test_captions_too_short_for_an_n_gram_add_nothing_to_its_precision():
    pair = {"a": "the cat sat on the mat", "b": "a dog"}, {"a": ["the cat sat on a mat"], "b": ["a dog"]}
    assert corpus_scores(*pair)["bleu_4"] == pytest.approx((7 / 8 * 4 / 6 * 2 / 4 * 1 / 3) ** 0.25)


def brute_force_cider(hypotheses, references):
    """CIDEr-D as the paper's formulas say it, with dense vectors over all n-grams, n by n."""

    def ngrams(caption, n):
        words = caption.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = []
    for photo, spoken in hypotheses.items():
        of_references = []
        for reference in references[photo]:
            of_n = []
            for n in range(1, 5):
                every = sorted({g for r in references.values() for c in r for g in ngrams(c, n)} | {*ngrams(spoken, n)})
                having = [sum(any(g in ngrams(c, n) for c in r) for r in references.values()) for g in every]
                idf = np.log(len(references) / np.maximum(having, 1))
                mine, other = (np.array([ngrams(c, n).count(g) for g in every]) * idf for c in (spoken, reference))
                norm = np.linalg.norm(mine) * np.linalg.norm(other)
                of_n.append(np.minimum(mine, other) @ other / norm if norm else 0.0)
            apart = len(spoken.split()) - len(reference.split())
            of_references.append(10 * np.mean(of_n) * np.exp(-(apart**2) / (2 * 6.0**2)))
        scores.append(np.mean(of_references))
    return np.mean(scores)


def test_cider_is_that_of_the_formulas(drawn):
    score = corpus_scores(*drawn)["cider"]
    assert score == pytest.approx(brute_force_cider(*drawn)) and score > 0.1


def test_cider_of_one_photo_is_zero_and_of_perfect_captions_ten():
    assert corpus_scores({"a": "a big dog runs"}, {"a": ["a big dog runs"]})["cider"] == 0.0
    captions = {"a": "a big dog runs", "b": "two men on ice", "c": ""}
    references = {photo: [caption] for photo, caption in captions.items()}
    assert corpus_scores(captions, references)["cider"] == pytest.approx(20 / 3)  # the empty caption scores nothing


def test_cider_tells_captions_that_belong_from_the_same_captions_exchanged(drawn):
    _, references = drawn
    own = {photo: captions[0] for photo, captions in references.items()}
    exchanged = dict(zip(own, [*list(own.values())[1:], own["photo0"]], strict=True))
    assert corpus_scores(own, references)["cider"] > 2 * corpus_scores(exchanged, references)["cider"]


def test_the_longest_common_subsequence_is_that_of_trying_them_all():
    generator = np.random.default_rng(6)
    for _ in range(50):
        first, second = draw(generator, 0, 8).split(), draw(generator, 0, 8).split()
        common = [
            set(itertools.combinations(first, length)) & set(itertools.combinations(second, length))
            for length in range(9)
        ]
        longest = max(length for length in range(9) if common[length])
        assert longest_common_subsequence(first, second) == longest


def test_rouge_l_is_that_of_a_calculation_by_hand():
    # The best precision (the first reference: 5 of 6 words) and the best recall (the second: all 3) come from two.
    scores = corpus_scores({"a": "the cat sat on the mat"}, {"a": ["the cat is on the mat there", "on the mat"]})
    precision, recall = 5 / 6, 3 / 3
    assert scores["rouge_l"] == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))


def test_scores_know_neither_the_names_nor_any_order(drawn):
    hypotheses, references = drawn
    renamed = {f"x{photo}": caption.upper() + " ." for photo, caption in reversed(hypotheses.items())}
    shuffled = {f"x{photo}": captions[::-1] for photo, captions in references.items()}
    assert corpus_scores(renamed, shuffled) == pytest.approx(corpus_scores(hypotheses, references))


def test_bleu_is_that_of_a_calculation_by_hand():
    # 5 of 6 words and 3 of 5 pairs match; hypothesis and closest reference have 6 words, so there is no brevity penalty
    scores = corpus_scores({"a": "The cat sat on the mat ."}, {"a": ["the cat is on the mat", "a dog"]})
    assert scores["bleu_1"] == pytest.approx(5 / 6)
    assert scores["bleu_2"] == pytest.approx((5 / 6 * 3 / 5) ** 0.5)
    assert scores["bleu_4"] == 0.0  # no four words in a row match


def test_bleu_is_of_the_corpus_not_the_mean_of_sentences():
    hypotheses = {"a": "a b c d e", "b": "x"}
    references = {"a": ["a b c d e"], "b": ["y z w v u"]}
    assert corpus_scores(hypotheses, references)["bleu_1"] == pytest.approx(5 / 6 * np.exp(1 - 10 / 6))


def test_one_letter_words_count_and_punctuation_and_case_do_not():
    assert score_tokens('A dog , "Rex" , is (not) I !') == ["a", "dog", "rex", "is", "not", "i"]
    assert score_tokens("the dog's t-shirt isn't red") == ["the", "dog", "'s", "t-shirt", "is", "n't", "red"]
    assert score_tokens("In Washington D.C.") == score_tokens("in washington d.c. .")


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ({"a": ["a", "dog"]}, {"a": ["a dog"]}, "a: the caption must be a string, not list"),
        ({"a": "a dog"}, {"a": "a dog"}, "a: references must be a list of strings"),
        ({"a": "a dog"}, {"a": [["a", "dog"]]}, "a: references must be a list of strings"),
        ({"a": "a dog"}, {}, "a: has a caption but no references"),
        ({"a": "a dog"}, {"a": []}, "a: its list of references is empty"),
        ({"a": "a dog"}, {"a": ["a"], "b": ["b"]}, "b: has references but no caption"),
        ({}, {}, "no captions"),
    ],
)
def test_what_would_be_scored_wrongly_is_refused(hypotheses, references, message):
    with pytest.raises(ScoreError, match=message):
        corpus_scores(hypotheses, references)


def test_an_empty_caption_scores_nothing_and_is_no_error():
    assert set(corpus_scores({"a": ""}, {"a": ["a dog"]}).values()) == {0.0}
    assert set(corpus_scores({"a": "a dog"}, {"a": ["", "."]}).values()) == {0.0}


def test_the_constant_caption_is_the_best_of_the_training_captions():
    references = [["A dog runs in the grass .", f"Word{i} never seen again ."] for i in range(30)]
    assert constant_caption(references) == "A dog runs in the grass ."


def test_cosine_is_of_mean_vectors_averaged_over_the_references():
    vectors = {"a": np.array([1.0, 0]), "b": np.array([0, 1.0])}
    found = embedding_cosine({"p": "a", "q": "zzz"}, {"p": ["A !", "b", "a b"], "q": ["a"]}, vectors)
    assert found == {"p": pytest.approx((1 + 0 + 0.5**0.5) / 3)}


def test_shuffled_gives_every_photo_the_references_of_another():
    references = {name: [name] for name in "abc"}
    mixed = shuffled(references)
    assert mixed.keys() == references.keys() and all(mixed[name] != [name] for name in "abc")
    assert sorted(mixed.values()) == sorted(references.values())


def test_metrics_need_no_tensorflow():
    code = "import sys, tfcaption.metrics as m; m.corpus_scores({'a': 'b'}, {'a': ['b']})"
    code += "; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def training(*captions):
    return {tuple(score_tokens(caption)) for caption in captions}


def test_statistics_are_those_counted_by_hand():
    captions = ["A dog runs .", "a dog runs", "a man and a", "red and red and red and", ""]
    found = caption_statistics(captions, training("A DOG runs!", "a man"))
    assert found == {
        "mean_words": pytest.approx((3 + 3 + 4 + 6 + 0) / 5),
        "distinct_captions": 4,
        "vocabulary_used": 6,  # a dog runs man and red
        "novel_share": pytest.approx(3 / 5),
        "repeated_trigram_share": pytest.approx(1 / 5),
        "bad_ending_share": pytest.approx(2 / 5),
    }


@pytest.mark.parametrize(("caption", "repeats"), [("a b c a b", 0), ("a b c a b c", 1), ("a a a", 0), ("a a a a", 1)])
def test_a_trigram_repeats_when_it_comes_twice(caption, repeats):
    assert caption_statistics([caption], set())["repeated_trigram_share"] == repeats


def test_no_captions_have_no_statistics():
    with pytest.raises(ValueError, match="no captions"):
        caption_statistics([], set())
