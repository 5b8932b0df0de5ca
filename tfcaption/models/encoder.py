"""The encoder: one or several backbones in stages, and the layers of them that train.

A backbone is split at one layer into a trunk, which never trains, and a head, which the fine-tuned variant trains. For
ResNet50 that is `conv5_block1_out` unless the config says otherwise: the head has 8.9 M of 23.6 M parameters.
BatchNorm always runs in inference mode, so its moving statistics never change.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import get_args

import keras
import tensorflow as tf

from tfcaption.backbones.cutting import split
from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.families import FAMILIES, is_file
from tfcaption.backbones.loading import Backbone, load_backbone
from tfcaption.backbones.preprocessing import preprocess
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.models.encoder_precision import compute_in_bfloat16
from tfcaption.models.folded_norms import fold_norms
from tfcaption.models.layers import masked_mean
from tfcaption.models.matrix_products import head_as_matrix_products
from tfcaption.records.examples import Precision, Stage

STAGES: tuple[Stage, ...] = get_args(Stage)


class Encoder(keras.layers.Layer):
    """Backbones without their classifiers, in the stages photo -> trunk -> map -> pooled.

    Several backbones give one map: that of each region holds the channels of all of them, in their order.

    Args:
        backbones: at least one; several must give the same regions, and none of them trains.
        finetune_from: layer of the only backbone below which nothing trains; None: its default.
        finetuned: whether the weights above that layer train.
        precision: bfloat16: most layers of each backbone compute in it, see `compute_in_bfloat16`; float32: all layers
            as they were loaded.

    Raises:
        EncoderError: the layer is not one at which the backbone can be split, the backbone cannot be trained or cannot
            compute in bfloat16, or the maps of several backbones have different regions.
    """

    varying = False  # photos have equally many regions

    def __init__(
        self,
        backbones: Sequence[Backbone],
        *,
        finetune_from: str | None = None,
        finetuned: bool,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(name="encoder", autocast=False)  # weights are cast where they are used
        self.backbones, self.finetuned = tuple(backbones), finetuned
        first = backbones[0]
        if finetuned:
            _check_trainable(backbones)
        if len(backbones) > 1:
            _check_regions(backbones)
            if finetune_from:
                raise EncoderError(f"{finetune_from}: of several encoders none can be split", "finetune_from")
        self.precision: Precision = precision
        for backbone in backbones if precision == "bfloat16" else ():
            if not backbone.trainable:
                raise EncoderError(f"{backbone.name}: a SavedModel computes as it was saved, in float32", "precision")
            compute_in_bfloat16(backbone.model)
        self.cut = finetune_from or first.cut if len(backbones) == 1 and first.trainable else None
        # TensorFlow's checkpoints follow attributes, so these names are those of the files.
        self.base = first.model
        parts: tuple[keras.Model, keras.Model | None] = (first.model, None)
        if self.cut:
            parts = split(first.model, self.cut)
        self.trunk, self.head = parts
        self.others = [backbone.model for backbone in backbones[1:]]
        for part in (self.trunk, *self.others):
            part.trainable = False
        if self.head is not None:
            self.head.trainable = finetuned
            for layer in self.head.layers:  # those of a file may have been saved as not trainable
                layer.trainable = finetuned
        # On a CPU, matrix products instead of convolutions take 0.75 of the time for the head's gradients at 7x7
        # positions, and 0.15 of it at 2x2.
        default = self.cut == FAMILIES["resnet50"].cut and first.name == "resnet50" and precision == "float32"
        uses_products = default and not tf.config.list_physical_devices("GPU")
        # ResNet50 at its default cut gives the features that it gave in earlier versions, bit for bit.
        run = _keras_layers if default else fold_norms
        self._run_trunks = [run(model, trains=False) for model in (self.trunk, *self.others)]
        if self.head is not None:
            self._run_head = (
                head_as_matrix_products(self.head, trains=finetuned)
                if uses_products
                else run(self.head, trains=finetuned)
            )
        self.built = True

    def call(self, inputs: tf.Tensor, start: Stage = "photo", end: Stage = "pooled") -> tf.Tensor:
        """Run the stages from `start` to `end`; gradients reach the head only, and only if it is fine-tuned.

        Args:
            inputs: photos at `start`. photo: (photos, size, size, 3) uint8 RGB; trunk: (photos, *shape of the layer)
                any float; map: (photos, height, width, channels) or (photos, regions, channels) any float; pooled:
                (photos, channels) any float.
            start: stage of the inputs.
            end: stage of the outputs.

        Returns:
            The photos at `end`, in the compute dtype of the precision policy.
        """
        steps = {"photo": self._trunk_maps, "trunk": self._head_maps, "map": _pool}
        outputs = inputs if start == "photo" else tf.cast(inputs, self.compute_dtype)
        for stage in STAGES[STAGES.index(start) : STAGES.index(end)]:
            outputs = steps[stage](outputs)
        return outputs

    def _trunk_maps(self, images: tf.Tensor) -> tf.Tensor:
        maps = [
            run(preprocess(images, backbone.input))
            for backbone, run in zip(self.backbones, self._run_trunks, strict=True)
        ]
        joined = maps[0] if len(maps) == 1 else tf.concat(maps, -1)
        return tf.stop_gradient(tf.cast(joined, self.compute_dtype))

    def _head_maps(self, maps: tf.Tensor) -> tf.Tensor:
        if self.head is None:
            return maps
        maps = tf.cast(self._run_head(maps), self.compute_dtype)
        return maps if self.finetuned else tf.stop_gradient(maps)

    def feature_shape(self, stage: Stage) -> tuple[int, ...]:
        """Shape of one photo's features at a stage."""
        if stage == "photo":
            return tuple(self.base.input.shape[1:])
        if stage == "trunk" and self.head is not None:
            return tuple(self.trunk.output.shape[1:])
        channels = sum(backbone.model.output.shape[-1] for backbone in self.backbones)
        return (channels,) if stage == "pooled" else (*self.base.output.shape[1:-1], channels)

    def layers_of(self, stage: Stage) -> list[str]:
        """The layer of each backbone whose output a stage is (pooled: the mean of it over the regions)."""
        if stage == "trunk" and self.cut:
            return [self.cut]
        return [backbone.model.output._keras_history.operation.name for backbone in self.backbones]

    def fingerprint(self, stage: Stage) -> str:
        """sha256 of all weights that a photo passes on its way to `stage`, and of the files of the backbones."""
        digest = hashlib.sha256()
        parts = [self.trunk, *self.others]
        if stage != "trunk" and self.head is not None:
            parts.append(self.head)
        for part in parts:
            for weight in part.get_weights():
                digest.update(str(weight.shape).encode() + weight.tobytes())
        for backbone in self.backbones:
            digest.update((backbone.file_sha256 or "").encode())
        return digest.hexdigest()


