"""Loads a backbone: a family of `keras.applications`, a `.keras` file or a SavedModel folder."""

from dataclasses import dataclass
from pathlib import Path

import keras

from tfcaption.backbones.building import random_state_restored
from tfcaption.backbones.families import EncoderInput, check_size, find_family


@dataclass(frozen=True)
class Backbone:
    """A backbone that is ready to be split."""

    model: keras.Model  # preprocessed pixels -> map: (photos, height, width, channels), or (photos, tokens, channels)
    input: EncoderInput
    cut: str  # default of finetune_from, one of `cuts(model)`; "" if it is not trainable
    trainable: bool  # False for a SavedModel
    name: str  # a family, or the name of the file
    file_sha256: str | None


@random_state_restored()  # so that the decoder built next has the same initial weights with every encoder
def load_backbone(
    encoder: str, *, image_size: int, weights: str | None, encoder_input: EncoderInput | None = None
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
    family = find_family(encoder)
    constructor = getattr(keras.applications, family.constructor)
    model = constructor(include_top=False, weights=None, input_shape=(image_size, image_size, 3))
    return Backbone(model, encoder_input or family.input, family.cut, True, family.name, None)


def file_digest(path: Path) -> str:
    """sha256 of a `.keras` file, or of all files of a SavedModel folder."""
    raise NotImplementedError
