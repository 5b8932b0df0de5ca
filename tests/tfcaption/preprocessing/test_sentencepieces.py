"""SentencePiece models of the user: pieces of captions as they are written, joined by TensorFlow alone."""

import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from tests.support.sentencepiece import model_of
from tests.tfcaption.preprocessing.test_tokenizer import CAPTIONS_OF_SCRIPTS
from tfcaption.preprocessing.tokenizer import Tokenizer, split_words
from tfcaption.records.vocabulary import OOV, SPECIAL_TOKENS, Vocabulary, left_right_tokens, model_name, read_vocabulary

CAPTIONS = [*CAPTIONS_OF_SCRIPTS, "The dogs' toys aren't RED, (at all) ...", "  two   spaces ", "<pad> <0xE4> ##s"]


@pytest.fixture(scope="module", params=[False, True], ids=["unknown", "bytes"])
def model(request):
    return model_of(["▁", "▁a", "▁dog", "▁play", "ing", "s", "▁left", "▁right", *"abdgo"], byte_fallback=request.param)


def tokenizer_of(model, captions):
    pieces = {piece: None for caption in split_words(captions, model_name(model), model) for piece in caption}
    words = [*SPECIAL_TOKENS, *(piece for piece in pieces if piece not in SPECIAL_TOKENS)]
    return Tokenizer(Vocabulary(words, model_name(model), model))


def test_pieces_are_joined_as_the_model_joins_them(model):
    reference = tf_text.SentencepieceTokenizer(model, out_type=tf.int32)
    captions = [*CAPTIONS, "a dogs playing a dog"]
    expected = reference.detokenize(reference.tokenize(tf.constant(captions))).numpy()
    tokenizer = tokenizer_of(model, captions)
    tokens = tokenizer.encode(captions, max_words=999)
    for spoken, wanted, ids in zip(
        tokenizer.decode(tf.ragged.constant(tokens).to_tensor()).numpy(), expected, tokens, strict=True
    ):
        if OOV not in ids:
            assert spoken == wanted
    assert spoken == b"a dogs playing a dog" and OOV not in ids


def test_every_character_comes_back_byte_for_byte_from_a_model_that_knows_bytes():
    model = model_of(["▁", "a"], byte_fallback=True)
    tokenizer = tokenizer_of(model, CAPTIONS_OF_SCRIPTS)
    for caption in CAPTIONS_OF_SCRIPTS:
        (tokens,) = tokenizer.encode([caption], max_words=999)
        assert tokenizer.decode(tf.constant(tokens)).numpy().decode() == caption
        part = tokenizer.decode(tf.constant(tokens[:3])).numpy().decode()  # in the midst of a character
        assert part in ("", "\ufffd") or caption.startswith(part)


def test_captions_stay_as_they_are_written_and_what_has_no_piece_is_oov():
    model = model_of(["▁", "▁A", "▁Dog", ","])
    tokenizer = tokenizer_of(model, ["A Dog, 狗 A"])
    assert split_words(["A Dog, 狗 A"], model_name(model), model) == [["▁A", "▁Dog", ",", "▁", "<oov>", "▁A"]]
    (tokens,) = tokenizer.encode(["A Dog, 狗 A"], max_words=99)
    assert tokenizer.decode(tf.constant(tokens)).numpy().decode() == "A Dog, <oov> A"
    assert tokenizer.decode_each(tf.constant(tokens)).numpy().tolist()[1:4] == [b"A", b"Dog", b","]


def test_a_line_break_in_a_caption_is_a_space_since_each_piece_is_a_line_of_the_vocabulary(tmp_path):
    model = model_of(["▁", "▁a", "▁dog", "\n", "\r", "\n▁dog"])
    (pieces,) = split_words(["a\ndog\r\na\rdog\n"], model_name(model), model)
    assert pieces == ["▁a", "▁dog", "▁a", "▁dog"]
    (tmp_path / "vocabulary.txt").write_text("".join(f"{piece}\n" for piece in (*SPECIAL_TOKENS, *pieces[:2])))
    assert read_vocabulary(tmp_path / "vocabulary.txt")[4:] == pieces[:2]


def test_whole_words_are_those_that_begin_a_word():
    vocabulary = Vocabulary([*SPECIAL_TOKENS, "left", "▁right", "▁left"], "sentencepiece:0")
    assert vocabulary.whole_words == [None, None, None, None, None, "right", "left"]
    assert left_right_tokens(vocabulary) == [6, 5]