def _keras_layers(model: keras.Model, **_: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    return functools.partial(model, training=False)


def open_encoder(
    settings: EncoderSettings, *, image_size: int, finetuned: bool = False, precision: Precision = "float32"
) -> Encoder:
    """The encoder that settings name, in the current dtype policy of Keras.

    Args:
        settings: the backbones, their weights, and where the head begins.
        image_size: side of the photos in pixels.
        finetuned: whether the head trains.
        precision: see `Encoder`.

    Raises:
        EncoderError: see `load_backbone` and `Encoder`.
    """
    backbones = [
        load_backbone(
            encoder,
            image_size=image_size,
            weights=None if is_file(encoder) else settings.weights,
            encoder_input=settings.input_of(encoder),
        )
        for encoder in settings.encoders
    ]
    return Encoder(backbones, finetune_from=settings.finetune_from, finetuned=finetuned, precision=precision)


class ImportedEncoder(keras.layers.Layer):
    """The encoder of features that were made elsewhere: it has no photos and no weights, and pools maps.

    Args:
        shape: of one photo's features, (regions, channels), (height, width, channels) or (channels,).
        varying: whether photos have different numbers of regions; those of zeros are padding.
        fingerprint: of the features, as features.json says it.
    """

    finetuned, head, cut, backbones = False, None, None, ()

    def __init__(self, *, shape: Sequence[int], varying: bool, fingerprint: str) -> None:
        super().__init__(name="encoder")
        self._shape, self.varying, self._fingerprint = tuple(shape), varying, fingerprint
        self.description = {"shape": list(shape), "varying": varying, "fingerprint": fingerprint}
        self.built = True

    def call(self, inputs: tf.Tensor, start: Stage = "photo", end: Stage = "pooled") -> tf.Tensor:
        """See `Encoder.call`; only the stages map and pooled exist.

        Raises:
            EncoderError: for photos.
        """
        if start not in ("map", "pooled"):
            raise EncoderError("imported: this captioner reads features that were made elsewhere, not photos")
        outputs = tf.cast(inputs, self.compute_dtype)
        if start == end:
            return outputs
        return masked_mean(outputs) if self.varying else _pool(outputs)

    @property
    def stage(self) -> Stage:
        """The stage of the features: pooled if each photo has one vector."""
        return "pooled" if len(self._shape) == 1 else "map"

    def feature_shape(self, stage: Stage) -> tuple[int, ...]:
        """Shape of one photo's features at a stage."""
        return self._shape[-1:] if stage == "pooled" else self._shape

    def fingerprint(self, stage: Stage) -> str:
        """That of the features."""
        return self._fingerprint


def _check_trainable(backbones: Sequence[Backbone]) -> None:
    if len(backbones) > 1:
        names = ", ".join(backbone.name for backbone in backbones)
        raise EncoderError(f"{names}: several encoders cannot be fine-tuned together; fine-tune one of them")
    if not backbones[0].trainable:
        raise EncoderError(f"{backbones[0].name}: a SavedModel cannot be fine-tuned; name a .keras file of the model")


def _check_regions(backbones: Sequence[Backbone]) -> None:
    """Refuse backbones whose maps cannot be joined by channel."""
    shapes = {backbone.name: tuple(backbone.model.output.shape[1:-1]) for backbone in backbones}
    if len(set(shapes.values())) > 1:
        described = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
        raise EncoderError(f"{', '.join(shapes)}: only encoders with the same regions can be joined, not {described}")


def _pool(maps: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(maps, axis=tuple(range(1, maps.shape.rank - 1)))
