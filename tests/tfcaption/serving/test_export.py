"""The exported model: loaded by TensorFlow alone, it says what the captioner says."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import build_sample, extracted
from tests.support.runs import config, train
from tests.support.splits import batches_of, opened
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.decoding.options import CaptionOptions
from tfcaption.input_pipeline.parsing import decode_jpeg
from tfcaption.preprocessing import photos
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import photo_of
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import RunError, load_run
from tfcaption.serving.export import describe, export_captioner
from tfcaption.serving.model_folder import find_model
from tfcaption.serving.photo_captioner import caption_files

LOAD = """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
found = loaded.signatures["serving_default"](images=tf.constant([open(path, "rb").read() for path in sys.argv[2:]]))
assert not {"tfcaption", "beam_jobs", "tensorflow_text"} & set(sys.modules)
print(json.dumps({
    "captions": [caption.decode() for caption in found["captions"].numpy()],
    "scores": found["scores"].numpy().tolist(),
    "words": [[word.decode() for word in row] for row in found["words"].numpy()] if "words" in found else None,
    "attention": found["attention"].numpy().tolist() if "words" in found else None,
    "nbest": [[caption.decode() for caption in row] for row in found["nbest_captions"].numpy()],
}))
"""


@pytest.fixture(
    scope="module",
    params=[
        ("frozen", "gru"),
        pytest.param(("resnet50", "gru"), marks=pytest.mark.slow),
        pytest.param(("finetuned", "attention"), marks=pytest.mark.slow),
        pytest.param(("finetuned", "transformer"), marks=pytest.mark.slow),
        pytest.param(("frozen", "gru", "wordpiece:120"), marks=pytest.mark.slow),
        pytest.param(("frozen", "attention", "unicode"), marks=pytest.mark.slow),
    ],
)
def run(request, sample, sample_records, tmp_path_factory):
    variant, decoder, *tokenizer = request.param
    if tokenizer:
        folder = tmp_path_factory.mktemp("tokenizer")
        records = build_sample(sample, folder / "records", f"--tokenizer={tokenizer[0]}")
        features = extracted(records, folder / "features", "pooled" if decoder == "gru" else "map")
        run = load_run(train(config(folder / "run", records, 2, features, decoder=decoder)))
        assert run.vocabulary.tokenizer == tokenizer[0]
        return run
    if variant != "finetuned":
        return load_run(request.getfixturevalue("resnet50_run" if variant == "resnet50" else "trained_run"))
    sizes = {"variant": variant, "decoder": decoder, "transformer_units": 64}
    trunk = request.getfixturevalue("trunk")
    return load_run(train(config(tmp_path_factory.mktemp("run") / "run", sample_records, 1, trunk, **sizes)))


LIMITS = {"beam": 2, "no_repeat_ngram": 2}
OPTIONS = CaptionOptions(**LIMITS, min_words=4)


def searched(captioner, features, run):
    options = SearchOptions(max_tokens=run.info.max_length, min_tokens=5, **LIMITS)
    return tf.function(beam_search, autograph=False)(captioner, features, options)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_captioner(run, tmp_path_factory.mktemp("exports") / "1", options=OPTIONS)


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


def photo_files(run, folder):
    """Photos of the records as they are, two of other sizes and kinds, and one that is damaged in their midst."""
    (shard, *_) = run.info.split("dev").shards
    path = f"{run.config.data.records}/{shard.name}"
    with open(path, "rb") as stream:  # noqa: PTH123
        stored = [photo_of(serialized)[1] for serialized in tfrecord.read_frames(stream, path)][:4]
    large = Image.open(io.BytesIO(stored[0])).resize((200, 150), Image.Resampling.BICUBIC)
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        large.save(buffer, kind)
        stored.append(buffer.getvalue())
    stored.insert(2, stored[0][:100])
    paths = [folder / f"{index}.jpg" for index in range(len(stored))]
    for path, content in zip(paths, stored, strict=True):
        path.write_bytes(content)
    return paths


def test_an_export_says_what_the_captioner_says_to_a_process_that_knows_tensorflow_alone(run, exported, tmp_path):
    paths = photo_files(run, tmp_path)
    done = subprocess.run([sys.executable, "-c", LOAD, exported, *paths], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    attends = run.config.model.decoder != "gru"
    assert (found["attention"] is not None) == attends
    assert (found["captions"][2], found["scores"][2], found["nbest"][2]) == ("", 0.0, ["", ""])
    captioner, _ = load_captioner(run)
    settings = run.info.settings
    readable = [index for index in range(len(paths)) if index != 2]
    jpegs = [
        photos.prepare_photo(paths[index].read_bytes(), image_size=settings.image_size, resize=settings.resize)
        for index in readable
    ]
    features = captioner.encode(tf.stack([decode_jpeg(jpeg) for jpeg in jpegs]))
    expected = searched(captioner, features, run)
    np.testing.assert_allclose([found["scores"][index] for index in readable], expected.scores[:, 0], rtol=2e-2)
    spoken = Tokenizer(run.vocabulary).decode(expected.tokens).numpy()
    if attends:
        attention = attention_weights(captioner, features, expected.tokens[:, 0]).numpy()
    for row, index in enumerate(readable[:4]):  # of its records: the very same pixels
        assert found["nbest"][index] == [caption.decode() for caption in spoken[row]]
        assert found["captions"][index] == found["nbest"][index][0]
        if attends:
            np.testing.assert_allclose(found["attention"][index], attention[row], rtol=1e-3, atol=1e-4)
            assert "".join(found["words"][index]) == found["captions"][index].replace(" ", "")


def test_its_second_signature_starts_from_the_features_that_the_variant_trains_from(run, signatures):
    features = load_features_info(Path(run.config.data.features))
    split = opened(run.config.data.features, run.info, "dev", features, buckets=1)
    (batch,) = batches_of(split, batch_size_photos=4).take(1)
    found = signatures["from_features"](features=tf.cast(batch["inputs"], tf.float32))
    captioner, _ = load_captioner(run)
    pooled = captioner.encode(batch["inputs"], split.stage)
    expected = searched(captioner, pooled, run)
    np.testing.assert_allclose(found["nbest_scores"], expected.scores, rtol=1e-3)
    # The worse one of a beam of two may be one of two as good.
    spoken = Tokenizer(run.vocabulary).decode(expected.tokens)
    np.testing.assert_array_equal(found["nbest_captions"][:, 0], spoken[:, 0])
    assert np.mean(found["nbest_captions"].numpy() == spoken.numpy()) >= 0.75


def test_prepared_pixels_get_the_captions_of_their_photos(run, signatures, tmp_path):
    stored = [path.read_bytes() for path in photo_files(run, tmp_path)[:2]]  # as the records have them
    found = signatures["from_pixels"](pixels=tf.stack([decode_jpeg(photo) for photo in stored]))
    expected = signatures["serving_default"](images=tf.constant(stored))
    np.testing.assert_array_equal(found["nbest_captions"], expected["nbest_captions"])
    np.testing.assert_allclose(found["nbest_scores"], expected["nbest_scores"], rtol=1e-5)


def test_a_batch_without_photos_gives_outputs_without_rows(signatures):
    for name, signature in signatures.items():
        ((argument, spec),) = signature.structured_input_signature[1].items()
        none = tf.zeros((0, *spec.shape[1:]), spec.dtype)
        for output, tensor in signature(**{argument: none}).items():
            assert tensor.shape[0] == 0 and tensor.shape.rank == signature.structured_outputs[output].shape.rank, name


def test_an_export_describes_itself_and_replaces_nothing(run, exported, signatures):
    described = json.loads((exported / "assets.extra" / "export.json").read_text())
    assert described["search"] == OPTIONS.as_json() and described["tfcaption"] == version("tfcaption")
    assert (described["variant"], described["decoder"]) == (run.config.model.variant, run.config.model.decoder)
    assert described["image_size"] == run.info.settings.image_size
    assert described["run"] == str(run.path) and described["checkpoint"].startswith("best/ckpt-")
    assert described["data"]["records"] == run.info.fingerprint()
    assert described["data"]["photos"] == {name: split.photos for name, split in run.info.splits.items()}
    assert not [key for key in described if "time" in key or "date" in key]  # equal exports are equal
    for name, signature in described["signatures"].items():
        specs = signatures[name].structured_input_signature[1] | signatures[name].structured_outputs
        declared = signature["inputs"] | signature["outputs"]
        assert {key: (spec.dtype.name, spec.shape.as_list()) for key, spec in specs.items()} == {
            key: (spec["dtype"], spec["shape"]) for key, spec in declared.items()
        }
    with pytest.raises(RunError, match="exists; remove it"):
        export_captioner(run, exported)


@pytest.mark.parametrize(("checkpoint", "found"), [("best/ckpt-1", True), ("best/ckpt-9", False)])
def test_the_scores_of_an_export_are_those_of_its_checkpoint(trained_run, tmp_path, checkpoint, found):
    run = replace(load_run(trained_run), path=tmp_path)
    assert describe(run, tmp_path / "checkpoints/best/ckpt-1", CaptionOptions())["dev"] is None
    scores = {"cider": 0.3, "protocol": "corpus scores", "search": CaptionOptions().as_json()}
    metrics = {**scores, "checkpoint": f"/moved/checkpoints/{checkpoint}", "seconds": 3.0}
    (tmp_path / "eval-dev").mkdir()
    (tmp_path / "eval-dev" / "metrics.json").write_text(json.dumps(metrics))
    described = describe(run, tmp_path / "checkpoints/best/ckpt-1", CaptionOptions())["dev"]
    assert described == (scores if found else None)


@pytest.mark.slow
def test_an_export_that_samples_says_what_its_run_says_with_the_same_options(trained_run, sample, tmp_path):
    options = {"temperature": 1.5, "top_p": 0.9, "nbest": 3, "no_repeat_ngram": 1, "min_words": 3, "seed": 5}
    search = CaptionOptions(**options)
    export_captioner(load_run(trained_run), tmp_path / "sampling" / "2", options=search)
    paths = [str(path) for path in sorted(sample[0].iterdir())[:3]]
    exported, of_run = find_model(tmp_path / "sampling"), find_model(trained_run)  # the newest by its number
    assert exported.options({}) == of_run.options(options) == search
    captioner = of_run.open(options)
    expected = dict(caption_files(captioner, paths))
    found = dict(caption_files(exported.open(batch_size=3), paths))
    for path in paths:
        captions = [hypothesis.caption for hypothesis in expected[path].nbest]
        assert captions == [hypothesis.caption for hypothesis in found[path].nbest] and len(captions) == 3
        for words in map(str.split, captions):
            assert len(words) >= 3 and len(set(words)) == len(words)
    assert dict(caption_files(captioner.with_options(replace(search, seed=6)), paths)) != expected
    alone = dict(caption_files(captioner, paths[2:]))  # without its neighbours, in a batch of one
    assert [x.caption for x in alone[paths[2]].nbest] == [x.caption for x in expected[paths[2]].nbest]
