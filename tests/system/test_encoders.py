"""Every kind of encoder, from records to the captions of an export, and what runs with it keep and refuse."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from beam_jobs import build_records, extract_features
from tests.conftest import IN_MEMORY
from tests.support.encoders import keras_file, saved_model, vit_file
from tests.support.features import all_features
from tests.support.records import read_all
from tests.support.runs import config, evaluate, figures, step_losses, train
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.config import ConfigError, save_config
from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluation.evaluator import evaluate_runs
from tfcaption.evaluation.results import EvaluationOptions
from tfcaption.models.encoder import open_encoder
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.tfrecord import RecordError
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import RunError, load_run, load_run_dataset, plan_run
from tfcaption.runs.encoders import own_encoder
from tfcaption.sample_data import write_sample
from tfcaption.serving.export import export_captioner
from tfcaption.serving.exported_captioner import ExportedCaptioner
from tfcaption.serving.run_captioner import RunCaptioner

SIDE = 64  # pixels; ResNet50 gives 2 x 2 regions
GREEDY = CaptionOptions(beam=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of 24 synthetic photos: 18 to train with, in two batches."""
    folder = tmp_path_factory.mktemp("records")
    images, texts = write_sample(folder / "sample", photos=24, seed=3)
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(folder / "records")]
    assert build_records.main([*arguments, f"--image_size={SIDE}", "--min_count=1", "--shards=1", *IN_MEMORY]) == 0
    return folder / "records"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A `.keras` file that tests must leave where it is."""
    return keras_file(tmp_path_factory.mktemp("encoders") / "small.keras")


@pytest.fixture(scope="module")
def maps(records, file, tmp_path_factory):
    return extracted(records, tmp_path_factory.mktemp("features") / "map", "map", [str(file)])


@pytest.fixture(scope="module")
def trunks(records, file, tmp_path_factory):
    return extracted(records, tmp_path_factory.mktemp("features") / "trunk", "trunk", [str(file)])


@pytest.fixture(scope="module")
def tuned(records, trunks, tmp_path_factory):
    """A run that fine-tuned the file above its default layer; tests that write into it copy it."""
    return train(settings(tmp_path_factory.mktemp("runs") / "tuned", records, trunks, variant="finetuned"))


def extracted(records, output, stage, encoder, *flags):
    names = ["--encoder", *encoder] if encoder else []
    weights = ["--weights=random"] if any("/" not in name for name in encoder or ()) else []
    arguments = ["--records", str(records), "--output", str(output), "--stage", stage, *names, *weights, *flags]
    assert extract_features.main([*arguments, "--batch_size=16", *IN_MEMORY]) == 0
    return output


def settings(run, records, features=None, *, epochs=1, **model):
    sizes = {"gru_units": 16, "dense_units": 16, "embedding_units": 8, "attention_units": 8, "dropout": 0.0}
    return config(run, records, epochs, features, **sizes | {"weights": None} | model)


def encoder_weights(run):
    """Weights of a run's encoder as training began and as it ended: of trunks and of the head, by PLACE/NAME."""
    loaded = load_run(run)
    for encoder in (own_encoder(loaded), load_captioner(loaded, "last")[0].encoder):
        heads = [encoder.head] if encoder.head else []
        yield tuple(
            # Keras numbers the weights of ConvNeXt's LayerScale within the process.
            {f"{place}/{re.sub('variable_.*', 'scale', weight.path)}": weight.numpy() for place, weight in places}
            for places in (
                enumerate(weight for part in parts for weight in part.weights)
                for parts in ((encoder.trunk, *encoder.others), heads)
            )
        )


def some_photos(records):
    return [(name, record.jpeg) for name, (_, record) in read_all(records)[1].items()][:3]


def check_features(stored, expected):
    """Features of float16, equal but for rounding."""
    found = np.frombuffer(stored, np.float16).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())


def captions_of(captioner, records):
    photos = [jpeg for _, jpeg in some_photos(records)]
    return [[(each.caption, each.score) for each in photo.nbest] for photo in captioner(photos)]


