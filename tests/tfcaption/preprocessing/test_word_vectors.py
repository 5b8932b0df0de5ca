"""GloVe files and the embedding matrix."""

import numpy as np
import pytest

from tfcaption.preprocessing.word_vectors import Coverage, GloveError, embedding_matrix, read_glove
from tfcaption.records.vocabulary import END, OOV, PAD, SPECIAL_TOKENS, START, Vocabulary


def glove_file(tmp_path, *lines):
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_embedding_matrix_has_the_file_s_rows_and_defined_special_rows(tmp_path):
    path = glove_file(tmp_path, "dog 1 2 3", "the 9 9 9", "a 4 5 6")
    vocabulary_words = [*SPECIAL_TOKENS, "a", "dog", "unheard"]
    matrix, coverage = embedding_matrix(Vocabulary(vocabulary_words), path, word_counts=[0, 7, 0, 0, 6, 3, 1], seed=0)
    assert matrix.shape == (7, 3) and matrix.dtype == np.float32
    assert matrix[4].tolist() == [4, 5, 6] and matrix[5].tolist() == [1, 2, 3]
    assert not matrix[PAD].any() and all(matrix[i].any() for i in (OOV, START, END, 6))
    assert len({tuple(row) for row in matrix}) == 7
    assert coverage == Coverage(by_type=2 / 3, by_token=0.9)
    again, _ = embedding_matrix(Vocabulary(vocabulary_words), path, word_counts=[0, 7, 0, 0, 6, 3, 1], seed=0)
    assert np.array_equal(matrix, again)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["dog 1 2 3", "a 4 5"], "line 2: 2 numbers, but the first line has 3"),
        (["a 1 x 3"], "line 1"),
        ([], "empty"),
        (["cat 1 2"], "none of the 1 words"),
    ],
)
def test_files_not_in_the_glove_format_are_errors_that_name_the_line(tmp_path, lines, message):
    with pytest.raises(GloveError, match=message):
        embedding_matrix(Vocabulary([*SPECIAL_TOKENS, "a"]), glove_file(tmp_path, *lines), word_counts=[0] * 5, seed=0)


def test_real_glove_covers_flickr8k(shared_data):
    path = shared_data / "data" / "glove" / "glove.6B.100d.txt"
    vectors = read_glove(path, ["dog", "'s", "notaword"])
    assert vectors.keys() == {"dog", "'s"} and vectors["dog"].shape == (100,)
