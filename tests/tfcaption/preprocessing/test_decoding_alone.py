"""Token ids become captions in a process that knows TensorFlow alone, whatever the tokenizer."""

import json
import subprocess
import sys

import tensorflow as tf

from tests.support.sentencepiece import model_of
from tests.tfcaption.preprocessing.test_tokenizer import CAPTIONS_OF_SCRIPTS
from tfcaption.preprocessing.tokenizer import Tokenizer, split_words
from tfcaption.preprocessing.vocabulary_learning import learn_vocabulary
from tfcaption.records.vocabulary import Vocabulary, model_name

LOAD = """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
tokens = json.load(open(sys.argv[2]))
found = {name: getattr(loaded, name)(tf.constant(of_name)).numpy().tolist() for name, of_name in tokens.items()}
assert not {"tfcaption", "beam_jobs", "tensorflow_text"} & set(sys.modules)
print(json.dumps({name: [caption.decode() for caption in captions] for name, captions in found.items()}))
"""
CAPTIONS = [*CAPTIONS_OF_SCRIPTS, "The dogs' toys aren't o'clock", "R&B sunglasses, <oov> unplayable"]


def test_captions_are_decoded_by_a_process_that_knows_tensorflow_alone(tmp_path):
    module, tokens, expected = tf.Module(), {}, {}
    model = model_of(["▁", "▁a", *"bcdefghijklmnop"], byte_fallback=True)
    for name in ("words", "unicode", "wordpiece:2000", model_name(model)):
        words = [word for caption in split_words(CAPTIONS, name, model) for word in caption]
        learnt = learn_vocabulary(dict.fromkeys(words, 3), name, min_count=2)
        tokenizer = Tokenizer(Vocabulary(learnt.words, name, model))
        kind = name.partition(":")[0]
        setattr(module, kind, tf.function(tokenizer.decode, [tf.TensorSpec((None, None), tf.int32)], autograph=False))
        ids = tf.ragged.constant(tokenizer.encode(CAPTIONS, max_words=999)).to_tensor()
        tokens[kind] = ids.numpy().tolist()
        expected[kind] = [caption.decode() for caption in tokenizer.decode(ids).numpy()]
    tf.saved_model.save(module, str(tmp_path / "saved"))
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    command = [sys.executable, "-c", LOAD, tmp_path / "saved", tmp_path / "tokens.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    assert expected["wordpiece"] == expected["unicode"] and expected["sentencepiece"] == CAPTIONS