def check_same(first, second):
    """Captions and scores of photos, equal but for rounding."""
    for one, other in zip(first, second, strict=True):
        assert [caption for caption, _ in one] == [caption for caption, _ in other]
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], rtol=1e-3)


def captions_by_run(run, records):
    return captions_of(RunCaptioner(load_run(run), options=GREEDY, batch_size=4), records)


def check_export(run, records, output):
    """The captions of the export are those of the run."""
    exported = ExportedCaptioner(export_captioner(load_run(run), output, options=GREEDY), batch_size=4)
    check_same(captions_by_run(run, records), captions_of(exported, records))


def check_frozen(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def check_tuned(before, after):
    """All weights have moved but the statistics of BatchNorm, which have not."""
    statistics = {name for name in before if "moving_" in name}
    check_frozen(*({name: weights[name] for name in statistics} for weights in (before, after)))
    kept = {name for name in before if np.array_equal(before[name], after[name])}
    assert kept == statistics


def joined(folder):
    return ["resnet50", str(keras_file(folder / "coarse.keras", strides=4))]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def named(name):
    return lambda folder: [name]


# What makes an encoder in a folder, and options of it.
TRAINABLE = {
    "file": (lambda folder: [str(keras_file(folder / "small.keras"))], {}),
    "file of standardized pixels": (
        lambda folder: [str(keras_file(folder / "plain.keras", rescaling=False))],
        {"encoder_input": "torch"},
    ),
    "tokens": (lambda folder: [str(vit_file(folder / "vit.keras"))], {}),
    **{
        name: (named(name), {})
        for name in (
            *("resnet50", "resnet50v2", "efficientnetv2b0", "convnexttiny", "mobilenetv3small", "densenet121"),
            *("mobilenetv2", "vgg16"),
        )
    },
}
FROZEN = {
    "SavedModel": (lambda folder: [str(saved_model(folder / "saved"))], {}),
    "joined": (joined, {}),
}


def kinds(table, fast):
    return [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in table]


def made(kind, folder):
    """The encoder of a kind, its fields of a config, and its options of extract_features."""
    make, options = (TRAINABLE | FROZEN)[kind]
    folder.mkdir()
    encoder = make(folder)
    fields = options | {"weights": "random" if any("/" not in name for name in encoder) else None}
    return encoder, fields, [f"--{name}={value}" for name, value in options.items()]


@pytest.mark.parametrize("kind", kinds(TRAINABLE | FROZEN, fast=("SavedModel",)))
def test_a_frozen_encoder_extracts_trains_evaluates_and_exports(kind, records, tmp_path):
    encoder, _, flags = made(kind, tmp_path / "original")
    stored = extracted(records, tmp_path / "map", "map", encoder, *flags)
    shape = load_features_info(stored).settings.shape
    of_photos = [np.frombuffer(values, np.float16).reshape(-1, shape[-1]) for values in all_features(stored).values()]
    assert len(of_photos) == 24 and np.std(of_photos, 0).mean() > 0
    run = train(settings(tmp_path / "run", records, stored, decoder="attention"))
    shutil.rmtree(tmp_path / "original")  # the run has its own copy
    before, after = encoder_weights(run)
    check_frozen(before[0] | before[1], after[0] | after[1])
    assert 0 < evaluate(run, limit=3, search=GREEDY)["perplexity"] < 1e4
    check_export(run, records, tmp_path / "export")


@pytest.mark.parametrize("kind", kinds(TRAINABLE, fast=()))
def test_a_fine_tuned_encoder_moves_above_its_cut_and_nowhere_else(kind, records, tmp_path):
    encoder, _, flags = made(kind, tmp_path / "original")
    stored = extracted(records, tmp_path / "trunk", "trunk", encoder, *flags)
    run = train(settings(tmp_path / "run", records, stored, variant="finetuned"))
    shutil.rmtree(tmp_path / "original")
    (trunk_before, head_before), (trunk_after, head_after) = encoder_weights(run)
    check_frozen(trunk_before, trunk_after)
    check_tuned(head_before, head_after)
    check_export(run, records, tmp_path / "export")


def keras_maps(kind, encoder):
    """A function from pixels to the regions of a photo, by Keras alone."""
    if kind == "mobilenetv3small":
        alone = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
        alone.set_weights(open_encoder(EncoderSettings((kind,), "random"), image_size=SIDE).base.get_weights())
    else:
        whole = keras.models.load_model(encoder[0])
        alone = keras.Model(whole.inputs, next(layer for layer in whole.layers[::-1] if layer.output.ndim > 2).output)
    mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if "standardized" in kind else (0, 1)
    unit = 255 if "standardized" in kind else 1

    def regions(jpeg):
        pixels = (np.asarray(Image.open(io.BytesIO(jpeg)), np.float32) / unit - mean) / deviation
        maps = alone(pixels[None].astype(np.float32), training=False).numpy()[0]
        return maps.reshape(-1, maps.shape[-1])

    return regions


@pytest.mark.parametrize("kind", ["tokens", slow("mobilenetv3small"), slow("file of standardized pixels")])
def test_maps_are_what_keras_gives_and_pooled_features_their_means(kind, records, tmp_path):
    encoder, _, flags = made(kind, tmp_path / "original")
    stored = [all_features(extracted(records, tmp_path / stage, stage, encoder, *flags)) for stage in ("map", "pooled")]
    maps_of = keras_maps(kind, encoder)
    for name, jpeg in some_photos(records):
        expected = maps_of(jpeg)
        for values, regions in zip(stored, (expected, expected.mean(0)), strict=True):
            check_features(values[name], regions)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "SavedModel", "efficientnetv2b0", "joined"])
