"""Score tokens are those of coco-caption, and those of a reference are those of its words."""

import json
import random
from pathlib import Path

import pytest
import tensorflow as tf

from tests.support.stanford_tokenizer import find_jar, stanford_tokens
from tfcaption.metrics.tokens import score_tokens
from tfcaption.preprocessing.normalization import normalize
from tfcaption.preprocessing.tokenizer import detokenize, tokenize

GOLDEN = [json.loads(line) for line in Path(__file__).with_name("stanford_tokens.jsonl").read_text().splitlines()]
# Not worth a rule, since captions hardly have them: as coco-caption splits them, and as they are split here.
DIFFER = {
    "It's 5 o'clock, y'all, ma'am, c'mon": {"y' all": "y'all"},
    "dog--cat dog---cat - -- --- ---- -----": {" -----": ""},
    "Plan B. The man waits": {"b": "b."},  # there the next word decides
    "No. 5 runs. no. five walks": {"no. 5": "no 5"},
    "he/she and/or red/white/blue/green": {"blue / green": "blue/green"},
    "$5 US$10 50% 50%off #3 +1 -2 a+b a=b a*b": {"us$": "us $"},
    "RIF=ding a_b __init__ a~b a^b a|b a\\b": {"__ init __": "__init__", "a ^ b": "a^b"},
    "555-123-4567 or (555) 123-4567 or 555.123.4567": {"-lrb-555-rrb-": "-lrb- 555 -rrb-"},
    "C++ and c# and f#": {"c#": "c #", "f#": "f #"},
    "file.jpg IMG_1.jpg 2.txt": {"img_1 jpg": "img_1.jpg"},
    "<b>bold</b> <br/> a < b > c << d >>": {"<<": "< <", ">>": "> >"},
    "O'Brien, d'Angelo, l'eau, c'est, qu'il, aujourd'hui": {"aujourd hui": "aujourd'hui"},
    "who'd've, shouldn't've, ain't": {"who 'd": "who'd", "should n't": "shouldn't"},
    "the bride wed. The man is ill. he is Ill. today": {"wed.": "wed", "ill.": "ill"},  # Wednesday and Illinois
    "dog.cat dog!cat dog?cat dog,cat dog;cat dog:cat": {"dog!cat dog?cat": "dog cat dog cat"},
}


def said(captions):
    """The captions as a captioner that has learnt every word says them."""
    return [caption.decode() for caption in detokenize(tokenize(tf.constant(captions))).numpy()]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["caption"])
def test_tokens_are_those_of_coco_caption_but_for_punctuation_beyond_ascii_and_those_named_above(case):
    expected = " ".join(case["tokens"])
    for written, here in DIFFER.get(case["caption"], {}).items():
        assert written in expected
        expected = expected.replace(written, here)
    assert " ".join(score_tokens(case["caption"])) == " ".join(normalize(expected).split())
    assert not case["caption"].isascii() or normalize(expected) == expected


def test_every_difference_that_is_named_is_of_a_golden_caption():
    assert set(DIFFER) <= {case["caption"] for case in GOLDEN}


@pytest.mark.parametrize(
    "caption",
    [
        "The dog’s ball isn’t red – it’s blue",
        "A “very” big cat sits…outside—alone",
        "‘Two’ «cafe\u0301s» on „a“ street， ①②（三）",
        "an e‑mail, a soft\u00adhyphen, Hawaiʻi Hawaiʼi ʻokina, ´a´ ¨",
        "سگی روی چمن\u200cها می\u200cدود.",
        "یہ کتا ہے۔ کیا؟ ہاں، جی",
        "رجل يركض؛ وامرأة تمشي",
        "मैं घर जा रहा हूँ। और वह॥ काला-सफेद",
        "একটি কুকুর দৌড়াচ্ছে।",
        "ශ්\u200dරී ලංකාව",
        "¿Qué hace? ¡Corre!",
        "犬が走る。「はい」、そう！ｈｅｌｌｏ",
        "İstanbul I\u0307STANBUL ığdır ΟΔΟΣ ΟΣ straße STRASSE",
        "s'émouvoir s'mêler 'Málaga' l'dé",
        "I ❤️ 🐶👩‍🚀 1️⃣ 5㎏ 20℃ a™ €5 £5",
        "it&#39;s &quot;red&quot;&nbsp;&mdash; &lt;",
    ],
)
def test_tokens_of_a_reference_are_those_of_the_captioner_that_says_it(caption):
    """But for "<": a mark in ASCII is no word, and coco-caption counts some."""
    assert [token for token in score_tokens(caption) if token != "<"] == list(score_tokens(said([caption])[0]))


def test_typographic_marks_and_decomposed_accents_make_no_difference():
    plain = "the dog's ball isn't red - it's a café ... \"x\""
    typed = "the dog’s ball isn’t red — it’s a cafe\u0301… “x”"
    assert (
        score_tokens(typed)
        == score_tokens(plain)
        == ("the", "dog", "'s", "ball", "is", "n't", "red", *["it", "'s", "a", "café", "x"])
    )


def test_brackets_count_as_in_coco_caption_and_case_does_not():
    assert score_tokens("A dog (NOT) I !") == ("a", "dog", "-lrb-", "not", "-rrb-", "i")


@pytest.fixture(scope="module")
def jar():
    try:
        return find_jar()
    except OSError as error:
        pytest.skip(f"needs Java and the jar of Stanford CoreNLP 3.4.1: {error}")


@pytest.mark.slow
@pytest.mark.parametrize(("gaps", "share"), [([" "], 0.002), (["", " ", " ", " "], 0.2)], ids=["spaced", "glued"])
def test_few_mixtures_of_awkward_words_differ_from_the_java_tokenizer(jar, gaps, share):
    generator = random.Random(0)
    awkward = (case["caption"] for case in GOLDEN if case["caption"].isascii() and case["caption"] not in DIFFER)
    words = [word for word in " ".join(awkward).split() if "&quot;" not in word and "&amp;" not in word]
    captions = [
        "".join(generator.choice(words) + generator.choice(gaps) for _ in range(generator.randint(2, 9)))
        for _ in range(4000)
    ]
    tokens = stanford_tokens(captions, jar)
    differ = [caption for caption, expected in zip(captions, tokens, strict=True) if score_tokens(caption) != expected]
    assert len(differ) <= share * len(captions), differ[:10]


@pytest.mark.slow
def test_tokens_are_those_of_the_java_tokenizer_on_all_captions_of_flickr8k(jar, shared_data):
    lines = (shared_data / "data" / "flickr8k" / "Flickr8k_text" / "Flickr8k.token.txt").read_text().splitlines()
    captions = [line.split("\t")[1] for line in lines]
    tokens = stanford_tokens(captions, jar)
    differ = [caption for caption, expected in zip(captions, tokens, strict=True) if score_tokens(caption) != expected]
    assert differ == []
