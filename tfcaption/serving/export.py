"""Writes a captioner as one SavedModel, from the bytes of photo files to captions."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfcaption.backbones.saved_models import SavedModelLayer
from tfcaption.decoding.captioning import caption_features
from tfcaption.decoding.options import CaptionOptions
from tfcaption.models.captioner import Captioner
from tfcaption.models.encoder import ImportedEncoder
from tfcaption.preprocessing.photos_in_graph import prepare_photos
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.examples import Stage
from tfcaption.records.vocabulary import MODEL_FILE
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run, RunError, trainable_stages
from tfcaption.runtime.paths import as_path, new_folder
from tfcaption.runtime.process import stderr_to_file
from tfcaption.serving.export_folder import INFO_FILE, PHOTO_SIGNATURE


def export_captioner(
    run: Run,
    output: Path,
    *,
    options: CaptionOptions = CaptionOptions(),  # noqa: B008 (frozen)
    checkpoint: str = "best",
) -> Path:
    """Write a SavedModel with three signatures; of a run on features that were made elsewhere with the last one only.

    `serving_default` takes `images`, (batch,) string, the bytes of photo files. `from_pixels` takes `pixels`,
    (batch, size, size, 3) uint8, of prepared photos. `from_features` takes `features`, (batch, ...) float32, at the
    stage that the variant trains from; where photos have different numbers of regions, regions of zeros are padding.
    All return:

        captions: (batch,) string, the best caption.
        scores: (batch,) float32, its length-normalised log-probability.
        nbest_captions: (batch, options.available) string, best first.
        nbest_scores: (batch, options.available) float32.
        words: (batch, time) string, of the best caption; only if the decoder has attention.
        attention: (batch, time, regions) float32, of each word, regions in row-major order; only with `words`.

    Bytes that are not a photo, and missing hypotheses, have an empty caption and the score 0.

    Args:
        run: the run directory.
        output: a new folder.
        options: of the search, which the model does from then on.
        checkpoint: `best` or `last`.

    Returns:
        `output`.

    Raises:
        RunError: the run has no such checkpoint, or `output` exists.
    """
    if output.exists():
        raise RunError(f"{output}: exists; remove it, or choose another --output")
    captioner, checkpoint_path = load_captioner(run, checkpoint)
    module = _module(run, captioner, options)
    signatures = {"from_features": module.from_features}
    if not run.config.model.imports_features:
        signatures = {"serving_default": module.from_photos, PHOTO_SIGNATURE: module.from_pixels} | signatures
    description = {
        **describe(run, as_path(checkpoint_path), options),
        "features": _feature_stage(run, captioner),
        "signatures": {name: _signature(function) for name, function in signatures.items()},
    }
    with new_folder(output) as folder:
        with stderr_to_file("tfcaption-export-"):
            tf.saved_model.save(module, str(folder), signatures=signatures)
        (folder / INFO_FILE).parent.mkdir()
        if run.vocabulary.model:
            (folder / INFO_FILE).with_name(MODEL_FILE).write_bytes(run.vocabulary.model)
        (folder / INFO_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return output


def describe(run: Run, checkpoint: Path, options: CaptionOptions) -> dict[str, Any]:
    """What `export.json` says besides the signatures: a small model card, equal for equal models."""
    model, info = run.config.model, run.info
    return {
        "tfcaption": version("tfcaption"),
        "run": str(run.path),
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "decoder": model.decoder,
        "encoder": model.encoder_names,
        "variant": model.variant,
        "image_size": info.settings.image_size,
        "resize": info.settings.resize,
        "search": options.as_json(),
        "tokenizer": info.settings.tokenizer,
        "vocabulary_size": len(run.vocabulary.words),
        "max_words": info.max_length,
        "data": {
            "source": info.settings.source,
            "photos": {name: split.photos for name, split in info.splits.items()},
            "captions": {name: split.captions for name, split in info.splits.items()},
            "records": info.fingerprint(),
        },
        "dev": _dev_scores(run, checkpoint),
    }


def _feature_stage(run: Run, captioner: Captioner) -> Stage:
    """What the signature `from_features` takes."""
    if isinstance(captioner.encoder, ImportedEncoder):
        return captioner.encoder.stage
    return trainable_stages(run.config.model)[0]


def _dev_scores(run: Run, checkpoint: Path) -> dict[str, Any] | None:
    """Scores of this checkpoint on the dev split, and the search that they are of; None: it was not evaluated."""
    file = run.path / "eval-dev" / "metrics.json"
    if not file.is_file():
        return None
    metrics = json.loads(file.read_text(encoding="utf-8"))
    if as_path(metrics["checkpoint"]).parts[-2:] != checkpoint.parts[-2:]:
        return None
    names = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "perplexity", "photos", "protocol", "search")
    return {name: metrics[name] for name in names if name in metrics}


def _signature(function: Any) -> dict[str, dict[str, Any]]:
    """Name, dtype and shape (null: any size) of the inputs and outputs of a `tf.function`."""
    concrete = function.get_concrete_function()

    def described(spec: tf.TensorSpec) -> dict[str, Any]:
        return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}

    return {
        "inputs": {spec.name: described(spec) for spec in function.input_signature},
        "outputs": {name: described(spec) for name, spec in concrete.structured_outputs.items()},
    }


def _module(run: Run, captioner: Captioner, options: CaptionOptions) -> tf.Module:
    """The module to save: the weights as plain variables, and one function per signature."""
    tokenizer = Tokenizer(run.vocabulary)
    settings = run.info.settings
    stage = _feature_stage(run, captioner)

    def outputs(inputs: tf.Tensor, is_photo: tf.Tensor, stage: Stage = "photo") -> dict[str, tf.Tensor]:
        """Inputs of the encoder (batch, ...), and whether each is one of a photo, (batch,) bool."""
        rows = tf.size(is_photo)
        if_none = tf.cast(rows == 0, tf.int32)  # a batch without photos is one of a black one: oneDNN needs a row
        inputs = tf.pad(inputs, [[0, if_none], *[[0, 0]] * (inputs.shape.rank - 1)])
        is_photo = tf.pad(is_photo, [[0, if_none]])
        features = captioner.encode(inputs, stage)
        batch = caption_features(captioner, features, tokenizer, options, max_tokens=run.info.max_length)
        exists = is_photo[:, None] & tf.math.is_finite(batch.scores)
        captions = tf.where(exists, batch.captions, "")
        scores = tf.where(exists, batch.scores, 0.0)
        tensors = {
            "captions": captions[:, 0],
            "scores": scores[:, 0],
            "nbest_captions": captions,
            "nbest_scores": scores,
        }
        if batch.attention is not None:
            tensors["words"] = tf.where(is_photo[:, None], batch.words, "")
            tensors["attention"] = tf.where(is_photo[:, None, None], batch.attention, 0.0)
        return {name: tensor[:rows] for name, tensor in tensors.items()}

    pixels_spec = tf.TensorSpec((None, settings.image_size, settings.image_size, 3), tf.uint8, "pixels")

    # A function of its own, so that it is traced and saved once for both signatures.
    @tf.function(input_signature=[pixels_spec, tf.TensorSpec((None,), tf.bool)], autograph=False)
    def encoded(pixels: tf.Tensor, is_photo: tf.Tensor) -> dict[str, tf.Tensor]:
        return outputs(pixels, is_photo)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "images")], autograph=False)
    def from_photos(images: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels, is_photo = prepare_photos(images, image_size=settings.image_size, resize=settings.resize)
        found: dict[str, tf.Tensor] = encoded(pixels, is_photo)
        return found

    # Without the tf.data pipeline in the graph that prepares photos, which takes 0.2 s to set up in each call.
    @tf.function(input_signature=[pixels_spec], autograph=False)
    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        found: dict[str, tf.Tensor] = encoded(pixels, tf.fill(tf.shape(pixels)[:1], True))
        return found

    shape = captioner.encoder.feature_shape(stage)

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32, "features")], autograph=False)
    def from_features(features: tf.Tensor) -> dict[str, tf.Tensor]:
        return outputs(features, tf.fill(tf.shape(features)[:1], True), stage)

    module = tf.Module(name="tfcaption")
    # Plain variables, since a Keras model needs Keras to be loaded and traces each of its layers.
    module.weights = [variable.value for variable in captioner.weights]
    module.saved_models = [  # whose weights are not Keras'
        layer.loaded
        for backbone in captioner.encoder.backbones
        for layer in backbone.model.layers
        if isinstance(layer, SavedModelLayer)
    ]
    module.from_features = from_features
    if not run.config.model.imports_features:  # TensorFlow traces and saves every function of a module
        module.from_photos, module.from_pixels = from_photos, from_pixels
    return module
