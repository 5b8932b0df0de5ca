"""Tokens of captions in scripts without spaces, and scores by them."""

import math
import re
import subprocess
import sys

import pytest

from tfcaption import evaluate
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.metrics.score_tokenizers import SCORE_TOKENIZERS, TREEBANK, score_tokenizer, tokenizer_for
from tfcaption.runtime.errors import UsageError

CHARACTERS, UNICODE = SCORE_TOKENIZERS["characters"].tokenize, SCORE_TOKENIZERS["unicode"].tokenize


@pytest.mark.parametrize(
    ("caption", "characters", "unicode"),
    [
        ("一只狗，在跑。", "一 只 狗 在 跑", "一 只 狗 在 跑"),
        ("两只DOG狗", "两 只 d o g 狗", "两 只 dog 狗"),
        ("A T-shirt, 2.5 m!", "a t s h i r t 2 5 m", "a t-shirt 2.5 m"),
        ("don't", "d o n t", "don't"),
        ("ガーデンの猫", "ガ ー デ ン の 猫", "ガ ー デ ン の 猫"),
        ("คนขี่ม้า", "ค น ขี่ ม้ า", "ค น ขี่ ม้ า"),  # a mark stays with its letter
        ("رجل يركب حصانًا.", "ر ج ل ي ر ك ب ح ص ا نً ا", "رجل يركب حصانًا"),
        ("개가 달린다.", "개 가 달 린 다", "개가 달린다"),  # Korean has spaces
        ("\uff26\uff35\u3000ｃａｆé", "f u c a f é", "fu café"),  # of full width
        ("。 ！", "", ""),
    ],
)
def test_tokens_are_characters_or_words_by_script(caption, characters, unicode):
    assert CHARACTERS(caption) == tuple(characters.split())
    assert UNICODE(caption) == tuple(unicode.split())


def test_scores_of_chinese_are_those_worked_out_by_hand():
    """5 characters against 8: all 5, and 3 of their 4 pairs, are in the reference."""
    scores = corpus_scores({"a": "一只狗在跑"}, {"a": ["一只狗在草地上跑。"]}, CHARACTERS)
    brevity = math.exp(1 - 8 / 5)
    assert scores["bleu_1"] == pytest.approx(brevity, abs=1e-6)
    assert scores["bleu_2"] == pytest.approx(math.sqrt(3 / 4) * brevity, abs=1e-6)
    precision, recall, beta = 1, 5 / 8, 1.2  # the longest common subsequence is the whole hypothesis
    assert scores["rouge_l"] == pytest.approx((1 + beta**2) * precision * recall / (recall + beta**2 * precision))


def test_scores_by_characters_are_those_of_captions_with_spaces_between_characters():
    hypotheses = {"a": "一个男人在骑马", "b": "两只狗在草地上跑", "c": "海滩上的人"}
    references = {
        "a": ["一个人骑着马", "男人在骑一匹棕色的马"],
        "b": ["两只狗在跑", "狗在草地上玩耍"],
        "c": ["人们在海滩上", "一群人站在沙滩上"],
    }
    spaced = {photo: " ".join(caption) for photo, caption in hypotheses.items()}
    spaced_references = {photo: [" ".join(caption) for caption in captions] for photo, captions in references.items()}
    by_characters = corpus_scores(hypotheses, references, CHARACTERS)
    assert by_characters == corpus_scores(hypotheses, references, UNICODE)
    assert by_characters == corpus_scores(spaced, spaced_references)
    assert by_characters["bleu_4"] != corpus_scores(hypotheses, references)["bleu_4"]


@pytest.mark.parametrize(
    ("of_records", "expected"),
    [
        ("words", TREEBANK),
        ("wordpiece:4000", TREEBANK),
        ("unicode", SCORE_TOKENIZERS["unicode"]),
        ("sentencepiece", SCORE_TOKENIZERS["unicode"]),
    ],
)
def test_the_tokenizer_of_scores_goes_by_that_of_the_records(of_records, expected):
    assert tokenizer_for(of_records) == expected


def test_a_chosen_tokenizer_counts_whatever_the_records():
    assert tokenizer_for("words", "characters") == SCORE_TOKENIZERS["characters"]


def test_evaluate_offers_all_of_them_without_loading_the_metrics(capsys):
    code = "import sys, tfcaption.evaluate; assert not {'numpy', 'tfcaption.metrics'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(SystemExit):
        evaluate.main(["run", "--score_tokenizer", "jieba"])
    error = capsys.readouterr().err
    assert re.findall(r"\w+", error.partition("choose from ")[2].partition(")")[0]) == list(SCORE_TOKENIZERS)


def test_an_unknown_tokenizer_is_refused_with_those_that_exist():
    with pytest.raises(UsageError, match="score tokenizer 'jieba'.*treebank, characters, unicode"):
        score_tokenizer("jieba")
