"""The vocabulary of a data set: its tokens by their ids, and the name of the tokenizer that they are of."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfcaption.records.tfrecord import RecordError

SPECIAL_TOKENS = ("<pad>", "<oov>", "<start>", "<end>")
PAD, OOV, START, END = range(len(SPECIAL_TOKENS))
VOCABULARY_FILE = "vocabulary.txt"
LEFT_RIGHT = ("left", "right")  # words that are swapped in the captions of a mirrored photo

WORDS, UNICODE, WORDPIECE, SENTENCEPIECE = "words", "unicode", "wordpiece", "sentencepiece"  # kinds of tokenizers
TOKENIZER_PATTERN = "^(words|unicode|wordpiece:[0-9]+|sentencepiece:[0-9a-f]+)$"  # names, as `dataset.json` has them
CONTINUED = "##"  # begins a piece of WordPiece that continues a word
BEGUN = "▁"  # begins a piece of SentencePiece that begins a word
MODEL_FILE = "tokenizer.model"  # of SentencePiece, beside the vocabulary
MOST_PIECES_PER_WORD = 2  # on average over a caption, or it is cut


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a data set in the order of their ids, the special ones first, and the tokenizer that makes them.

    `preprocessing.tokenizer.Tokenizer` turns captions into their ids and back.

    Attributes:
        words: the tokens.
        tokenizer: as `RecordSettings.tokenizer` names it: the kind, `wordpiece:SIZE` or `sentencepiece:SHA256`.
        model: the content of its model file; empty for those that have none.
    """

    words: list[str]
    tokenizer: str = WORDS
    model: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """The kind of its tokenizer."""
        return kind_of(self.tokenizer)

    @property
    def whole_words(self) -> list[str | None]:
        """The word that each token is alone; None for special tokens and for pieces that continue a word."""
        ordinary: list[str | None] = [*self.words[len(SPECIAL_TOKENS) :]]
        if self.kind == WORDPIECE:
            ordinary = [None if word and word.startswith(CONTINUED) else word for word in ordinary]
        elif self.kind == SENTENCEPIECE:
            ordinary = [word[len(BEGUN) :] if word and word.startswith(BEGUN) else None for word in ordinary]
        return [*[None] * len(SPECIAL_TOKENS), *ordinary]

    @property
    def identity(self) -> object:
        """What tells it from other vocabularies, for JSON; of words their list alone, as in earlier versions."""
        return self.words if self.tokenizer == WORDS else [self.tokenizer, self.words]


def kind_of(tokenizer: str) -> str:
    """The kind of a tokenizer, of its name: `wordpiece` for `wordpiece:4000`."""
    return tokenizer.partition(":")[0]


def vocabulary_words(counts: Mapping[str, int], min_count: int, first: Sequence[str] = SPECIAL_TOKENS) -> list[str]:
    """The vocabulary: special tokens, then the words that occur `min_count` times or more.

    The words are sorted by falling count, and words of equal count alphabetically.

    Args:
        counts: of every word.
        min_count: the least count of a word.
        first: a vocabulary, all of whose words come first and in their order, whatever their counts.
    """
    known = set(first)
    kept = [word for word, count in counts.items() if count >= min_count and word not in known]
    return [*first, *sorted(kept, key=lambda word: (-counts[word], word))]


def load_vocabulary(folder: Path, tokenizer: str = WORDS) -> Vocabulary:
    """Read `vocabulary.txt` of a records or run folder.

    Args:
        folder: of the records or the run.
        tokenizer: as the folder's `dataset.json` names it.

    Raises:
        RecordError: the file is missing or invalid, or the tokenizer's model is missing or another one.
    """
    model = load_tokenizer_model(folder / MODEL_FILE, tokenizer)
    return Vocabulary(read_vocabulary(folder / VOCABULARY_FILE), tokenizer, model)


def read_vocabulary(path: Path) -> list[str]:
    """Read a vocabulary: one token per line, in the order of the token ids.

    Raises:
        RecordError: the file is missing or invalid.
    """
    if not path.is_file():
        raise RecordError(f"{path}: no such file")
    try:
        words = path.read_text(encoding="utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: not UTF-8") from error
    if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS or len(set(words)) != len(words):
        raise RecordError(f"{path}: must begin with {' '.join(SPECIAL_TOKENS)} and contain each word once")
    return words


def load_tokenizer_model(path: Path, tokenizer: str) -> bytes:
    """The content of a tokenizer's model file; empty if such tokenizers have none.

    Raises:
        RecordError: the file is missing, or not that of the tokenizer.
    """
    if kind_of(tokenizer) != SENTENCEPIECE:
        return b""
    if not path.is_file():
        raise RecordError(f"{path}: no such file")
    model = path.read_bytes()
    if model_name(model) != tokenizer:
        raise RecordError(f"{path}: another model than the one that made the tokens ({tokenizer})")
    return model


def model_name(model: bytes) -> str:
    """The name of the tokenizer of a SentencePiece model."""
    return f"{SENTENCEPIECE}:{hashlib.sha256(model).hexdigest()[:16]}"


def left_right_tokens(vocabulary: Vocabulary) -> list[int]:
    """Token ids of "left" and "right" in a vocabulary; empty if it lacks one of them."""
    words = vocabulary.whole_words
    return [words.index(word) for word in LEFT_RIGHT] if set(LEFT_RIGHT) <= set(words) else []


def word_index(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Word -> its token, for a vocabulary of words.

    Special tokens are not in it, so that "<end>" or "<pad>" in a caption has no special meaning.
    """
    return {word: (token,) for token, word in enumerate(words) if token >= len(SPECIAL_TOKENS)}


def encode_words(words: Sequence[str], index: Mapping[str, Sequence[int]], max_words: int) -> tuple[list[int], bool]:
    """Token ids of one caption: <start>, those of its first `max_words` words, <end>.

    Args:
        words: of the caption.
        index: word -> its tokens; unknown words become <oov>.
        max_words: longer captions are cut, and so are those of more than `MOST_PIECES_PER_WORD` tokens for each.

    Returns:
        The ids, and whether the caption was cut.
    """
    tokens = [token for word in words[:max_words] for token in index.get(word, (OOV,))]
    kept = tokens[: MOST_PIECES_PER_WORD * max_words]
    return [START, *kept, END], len(kept) < len(tokens) or len(words) > max_words
