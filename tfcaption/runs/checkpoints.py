"""Weights: saved into a run directory, loaded from it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcaption.backbones.building import building
from tfcaption.models.captioner import Captioner
from tfcaption.models.encoder import Encoder
from tfcaption.runs.directory import CHECKPOINTS, ENCODER_FILE, Run, RunError
from tfcaption.runtime.paths import atomic_path, copy_file, local_copy


def load_captioner(run: Run, checkpoint: str = "best") -> tuple[Captioner, str]:
    """The trained `Captioner` of a run, in float32.

    Args:
        run: as `load_run` returns it.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.

    Returns:
        The captioner, and the path of the checkpoint it was read from.

    Raises:
        RunError: there is no such checkpoint.
    """
    with _checkpoint(run, checkpoint) as file, building("float32"):
        captioner = Captioner(
            run.config.model,
            image_size=run.info.settings.image_size,
            embedding=np.zeros((len(run.words), embedding_units(file)), np.float32),
            encoder_weights=str(run.path / ENCODER_FILE),
            max_tokens=run.info.max_length,
            compiled=False,
        )
        _read_checkpoint(captioner, run, file)
    return captioner, str(run.path / CHECKPOINTS / checkpoint / Path(file).name)


def restore(captioner: Captioner, source: Run, words: list[str]) -> None:
    """Load the best weights of another run into a captioner.

    Args:
        captioner: with a decoder of the same kind and sizes.
        source: as `load_run` returns it.
        words: the captioner's vocabulary.

    Raises:
        RunError: the source has another vocabulary or decoder, or no checkpoint yet.
    """
    if source.words != words:
        raise RunError(f"{source.path}: has another vocabulary; train.start_from needs a run on the same records")
    with _checkpoint(source, "best") as file:
        try:
            _read_checkpoint(captioner, source, file)
        except (ValueError, AssertionError) as error:
            reason = str(error).partition(" Target variable")[0]  # Keras adds all values of the variable
            raise RunError(f"train.start_from={source.path}: its model is not that of this config: {reason}") from error


@contextmanager
def _checkpoint(run: Run, name: str) -> Iterator[str]:
    """The path of a checkpoint where TensorFlow can read it, for as long as the block lasts."""
    missing = RunError(f"{run.path}: has no {name} checkpoint yet; train it for at least one epoch")
    folder = run.path / CHECKPOINTS / name
    if not folder.is_dir():
        raise missing
    with local_copy(folder) as readable:
        found: str | None = tf.train.latest_checkpoint(str(readable))
        if not found:
            raise missing
        yield found


def _read_checkpoint(captioner: Captioner, run: Run, checkpoint: str) -> None:
    restored = {"decoder": captioner.decoder}
    if run.config.model.variant == "finetuned":
        restored["head"] = captioner.encoder.head
    tf.train.Checkpoint(**restored).restore(checkpoint).assert_existing_objects_matched().expect_partial()


def save_encoder(run: Path, encoder: Encoder) -> None:
    """Save ResNet50's initial weights, so that the run needs no other file to caption with."""
    if not (run / ENCODER_FILE).is_file():
        # Keras insists on a name that ends in .weights.h5.
        with atomic_path(run / ENCODER_FILE) as temporary, tempfile.TemporaryDirectory() as folder:
            encoder.base.save_weights(Path(folder) / ENCODER_FILE)
            copy_file(Path(folder) / ENCODER_FILE, temporary)


def embedding_units(checkpoint: str) -> int:
    """Width of the word vectors in a checkpoint."""
    reader = tf.compat.v1.train.NewCheckpointReader(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    return next(shape[1] for name, shape in shapes.items() if name.startswith("decoder/embedding/"))