@pytest.mark.parametrize("mode", [{"precision": "mixed_bfloat16"}, {"xla": True}])
def test_it_trains_in_bfloat16_and_compiled(kind, mode, records, tmp_path):
    encoder, fields, _ = made(kind, tmp_path / "original")
    variant = "finetuned" if kind in TRAINABLE else "frozen"
    planned = settings(tmp_path / "run", records, encoder=encoder, variant=variant, decoder="attention", **fields)
    planned.train = planned.train.model_copy(update=mode)
    run = train(planned)
    (epoch,) = figures(run)
    assert 0 < epoch["dev_loss"] < 10
    (trunk_before, _), (trunk_after, _) = encoder_weights(run)
    check_frozen(trunk_before, trunk_after)


@pytest.mark.slow
def test_a_run_resumes_and_moves_without_the_file_of_its_encoder(records, tmp_path):
    (tmp_path / "there").mkdir()
    encoder = keras_file(tmp_path / "there" / "small.keras")
    undisturbed = train(settings(tmp_path / "whole", records, encoder=str(encoder), epochs=2))
    train(settings(tmp_path / "run", records, encoder=str(encoder), epochs=1))
    encoder.unlink()
    run = train(settings(tmp_path / "run", records, encoder=str(encoder), epochs=2))
    assert figures(run) == figures(undisturbed)
    expected = captions_by_run(run, records)
    shutil.move(run, tmp_path / "elsewhere")
    check_same(captions_by_run(tmp_path / "elsewhere", records), expected)


def test_a_config_without_an_encoder_takes_that_of_its_features(file, maps, trunks, records, tmp_path):
    run = plan_run(settings(tmp_path / "run", records, maps, decoder="attention"))
    assert (run.config.model.encoder, run.config.model.weights) == (str(file), None)
    run = plan_run(settings(tmp_path / "run", records, trunks, variant="finetuned"))
    assert run.config.model.finetune_from == load_features_info(trunks).settings.layers[0]


