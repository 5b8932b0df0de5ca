"""The backbones that go by a name: those of `keras.applications`, as a table that needs no TensorFlow."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, get_args

from tfcaption.backbones.errors import EncoderError
from tfcaption.runtime.paths import as_path

EncoderInput = Literal["caffe", "tf", "torch", "0..255", "inside"]
"""What an encoder takes in place of RGB bytes: its input convention."""
INPUTS: tuple[EncoderInput, ...] = get_args(EncoderInput)
MEANINGS: dict[EncoderInput, str] = {
    "caffe": "BGR from 0 to 255, less the ImageNet means (ResNet, VGG)",
    "tf": "RGB from -1 to 1 (ResNetV2, MobileNet, Inception, Xception)",
    "torch": "RGB from 0 to 1, standardized by ImageNet's means and deviations (DenseNet, most models of PyTorch)",
    "0..255": "RGB from 0 to 255, not normalized at all",
    "inside": "RGB from 0 to 255, normalized by the encoder's own layers (EfficientNet, ConvNeXt)",
}
"""What each convention means to a user who has to choose."""


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
    for family in (
        Family("resnet50", "ResNet50", "caffe", "conv5_block1_out", 32, 2048, 23_587_712),
        Family("resnet101", "ResNet101", "caffe", "conv4_block23_out", 32, 2048, 42_658_176),
        Family("resnet152", "ResNet152", "caffe", "conv4_block33_out", 32, 2048, 58_370_944),
        Family("resnet50v2", "ResNet50V2", "tf", "conv5_block1_out", 32, 2048, 23_564_800),
        Family("resnet101v2", "ResNet101V2", "tf", "conv4_block23_out", 32, 2048, 42_626_560),
        Family("resnet152v2", "ResNet152V2", "tf", "conv4_block33_out", 32, 2048, 58_331_648),
        Family("efficientnetv2b0", "EfficientNetV2B0", "inside", "block6e_add", 32, 1280, 5_919_312),
        Family("efficientnetv2b1", "EfficientNetV2B1", "inside", "block6e_add", 32, 1280, 6_931_124),
        Family("efficientnetv2b2", "EfficientNetV2B2", "inside", "block6f_add", 32, 1408, 8_769_374),
        Family("efficientnetv2b3", "EfficientNetV2B3", "inside", "block6g_add", 32, 1536, 12_930_622),
        Family("efficientnetv2s", "EfficientNetV2S", "inside", "block6i_add", 32, 1280, 20_331_360),
        Family("efficientnetv2m", "EfficientNetV2M", "inside", "block7a_project_bn", 32, 1280, 53_150_388),
        Family("efficientnetv2l", "EfficientNetV2L", "inside", "block7a_project_bn", 32, 1280, 117_746_848),
        Family("efficientnetb0", "EfficientNetB0", "inside", "block6c_add", 32, 1280, 4_049_571),
        Family("efficientnetb1", "EfficientNetB1", "inside", "block7a_project_bn", 32, 1280, 6_575_239),
        Family("efficientnetb2", "EfficientNetB2", "inside", "block7a_project_bn", 32, 1408, 7_768_569),
        Family("efficientnetb3", "EfficientNetB3", "inside", "block6f_add", 32, 1536, 10_783_535),
        Family("efficientnetb4", "EfficientNetB4", "inside", "block6g_add", 32, 1792, 17_673_823),
        Family("efficientnetb5", "EfficientNetB5", "inside", "block7a_project_bn", 32, 2048, 28_513_527),
        Family("efficientnetb6", "EfficientNetB6", "inside", "block6k_add", 32, 2304, 40_960_143),
        Family("efficientnetb7", "EfficientNetB7", "inside", "block7a_project_bn", 32, 2560, 64_097_687),
        Family("convnexttiny", "ConvNeXtTiny", "inside", "convnext_tiny_stage_3_block_0_add", 32, 768, 27_820_128),
        Family("convnextsmall", "ConvNeXtSmall", "inside", "convnext_small_stage_2_block_26_add", 32, 768, 49_454_688),
        Family("convnextbase", "ConvNeXtBase", "inside", "convnext_base_stage_2_block_26_add", 32, 1024, 87_566_464),
        Family(
            "convnextlarge", "ConvNeXtLarge", "inside", "convnext_large_stage_2_block_26_add", 32, 1536, 196_230_336
        ),
        Family(
            "convnextxlarge", "ConvNeXtXLarge", "inside", "convnext_xlarge_stage_2_block_26_add", 32, 2048, 348_147_968
        ),
        Family("mobilenet", "MobileNet", "tf", "conv_pw_12_relu", 32, 1024, 3_228_864),
        Family("mobilenetv2", "MobileNetV2", "tf", "block_15_add", 32, 1280, 2_257_984),
        Family("mobilenetv3large", "MobileNetV3Large", "inside", "expanded_conv_13_add", 32, 960, 2_996_352),
        Family("mobilenetv3small", "MobileNetV3Small", "inside", "expanded_conv_9_add", 32, 576, 939_120),
        Family("densenet121", "DenseNet121", "torch", "pool4_pool", 32, 1024, 7_037_504),
        Family("densenet169", "DenseNet169", "torch", "conv5_block14_concat", 32, 1664, 12_642_880),
        Family("densenet201", "DenseNet201", "torch", "conv5_block9_concat", 32, 1920, 18_321_984),
        Family("inceptionv3", "InceptionV3", "tf", "mixed8", 75, 2048, 21_802_784),
        Family("inceptionresnetv2", "InceptionResNetV2", "tf", "block8_3_ac", 75, 1536, 54_336_736),
        Family("xception", "Xception", "tf", "add_10", 71, 2048, 20_861_480),
        Family("nasnetmobile", "NASNetMobile", "tf", "stem_bn1", 32, 1056, 4_269_716),
        Family("nasnetlarge", "NASNetLarge", "tf", "stem_bn1", 32, 4032, 84_916_818),
        Family("vgg16", "VGG16", "caffe", "block5_conv1", 32, 512, 14_714_688),
        Family("vgg19", "VGG19", "caffe", "block5_conv1", 32, 512, 20_024_384),
    )
}
"""Each backbone by its name: that of its constructor in lower case."""


def find_family(name: str) -> Family:
    """The family of a name.

    Raises:
        EncoderError: there is none; the nearest names are named.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    close = difflib.get_close_matches(name.lower(), FAMILIES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise EncoderError(f"{name}: no such encoder; {hint}`tfcaption encoders` lists all, or name a file")


def is_file(encoder: str) -> bool:
    """Whether an encoder is a path rather than a name: it has a separator or the suffix `.keras`, or is a folder."""
    if encoder in FAMILIES:
        return False
    return os.sep in encoder or PurePath(encoder).suffix == ".keras" or Path(encoder).is_dir()


def encoder_name(encoder: str) -> str:
    """What an encoder is called wherever its file lies: the name of a family, or that of the file or folder."""
    return as_path(encoder).name


def check_size(encoder: str, image_size: int) -> None:
    """Check that a backbone exists and takes photos of a size; the size of files is checked when they are loaded.

    Raises:
        EncoderError: there is no such encoder, or it takes larger photos only.
    """
    if is_file(encoder):
        if not as_path(encoder).exists():
            raise EncoderError(f"{encoder}: no such file; name a .keras file, a SavedModel folder or an encoder")
        return
    family = find_family(encoder)
    if image_size < family.smallest_size:
        raise EncoderError(
            f"{encoder}: takes photos of {family.smallest_size} pixels or more, and these have {image_size}; "
            f"build records with build_records --image_size {family.smallest_size} or more, or choose another encoder"
        )
