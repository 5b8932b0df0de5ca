"""Writes a captioner as one SavedModel: from the bytes of photo files to captions."""

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfcaption.config import BEAM
from tfcaption.decoding.beam_search import beam_search
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.models.captioner import Captioner
from tfcaption.preprocessing.photos_in_graph import prepare_photos
from tfcaption.preprocessing.tokenizer import Vocabulary
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run, RunError, trainable_stages
from tfcaption.runtime.paths import as_path, new_folder
from tfcaption.runtime.process import stderr_to_file
from tfcaption.serving.export_folder import EXPORT_FILE


def export_captioner(run: Run, output: str | Path, *, beam: int = BEAM, checkpoint: str = "best") -> Path:
    """Write a SavedModel.

    Its signatures: `serving_default`, `images` (batch,) string -> `captions` (batch,) string, `scores` (batch,)
    float32, `nbest_captions` (batch, beam) string, `nbest_scores` (batch, beam) float32, and where the decoder has
    attention `words` (batch, time) string of the best caption and `attention` (batch, time, regions) float32, of each
    word over regions row by row; and `from_features`,
    `features` (batch, ...) float32 at the stage that the variant trains from -> the same. Bytes that are no photo give
    an empty caption and the score 0.

    Args:
        run: the run directory.
        output: a new folder.
        beam: of the search.
        checkpoint: `best` or `last`.

    Returns:
        `output`.

    Raises:
        RunError: the run has no such checkpoint, or `output` exists.
    """
    output = as_path(output)
    if output.exists():
        raise RunError(f"{output}: exists; remove it, or choose another --output")
    captioner, used = load_captioner(run, checkpoint)
    module = _module(run, captioner, beam)
    described = {
        "run": str(run.path),
        "checkpoint": used,
        "variant": run.config.model.variant,
        "image_size": run.info.settings.image_size,
        "resize": run.info.settings.resize,
        "beam": beam,
        "vocabulary_size": len(run.words),
        "features": trainable_stages(run.config.model)[0],
    }
    with new_folder(output) as folder:
        with stderr_to_file("tfcaption-export-"):
            tf.saved_model.save(
                module,
                str(folder),
                signatures={"serving_default": module.from_photos, "from_features": module.from_features},
            )
        (folder / EXPORT_FILE).parent.mkdir()
        (folder / EXPORT_FILE).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return output


def _module(run: Run, captioner: Captioner, beam: int) -> Any:
    """What is saved: a module that holds the weights as plain variables, and its two functions."""
    vocabulary = Vocabulary(run.words)
    settings = run.info.settings
    stage = trainable_stages(run.config.model)[0]

    def captions(features: tf.Tensor, known: tf.Tensor) -> dict[str, tf.Tensor]:
        found = beam_search(captioner, features, max_tokens=run.info.max_length, beam=beam)
        there = known[:, None] & tf.math.is_finite(found.scores)
        spoken = tf.where(there, vocabulary.decode(found.tokens), "")
        scores = tf.where(there, found.scores, 0.0)
        found_all = {"captions": spoken[:, 0], "scores": scores[:, 0], "nbest_captions": spoken, "nbest_scores": scores}
        best = found.tokens[:, 0]
        attention = attention_weights(captioner, features, best)
        if attention is None:
            return found_all
        return {
            **found_all,
            "words": tf.where(known[:, None], vocabulary.decode_each(best), ""),
            "attention": tf.where(known[:, None, None], attention, 0.0),
        }

    class Exported(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="tfcaption")
            # Not the Keras model itself: a loader would need Keras, and trace each of its layers.
            self.weights = [variable.value for variable in captioner.variables]

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "images")], autograph=False)
        def from_photos(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            pixels, known = prepare_photos(images, image_size=settings.image_size, resize=settings.resize)
            return captions(captioner.encode(pixels), known)

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, *captioner.encoder.feature_shape(stage)), tf.float32, "features"),
            ],
            autograph=False,
        )
        def from_features(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
            return captions(captioner.encode(features, stage), tf.fill(tf.shape(features)[:1], True))

    return Exported()