def test_features_and_encoders_that_do_not_fit_are_refused_before_tensorflow_starts(
    file, maps, trunks, records, tmp_path
):
    for model, features, message in (
        ({"encoder": "resnet50"}, maps, "made with the encoder .*small.keras, but model.encoder=resnet50; leave"),
        ({"encoder_input": "tf"}, maps, "made with --encoder_input inside, but small.keras takes tf here; set"),
        (
            {"finetune_from": "top_conv", "variant": "finetuned"},
            trunks,
            "holds the layer block1_bn, but model.finetune_from=top_conv; leave it out",
        ),
    ):
        with pytest.raises(RecordError, match=f"^data.features={features}: {message}"):
            plan_run(settings(tmp_path / "run", records, features, **{"decoder": "attention"} | model))


def test_another_file_of_the_same_name_is_refused(maps, records, tmp_path):
    (tmp_path / "other").mkdir()
    other = keras_file(tmp_path / "other" / "small.keras", seed=1)
    with pytest.raises(RecordError, match="made with another file than model.encoder=.*other/small.keras; extract"):
        train(settings(tmp_path / "run", records, maps, decoder="attention", encoder=str(other)))


def test_an_encoder_that_does_not_exist_or_fit_is_an_error_of_one_line_that_names_the_field(file, records, tmp_path):
    for model, message in (
        ({"encoder": "resnet5O"}, "model.encoder=resnet5O: no such encoder; did you mean resnet50"),
        ({"encoder": "gone.keras"}, "model.encoder=gone.keras: no such file; name a .keras file"),
        ({"encoder": "inceptionv3"}, "model.encoder=inceptionv3: takes photos of 75 pixels or more, and these have 64"),
        ({"encoder": str(file), "weights": "imagenet"}, "model.weights=imagenet: .*small.keras has its own weights"),
        ({"encoder": []}, r"model.encoder=\[\]: name at least one encoder"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}") as caught:
            plan_run(settings(tmp_path / "run", records, **model))
        assert "\n" not in str(caught.value)


def test_runs_and_features_of_earlier_versions_load_resume_and_evaluate(sample_records, pooled, resnet50_run, tmp_path):
    assert (resnet50_run / "encoder.weights.h5").is_file()
    run = shutil.copytree(resnet50_run, tmp_path / "run")
    features = shutil.copytree(pooled, tmp_path / "pooled")
    described = json.loads((features / "features.json").read_text())
    for name in ("encoder", "encoder_input"):
        del described[name]
    del described["settings"]["layers"]
    (features / "features.json").write_text(json.dumps(described))
    saved = yaml.safe_load((run / "config.yaml").read_text())
    for name in ("encoder", "encoder_input", "finetune_from"):
        del saved["model"][name]
    saved["run"], saved["data"]["features"] = str(run), str(features)
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    again = config(run, sample_records, 3, features)
    train(again)
    assert [line["epoch"] for line in figures(run)] == [1, 2, 3] and figures(run)[:2] == figures(resnet50_run)
    assert evaluate(run, limit=3)["photos"] == 3


@pytest.mark.slow
def test_what_a_run_has_tuned_are_the_weights_of_another_and_of_its_features(records, tuned, file, tmp_path):
    """Features by --run are those of the tuned encoder; a frozen run trains from them and needs `tuned` no more."""
    source = shutil.copytree(tuned, tmp_path / "tuned")
    stored = extracted(records, tmp_path / "map", "map", None, f"--run={source}")
    captioner, _ = load_captioner(load_run(source))
    before, after = encoder_weights(source)
    assert any(not np.array_equal(before[1][name], after[1][name]) for name in before[1])
    found = all_features(stored)
    for name, jpeg in some_photos(records):
        check_features(found[name], captioner.encoder(decode_jpeg(jpeg)[None], end="map").numpy()[0])
    run = train(settings(tmp_path / "run", records, stored, decoder="attention"))
    assert load_run(run).config.model.weights == str(source)
    own, _ = encoder_weights(run)
    for name, value in after[1].items():
        np.testing.assert_array_equal(own[1][name], value)
    shutil.rmtree(source)
    train(settings(tmp_path / "run", records, stored, decoder="attention", epochs=2))
    assert len(figures(run)) == 2
    check_export(run, records, tmp_path / "export")


def test_weights_of_a_run_with_another_encoder_are_refused_before_tensorflow_starts(tuned, records, tmp_path):
    for model in ({}, {"encoder": "resnet50v2"}):
        message = f"^model.weights={tuned}: a run with the encoder small.keras, not resnet50.*; set model.encoder="
        with pytest.raises(ConfigError, match=message):
            plan_run(settings(tmp_path / "run", records, **model | {"weights": str(tuned)}))


def test_a_run_starts_from_one_of_the_same_encoder_with_another_cut(tuned, file, records, tmp_path):
    """The fine-tuned weights are carried over: the encoder that it begins with is the tuned one."""
    deeper = settings(tmp_path / "run", records, encoder=str(file), variant="finetuned", finetune_from="stem_bn")
    deeper.train.start_from = str(tuned)
    run = train(deeper)
    (_, tuned_head), (begun_trunk, begun_head) = list(encoder_weights(tuned))[1], next(encoder_weights(run))
    begun = {name.partition("/")[2]: value for name, value in (begun_trunk | begun_head).items()}
    for name, value in tuned_head.items():
        np.testing.assert_array_equal(begun[name.partition("/")[2]], value)
    (trunk_before, head_before), (trunk_after, head_after) = encoder_weights(run)
    check_frozen(trunk_before, trunk_after)
    check_tuned(head_before, head_after)
    assert len(head_before) > len(tuned_head)


def test_a_run_of_another_encoder_is_no_start(tuned, records, tmp_path):
    started = settings(tmp_path / "run", records, encoder="mobilenetv3small", weights="random")
    started.train.start_from = str(tuned)
    with pytest.raises(RunError, match=f"train.start_from={tuned}: has the encoder small.keras, not mobilenetv3small"):
        train(started)


@pytest.mark.slow
def test_runs_with_different_encoders_caption_together_from_photos(maps, tuned, records, tmp_path):
    """And runs of one encoder from its features caption as they do from photos."""

    frozen = [
        train(settings(tmp_path / decoder, records, maps, decoder=decoder, transformer_units=16))
        for decoder in ("attention", "transformer")
    ]
    options = EvaluationOptions(search=GREEDY)

    def together(paths, moved_records):
        runs = [load_run(path) for path in paths]
        datasets = [load_run_dataset(run, records if moved_records else None) for run in runs]
        output = tmp_path / "together"
        metrics = evaluate_runs(runs, datasets, options, output)[output]
        lines = map(json.loads, (output / "captions.jsonl").read_text().splitlines())
        return {line["id"]: line["caption"] for line in lines}, metrics["perplexity"]

    for paths in (frozen, [frozen[0], tuned]):
        (captions, perplexity), (by_photos, perplexity_by_photos) = (together(paths, moved) for moved in (False, True))
        assert captions == by_photos
        np.testing.assert_allclose(perplexity, perplexity_by_photos, rtol=5e-3)


TWO_REPLICAS = """
import sys
import tensorflow as tf
from tests.support.runs import train
from tfcaption.config import load_config
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
train(load_config(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "SavedModel", "joined"])
def test_two_replicas_train_as_one_does(kind, records, tmp_path):
    encoder, fields, _ = made(kind, tmp_path / "original")
    losses = []
    for name in ("one", "two"):
        variant = "finetuned" if kind in TRAINABLE else "frozen"
        planned = settings(tmp_path / name, records, encoder=encoder, variant=variant, decoder="attention", **fields)
        if name == "one":
            run = train(planned)
        else:
            save_config(planned, tmp_path / "config.yaml")
            command = [sys.executable, "-c", TWO_REPLICAS, str(tmp_path / "config.yaml")]
            done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
            assert "2 replica(s)" in done.stdout
            run = tmp_path / name
        losses.append([step["loss"] for step in step_losses(run)])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
