"""Captions to words and token ids, and back."""

import unicodedata
from collections import Counter

import pytest
import regex
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcaption.preprocessing.normalization import SPACELESS
from tfcaption.preprocessing.tokenizer import Tokenizer, detokenize, split_words, tokenize
from tfcaption.records.vocabulary import END, OOV, PAD, SPECIAL_TOKENS, START, Vocabulary, vocabulary_words


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A child in a pink dress .", "a child in a pink dress"),
        ("The dog's T-shirt isn't red !", "the dog 's t-shirt is n't red"),
        ("The dogs' ball , they’re “happy”", "the dogs ball they 're happy"),
        ("'Hello' -- it is 5 o'clock", "hello it is 5 o'clock"),
        ("3rd of 1,000 : 2.5 m", "3rd of 1,000 2.5 m"),
        ("who'd've 0n't", "who 'd 've 0 n't"),
        ("R&B rock 'n' roll", "r and b rock n roll"),
        ("man.The x/y a_b (c)", "man the x y a b c"),
        ("É CAFÉ ﬁne ２", "é café fine 2"),
        ("I am a b", "i am a b"),
        (" \t\n ", ""),
        ("... !?", ""),
    ],
)
def test_captions_are_split_into_words_as_documented(caption, expected):
    assert " ".join(split_words([caption])[0]) == expected


@settings(max_examples=50, deadline=None)  # of many captions each, since a call takes as long for one as for all
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40), min_size=1, max_size=32))
def test_detokenized_captions_are_split_into_equal_words(captions):
    tokenized = tokenize(tf.constant(captions))
    assert tokenize(detokenize(tokenized)).to_list() == tokenized.to_list()


def test_clitics_are_joined_to_their_word():
    assert detokenize(tokenize(tf.constant(["the dog's isn't"])))[0].numpy() == b"the dog's isn't"


def test_vocabulary_is_by_falling_count_then_spelling_after_the_special_tokens():
    counts = {"b": 5, "a": 5, "z": 9, "rare": 4, "<end>": 99}
    assert vocabulary_words(counts, 5) == [*SPECIAL_TOKENS, "z", "a", "b"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(Vocabulary([*SPECIAL_TOKENS, "a", "dog", "'s", "runs"]))


def test_encode_puts_start_and_end_and_truncation_keeps_end(tokenizer):
    encoded = tokenizer.encode(["A dog's cat runs", "a a a a a a", ""], max_words=4)
    assert encoded == [[START, 4, 5, 6, OOV, END], [START, 4, 4, 4, 4, END], [START, END]]


def test_spelled_out_special_tokens_are_ordinary_words(tokenizer):
    assert tokenizer.encode(["<end> <pad>"], max_words=9) == [[START, OOV, OOV, END]]


def test_decode_stops_at_the_first_end(tokenizer):
    tokens = tf.constant([[START, 4, 5, 6, END, 7, PAD], [4, 5, END, END, PAD, PAD, PAD], [4, OOV, 7, 7, 7, 7, 7]])
    assert tokenizer.decode(tokens).numpy().tolist() == [b"a dog's", b"a dog", b"a <oov> runs runs runs runs runs"]


def test_decode_each_gives_the_words_before_the_end_at_their_positions(tokenizer):
    tokens = tf.constant([[START, 4, 5, END, 6, PAD]])
    assert tokenizer.decode_each(tokens).numpy().tolist() == [[b"", b"a", b"dog", b"", b"", b""]]


def test_decode_works_in_a_graph(tokenizer):
    assert tf.function(tokenizer.decode)(tf.constant([[START, 4, 5, 7, END]]))[0].numpy() == b"a dog runs"


CAPTIONS_OF_SCRIPTS = [
    "一只狗在草地上奔跑",
    "2只狗和3个孩子",
    "tシャツを着たサッカー選手がボールを蹴る",
    "หมาสีน้ำตาลกําลังวิ่งเล่น",
    "ໝາກຳລັງແລ່ນ",
    "ឆ្កែពណ៌ត្នោតកំពុងរត់",
    "ခွေးညိုတစ်ကောင်ပြေးနေသည်",
    "كلب بُنّي يركض في العشب",
    "כֶּלֶב חוּם רץ בדשא",
    "भूरा कुत्ता घास पर दौड़ रहा है",
    "갈색 강아지가 달린다",
    "một con chó nâu chạy trên cỏ",
    "a dog 🐶 and an astronaut 👩‍🚀 with 👍🏽 in 🇩🇪 ❤‍🔥 👨‍👩‍👧‍👦",
    "naïve café z̈ạ̈",
]


@pytest.mark.parametrize("caption", CAPTIONS_OF_SCRIPTS)
def test_a_caption_of_any_script_comes_back_byte_for_byte(caption):
    normal = unicodedata.normalize("NFKC", caption)
    assert said(caption, "unicode") == normal
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in caption)
    assert said(unicodedata.normalize("NFD", wide).upper(), "unicode") == normal  # another spelling of the same


def said(caption, tokenizer):
    """A caption as a captioner that has learnt every word of it says it."""
    vocabulary = Vocabulary(vocabulary_words(Counter(split_words([caption], tokenizer)[0]), 1), tokenizer)
    (tokens,) = Tokenizer(vocabulary).encode([caption], max_words=99)
    return Tokenizer(vocabulary).decode(tf.constant(tokens)).numpy().decode()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("一只 狗。", "一 只 狗"),
        ("GUCCI包 and Tシャツ", "gucci 包 and t シ ャ ツ"),
        ("サッカー ｶﾞ か\u3099", "サ ッ カ ー ガ が"),
        ("น้ำ วิ่ง", "น\u0e49\u0e4d า วิ่ ง"),
        ("1.5个 犬's", "1.5 个 犬 's"),
        ("🐶🐶runs 👍🏽👍 🇩🇪🇫🇷 👩‍🚀\u200d", "🐶 🐶 runs 👍🏽 👍 🇩🇪 🇫🇷 👩‍🚀"),
        ("1️⃣ © ™ ℃ ㎏", "1 c kg"),
    ],
)
def test_unicode_takes_characters_of_scripts_without_spaces_and_emoji_for_words(caption, expected):
    assert " ".join(split_words([caption], "unicode")[0]) == expected


def test_spaces_beside_characters_of_scripts_without_spaces_do_not_count():
    assert said("一 只 GUCCI 包 and dog", "unicode") == "一只gucci包and dog"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=30), min_size=9))
def test_unicode_splits_all_other_text_as_words_do(captions):
    texts = [regex.sub(rf"[{SPACELESS}⌀-⿿]", "", caption) for caption in captions]
    assert split_words(texts, "unicode") == split_words(texts)
