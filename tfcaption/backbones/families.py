"""The backbones that go by a name: those of `keras.applications`, as a table that needs no TensorFlow."""

import difflib
import os
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

from tfcaption.backbones.errors import EncoderError
from tfcaption.runtime.paths import as_path

EncoderInput = Literal["caffe", "tf", "torch", "0..255", "inside"]
"""What an encoder takes: see `PREPROCESSING` of `tfcaption.backbones.preprocessing`."""
INPUTS: tuple[EncoderInput, ...] = get_args(EncoderInput)


@dataclass(frozen=True)
class Family:
    """A backbone of `keras.applications` without its classifier."""

    name: str
    constructor: str  # name in keras.applications
    input: EncoderInput
    cut: str  # default of finetune_from: the layer below which nothing trains
    smallest_size: int  # side in pixels
    channels: int
    parameters: int


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (Family("resnet50", "ResNet50", "caffe", "conv5_block1_out", 32, 2048, 23_587_712),)
}


def find_family(name: str) -> Family:
    """The family of a name.

    Raises:
        EncoderError: there is none; the nearest names are named.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    close = difflib.get_close_matches(name.lower(), FAMILIES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise EncoderError(f"{name}: no such encoder; {hint}name one of `tfcaption encoders`, a .keras file or a SavedModel")


def is_file(encoder: str) -> bool:
    """Whether an encoder is a path rather than a name: it has a separator or the suffix `.keras`, or is a folder."""
    if encoder in FAMILIES:
        return False
    return os.sep in encoder or PurePath(encoder).suffix == ".keras" or as_path(encoder).is_dir()


def check_size(encoder: str, image_size: int) -> None:
    """Check that a backbone takes photos of a size; files are checked when they are loaded.

    Raises:
        EncoderError: it takes larger ones only, or the name is unknown.
    """
    if is_file(encoder):
        return
    family = find_family(encoder)
    if image_size < family.smallest_size:
        raise EncoderError(
            f"{encoder}: takes photos of {family.smallest_size} pixels or more, and these have {image_size}; "
            f"build records with build_records --image_size {family.smallest_size} or more, or choose another encoder"
        )
