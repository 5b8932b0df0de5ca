"""Word vectors in GloVe files, and the embedding matrix of a vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcaption.records.vocabulary import PAD, SPECIAL_TOKENS, Vocabulary
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.progress import Progress


class GloveError(TfcaptionError, ValueError):
    """An invalid file of word vectors; the message names the line."""


def read_glove(path: Path, words: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the vectors of some words from a file in the GloVe text format: a word and its numbers per line.

    Streams the file and keeps only these vectors, so a file of 1 GB needs little memory.

    Returns:
        word -> (dimension,) float32, for the words that the file contains.

    Raises:
        GloveError: the file is missing or empty, the lines differ in width, or a value is not a number.
    """
    if not path.is_file():
        raise GloveError(f"{path}: no such file of word vectors")
    requested = {word.encode() for word in words}
    vectors: dict[str, np.ndarray] = {}
    dimension = 0
    size = path.stat().st_size
    with path.open("rb") as stream, Progress(size, unit="bytes", label=f"reading {path.name}") as progress:
        done = 0
        for number, line in enumerate(stream, start=1):
            done += len(line)
            if number % 10_000 == 0:
                progress.update(done)
            width = line.rstrip(b" \r\n").count(b" ")
            dimension = dimension or width
            if width != dimension or not dimension:
                raise GloveError(f"{path}, line {number}: {width} numbers, but the first line has {dimension}")
            word = line[: line.index(b" ")]
            if word not in requested:
                continue
            try:
                vector = np.array(line.split()[1:], np.float32)
            except ValueError as error:
                raise GloveError(f"{path}, line {number}: {error}") from error
            vectors.setdefault(word.decode(), vector)
        progress.update(size)
    if not dimension:
        raise GloveError(f"{path}: empty")
    return vectors


@dataclass(frozen=True)
class Coverage:
    """The share of a vocabulary that has vectors: of its words, and of their occurrences in training."""

    by_type: float
    by_token: float

    def __str__(self) -> str:
        return f"word vectors cover {self.by_type:.1%} of the vocabulary, {self.by_token:.1%} of its occurrences"


def embedding_matrix(
    vocabulary: Vocabulary, path: Path, *, word_counts: Sequence[int], seed: int
) -> tuple[np.ndarray, Coverage]:
    """The embedding matrix of a vocabulary from a GloVe file.

    `<pad>` is zero. `<oov>`, `<start>`, `<end>`, words without a vector and pieces that continue a word are sampled
    from a normal distribution with the mean and standard deviation of the vectors in the file.

    Args:
        vocabulary: of the data set.
        path: file in the GloVe text format, of any dimension.
        word_counts: occurrences of each token in the training split, for the coverage.
        seed: seed of the sampled rows.

    Returns:
        (vocabulary, dimension) float32, and the coverage.

    Raises:
        GloveError: as `read_glove`, or the file contains no word of the vocabulary.
    """
    ordinary = vocabulary.whole_words[len(SPECIAL_TOKENS) :]
    vectors = read_glove(path, [word for word in ordinary if word])
    if not vectors:
        raise GloveError(f"{path}: contains none of the {len(ordinary)} words of the vocabulary")
    stacked = np.stack(list(vectors.values()))
    matrix = np.random.default_rng(seed).normal(
        stacked.mean(), stacked.std(), (len(vocabulary.words), stacked.shape[1])
    )
    matrix[PAD] = 0
    for index, word in enumerate(ordinary, start=len(SPECIAL_TOKENS)):
        if word in vectors:
            matrix[index] = vectors[word]
    counts = np.array(word_counts[len(SPECIAL_TOKENS) :], np.float64)
    covered = np.array([word in vectors for word in ordinary])
    by_token = float((counts * covered).sum() / max(counts.sum(), 1))
    return matrix.astype(np.float32), Coverage(by_type=float(covered.mean()), by_token=by_token)
