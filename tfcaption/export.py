"""Exports a trained captioner: one SavedModel from the bytes of photo files to captions, in standard formats only.

Inside are decoding, resizing, ResNet50 with its fine-tuned blocks, beam search and the words; loading it needs
TensorFlow alone. Prints the path.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run, RunError, load_run, trainable_stages
from tfcaption.runtime.command import command_parser
from tfcaption.runtime.paths import as_path, new_folder
from tfcaption.runtime.process import start_tensorflow, stderr_to_file

EXAMPLES = """examples:
  python -m tfcaption.export --run runs/flickr8k_finetuned --output exports/flickr8k/1
  # greedy search, the last checkpoint instead of the best
  python -m tfcaption.export --run runs/flickr8k_frozen --output exports/frozen/1 --beam 1 --checkpoint last
  # served by TensorFlow Serving
  docker run -p 8501:8501 -v $PWD/exports/flickr8k:/models/captioner -e MODEL_NAME=captioner tensorflow/serving
  echo "{\\"instances\\": [{\\"b64\\": \\"$(base64 -w0 photo.jpg)\\"}]}" > request.json
  curl -d @request.json localhost:8501/v1/models/captioner:predict"""

EXPORT_FILE = "export.json"  # in the SavedModel's folder assets.extra


def export(run_path: str | Path, output: str | Path, *, beam: int = 3, checkpoint: str = "best") -> Path:
    """Write a SavedModel.

    Its signatures: `serving_default`, `images` (batch,) string -> `captions` (batch,) string, `scores` (batch,)
    float32, `nbest_captions` (batch, beam) string, `nbest_scores` (batch, beam) float32, and where the decoder has
    attention `words` (batch, time) string of the best caption and `attention` (batch, time, regions) float32, of each
    word over regions row by row; and `from_features`,
    `features` (batch, ...) float32 at the stage that the variant trains from -> the same. Bytes that are no photo give
    an empty caption and the score 0.

    Args:
        run_path: the run directory.
        output: a new folder.
        beam: of the search.
        checkpoint: `best` or `last`.

    Returns:
        `output`.

    Raises:
        RunError: no run, no checkpoint, or `output` is there already.
    """
    run, output = load_run(run_path), as_path(output)
    if output.exists():
        raise RunError(f"{output}: is there already; remove it, or choose another --output")
    start_tensorflow()
    import tensorflow as tf

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
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra" / EXPORT_FILE).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return output


def _module(run: Run, captioner: Any, beam: int) -> Any:
    """What is saved: a module that holds the weights as plain variables, and its two functions."""
    import tensorflow as tf

    from tfcaption.decoding.beam_search import beam_search
    from tfcaption.decoding.hypotheses import attention_weights
    from tfcaption.preprocessing.photos_in_graph import prepare_photos
    from tfcaption.preprocessing.tokenizer import Vocabulary

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


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.export", EXAMPLES)
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--output", required=True, help="new folder; TensorFlow Serving wants a number as its name")
    parser.add_argument("--beam", type=int, default=3, help="of the search (default: %(default)s)")
    parser.add_argument("--checkpoint", default="best", choices=["best", "last"], help="default: %(default)s")
    arguments = parser.parse_args(argv)
    try:
        path = export(arguments.run, arguments.output, beam=arguments.beam, checkpoint=arguments.checkpoint)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"export: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
