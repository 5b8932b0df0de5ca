"""Special tokens, `vocabulary.txt`, and words to token ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfcaption.records.tfrecord import RecordError

SPECIAL_TOKENS = ("<pad>", "<oov>", "<start>", "<end>")
PAD, OOV, START, END = range(len(SPECIAL_TOKENS))
VOCABULARY_FILE = "vocabulary.txt"
LEFT_RIGHT = ("left", "right")  # words that are swapped in the captions of a mirrored photo


def vocabulary_words(counts: Mapping[str, int], min_count: int) -> list[str]:
    """The vocabulary: special tokens, then the words that occur `min_count` times or more.

    The words are sorted by falling count, and words of equal count alphabetically.
    """
    kept = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_TOKENS]
    return [*SPECIAL_TOKENS, *sorted(kept, key=lambda word: (-counts[word], word))]


def load_vocabulary(folder: Path) -> list[str]:
    """Read `vocabulary.txt` of a records or run folder: one word per line, in the order of the token ids.

    Raises:
        RecordError: the file is missing or invalid.
    """
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        raise RecordError(f"{path}: no such file")
    words = path.read_text(encoding="utf-8").split("\n")[:-1]
    if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS or len(set(words)) != len(words):
        raise RecordError(f"{path}: must begin with {' '.join(SPECIAL_TOKENS)} and contain each word once")
    return words


def left_right_tokens(words: Sequence[str]) -> list[int]:
    """Token ids of "left" and "right" in a vocabulary; empty if it lacks one of them."""
    return [words.index(word) for word in LEFT_RIGHT] if set(LEFT_RIGHT) <= set(words) else []


def encode_words(words: Sequence[str], index: Mapping[str, int], max_words: int) -> list[int]:
    """Token ids of one caption: <start>, its first `max_words` words, <end>; unknown words become <oov>."""
    return [START, *(index.get(word, OOV) for word in words[:max_words]), END]
