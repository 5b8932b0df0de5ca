"""Caption text is spelt in one way, and alike in TensorFlow and in Python."""

import os
import subprocess
import sys
import unicodedata

import pytest
import tensorflow as tf

from tfcaption.preprocessing.normalization import lacks_spaces, normalize, tidy_lower
from tfcaption.preprocessing.tokenizer import normalize_in_graph, split_words


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("İSTANBUL I\u0307stanbul i\u0307stanbul", "istanbul istanbul istanbul"),
        ("ΟΔΟΣ οδος", "οδος οδος"),
        ("Ϋ́ H̱", "ΰ ẖ"),
        ("dog‘s dog’s dogʼs dog´s dog`s", "dog 's dog 's dog 's dog 's dog 's"),
        ("צ׳יפס בית־ספר", "צ'יפס בית-ספר"),
        ("well‑known dog—brown", "well-known dog brown"),
        ("a\u00adb\u2060c\ufeffd a\u200be", "abcd a e"),
        ("می\u200cرود", "می رود"),  # the prefix is a word
        ("ක්\u200dෂ র\u200c্যা", "ක්\u200dෂ র\u200c্যা"),  # letters of one word
        ("I ❤️ 1️⃣ 🐶👩‍🚀", "i 1"),
        ("¨ ˘ \u0301a \u200da", "a a"),
        ("2½ ① ㎏ 20℃ a™", "2 1 2 1 kg 20 c a"),
        ("हूँ। है॥ ہے۔ کیا؟ ہاں، «a» …", "हूँ है ہے کیا ہاں a"),
        ("s'mêler 'Málaga'", "s'mêler málaga"),
        ("&quot;R&amp;B&quot; it&#39;s a&nbsp;b &lt;i&gt;", "r and b it 's a b i"),
    ],
)
def test_captions_are_spelt_in_one_way(caption, expected):
    assert " ".join(split_words([caption])[0]) == expected


def test_every_character_is_spelt_alike_in_tensorflow_and_in_python():
    """Those of Unicode 3.2, whose properties every library knows; of letters without case those that NFKC changes."""
    known = unicodedata.ucd_3_2_0.category
    characters = [
        character
        for character in map(chr, range(1, 0x110000))
        if known(character) not in ("Cn", "Co", "Cs")
        and (known(character) != "Lo" or unicodedata.normalize("NFKC", character) != character)
    ]
    captions = [f"A{character}b {character} Σ{character}\u0301\u0307i" for character in characters]
    in_graph = [caption.decode() for caption in normalize_in_graph(tf.constant(captions)).numpy()]
    for caption, expected in zip(captions, in_graph, strict=True):
        normalized = normalize(caption)
        assert tidy_lower(normalized.lower()) == expected, ascii(caption)
        assert len(normalized) == len(normalized.lower()), ascii(caption)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["tr_TR.UTF-8", "lt_LT.UTF-8"])
def test_words_do_not_depend_on_the_language_of_the_process(language):
    code = "from tfcaption.preprocessing.tokenizer import split_words; print(ascii(split_words(['IN İzmir Í Ì Į Ĩ'])))"
    environment = {**os.environ, "LC_ALL": language}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert process.stdout.strip() == ascii([["in", "izmir", "í", "ì", "į", "ĩ"]])


@pytest.mark.parametrize(
    ("caption", "lacking"),
    [
        ("一只狗在草地上奔跑。", True),
        ("一只棕色的狗在跑，一个男人看着一只狗", True),  # half of it between commas
        ("一 只 狗 在 草地 上 奔跑", False),
        ("芝生の上を走る犬がいますよ", True),
        ("หมาสีน้ำตาลกำลังวิ่งเล่นอยู่บนสนามหญ้า", True),
        ("หมา สีน้ำตาล กำลัง วิ่งเล่น บน สนามหญ้า", False),
        ("the sign says 一只狗在草地上奔跑吧", False),
        ("ein Donaudampfschifffahrtskapitän", False),
        ("갈색 강아지가 달린다", False),
        ("", False),
    ],
)
def test_captions_without_spaces_are_noticed(caption, lacking):
    assert lacks_spaces(split_words([caption])[0]) == lacking
