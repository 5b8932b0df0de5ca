"""Loads a backbone: a family of `keras.applications`, a `.keras` file or a SavedModel folder."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import keras

from tfcaption.backbones.applications import load_family
from tfcaption.backbones.building import random_state_restored
from tfcaption.backbones.cutting import default_cut
from tfcaption.backbones.families import EncoderInput, check_size, find_family, is_file
from tfcaption.backbones.keras_files import load_keras_file
from tfcaption.backbones.saved_models import LAYER, load_saved_model, saved_model_files
from tfcaption.runtime.paths import as_path


@dataclass(frozen=True)
class Backbone:
    """A backbone that is ready to be split."""

    model: keras.Model  # preprocessed pixels -> map: (photos, height, width, channels), or (photos, tokens, channels)
    input: EncoderInput
    cut: str  # default of finetune_from; of a SavedModel its only layer, which leaves no head
    trainable: bool  # False for a SavedModel
    name: str  # a family, or the name of the file
    file_sha256: str | None
    path: str | None = None  # of the file or folder


@random_state_restored()  # so that the decoder built next has the same initial weights with every encoder
def load_backbone(
    encoder: str, *, image_size: int, weights: str | None, encoder_input: EncoderInput | None
) -> Backbone:
    """Load a backbone in the current dtype policy of Keras.

    Args:
        encoder: a name of `FAMILIES`, a `.keras` file or a SavedModel folder.
        image_size: side of the photos in pixels.
        weights: of a named family: `imagenet` (downloaded once by Keras), the path of weights for its constructor with
            include_top=False, or `random`; None if a checkpoint will be restored.
        encoder_input: the input convention of a file; None: of the family, or `inside` if the file's first layers
            normalize.

    Raises:
        EncoderError: the encoder or its weights cannot be loaded, or do not take photos of this size.
    """
    check_size(encoder, image_size)
    if not is_file(encoder):
        family = find_family(encoder)
        model = load_family(family, image_size, weights)
        return Backbone(model, encoder_input or family.input, family.cut, True, family.name, None)
    path = as_path(encoder)
    if path.is_dir():
        model, convention = load_saved_model(encoder, image_size, encoder_input)
        return Backbone(model, convention, LAYER, False, path.name, file_digest(path), encoder)
    model, convention = load_keras_file(encoder, image_size, encoder_input)
    return Backbone(model, convention, default_cut(model), True, path.name, file_digest(path), encoder)


def file_digest(path: Path) -> str:
    """sha256 of a `.keras` file, or of the names and contents of all files of a SavedModel folder."""
    digest = hashlib.sha256()
    is_folder = path.is_dir()
    for file in saved_model_files(path) if is_folder else [path]:
        if is_folder:
            digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            for block in iter(lambda: opened.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()
