"""Weights: saved into a run directory, loaded from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcaption.backbones.building import building, random_state_restored
from tfcaption.backbones.cutting import split
from tfcaption.config import ModelConfig
from tfcaption.models.captioner import DECODERS, Captioner, new_decoder
from tfcaption.models.decoder import Decoder
from tfcaption.models.encoder import Encoder, ImportedEncoder
from tfcaption.records.vocabulary import Vocabulary
from tfcaption.runs.directory import CHECKPOINTS, Run, RunError, has_encoder, is_run, load_run
from tfcaption.runs.encoders import first_encoder, own_encoder
from tfcaption.runtime.paths import local_copy


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
            encoder=own_encoder(run),
            embedding=np.zeros((len(run.vocabulary.words), embedding_units(file)), np.float32),
            max_tokens=run.info.max_length,
            compiled=False,
        )
        _read_checkpoint(captioner.decoder, captioner.encoder, run, file)
    return captioner, str(run.path / CHECKPOINTS / checkpoint / Path(file).name)


def open_run_encoder(run: Run) -> Encoder | ImportedEncoder:
    """The encoder that a run starts with: its own copy, once it has one; otherwise the one that its config names.

    Built in the current dtype policy of Keras.

    Raises:
        EncoderError: it cannot be loaded.
        RunError: `model.weights` names a run without a checkpoint.
    """
    model = run.config.model
    if has_encoder(run.path):
        return own_encoder(run)
    if model.weights and is_run(model.weights):
        tuned = load_tuned_encoder(load_run(model.weights))
        return Encoder(tuned.backbones, finetune_from=model.finetune_from, finetuned=model.variant == "finetuned")
    return first_encoder(run)


def load_tuned_encoder(run: Run, checkpoint: str = "best") -> Encoder:
    """The encoder of a run, fine-tuned if the run fine-tuned it, in the current dtype policy of Keras.

    Raises:
        RunError: there is no such checkpoint, or the run read features that were made elsewhere.
    """
    if run.config.model.imports_features:
        raise RunError(f"{run.path}: reads features that were made elsewhere, so it has no encoder")
    encoder = own_encoder(run)
    if run.config.model.variant == "finetuned":
        with _checkpoint(run, checkpoint) as file:
            _read_checkpoint(None, encoder, run, file)
    return encoder


def restore(captioner: Captioner, source: Run, vocabulary: Vocabulary, model: ModelConfig) -> str:
    """Load the best weights of another run into a captioner.

    Weights of words are found by the words, so the runs may have other vocabularies. Words that the other run does not
    know keep their initial weights.

    Args:
        captioner: with a decoder of the same kind and sizes.
        source: as `load_run` returns it.
        vocabulary: the captioner's, by the same kind of tokenizer.
        model: the captioner's config.

    Returns:
        A line for the console on the words that both know; empty if they have one vocabulary.

    Raises:
        RunError: the source has another kind of tokenizer, another encoder or decoder, or no checkpoint yet.
    """
    prefix, words = f"train.start_from={source.path}", vocabulary.words
    if source.vocabulary.kind != vocabulary.kind:
        raise RunError(
            f"{prefix}: has the tokenizer {source.vocabulary.kind}, not {vocabulary.kind}; build the records with that "
            "one (build_records --tokenizer)"
        )
    _check_same_model(model, source.config.model, prefix)
    theirs = {word: index for index, word in enumerate(source.vocabulary.words)}
    known = [(index, theirs[word]) for index, word in enumerate(words) if word in theirs]
    with _checkpoint(source, "best") as file:
        units = embedding_units(file)
        if units != captioner.decoder.embedding_units:
            raise RunError(
                f"{prefix}: its word vectors have {units} units, not {captioner.decoder.embedding_units}; set "
                f"model.embedding_units={units}, or model.glove to vectors of {units}"
            )
        with random_state_restored():
            trained = new_decoder(
                source.config.model,
                captioner.encoder,
                np.zeros((len(source.vocabulary.words), units), np.float32),
                max_tokens=source.info.max_length,
                compiled=False,
            )
        try:
            _read_checkpoint(trained, captioner.encoder, source, file)
            captioner.decoder.take_weights(trained, known)
        except (ValueError, AssertionError) as error:
            reason = str(error).partition(" Target variable")[0]  # Keras adds all values of the variable
            raise RunError(f"{prefix}: its model is not that of this config: {reason}") from error
    if words == source.vocabulary.words:
        return ""
    return f"{prefix}: knows {len(known):,} of the {len(words):,} words; the other {len(words) - len(known):,} are new"


def _check_same_model(ours: ModelConfig, theirs: ModelConfig, prefix: str) -> None:
    """Refuse to go on with a model of another encoder, decoder or size."""
    encoders = [" and ".join(model.encoder_names) for model in (ours, theirs)]
    if encoders[0] != encoders[1]:
        raise RunError(
            f"{prefix}: has the encoder {encoders[1]}, not {encoders[0]}; a decoder cannot go on with the features of "
            "another encoder"
        )
    names = ("decoder", *DECODERS[ours.decoder].sizes)
    settings = ours.model_dump(), theirs.model_dump()
    others = [
        f"model.{name}={str(settings[1][name]).lower()}" for name in names if settings[0][name] != settings[1][name]
    ]
    if others:
        raise RunError(f"{prefix}: has {' and '.join(others)}; set the same")


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


def _read_checkpoint(decoder: Decoder | None, encoder: Encoder | ImportedEncoder, run: Run, checkpoint: str) -> None:
    """Read the weights that a run has trained into a decoder and into an encoder that may be split elsewhere."""
    restored: dict[str, object] = {} if decoder is None else {"decoder": decoder}
    if run.config.model.variant == "finetuned":
        assert isinstance(encoder, Encoder)  # as is that of every run that fine-tunes
        _, restored["head"] = split(encoder.base, run.config.model.finetune_from or encoder.backbones[0].cut)
    tf.train.Checkpoint(**restored).restore(checkpoint).assert_existing_objects_matched().expect_partial()


def embedding_units(checkpoint: str) -> int:
    """Width of the word vectors in a checkpoint."""
    reader = tf.compat.v1.train.NewCheckpointReader(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    return next(shape[1] for name, shape in shapes.items() if name.startswith("decoder/embedding/"))
