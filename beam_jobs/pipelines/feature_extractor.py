"""Runs an encoder from one stage to a later one; imports TensorFlow."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.preprocessing import PREPROCESSING
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.config import DEFAULT_ENCODER
from tfcaption.input_pipeline.parsing import decode_payloads
from tfcaption.models.encoder import Encoder, open_encoder
from tfcaption.preprocessing.augmented_views import crop_images, view_box
from tfcaption.records.dataset_info import DatasetInfo, FeatureSettings
from tfcaption.records.examples import Precision, Stage
from tfcaption.runs.checkpoints import load_tuned_encoder
from tfcaption.runs.directory import RunError, load_run
from tfcaption.runtime.processor import cpu_multiplies_bfloat16


def load_encoder(
    settings: EncoderSettings, run: str | None, *, image_size: int, precision: Precision | Literal["auto"]
) -> Encoder:
    """The encoder of a job: of a run if one is named, fine-tuned if the run did that; otherwise as its settings say.

    Args:
        settings: of the encoder; with a run, only `finetune_from` counts.
        run: directory of a run.
        image_size: side of the photos in pixels.
        precision: see `Encoder`; auto: bfloat16 if this machine multiplies it faster and the encoder is ResNet50, whose
            features hardly change (see `compute_in_bfloat16`; those of EfficientNet-Lite2 are off by 2.3%).

    Raises:
        EncoderError: it cannot be loaded or cannot compute in bfloat16, or `run` takes photos of another size.
        RunError: `run` is no run, or has no checkpoint.
    """
    try:
        if run is None:
            return open_encoder(settings, image_size=image_size, precision=_resolved(precision, settings.encoders))
        source = load_run(run)
        if (size := source.info.settings.image_size) != image_size:
            raise EncoderError(f"{run}: was trained on photos of {size} pixels, and these records have {image_size}")
        tuned = load_tuned_encoder(source)
        cut = settings.finetune_from or source.config.model.finetune_from
        chosen = _resolved(precision, [backbone.name for backbone in tuned.backbones])
        return Encoder(tuned.backbones, finetune_from=cut, finetuned=False, precision=chosen)
    except EncoderError as error:
        option = "run" if run is not None and str(error).startswith(run) else error.option
        raise EncoderError(f"--{option} {error}") from error
    except RunError as error:
        raise RunError(f"--run {error}") from error


def _resolved(precision: Precision | Literal["auto"], encoders: Sequence[str]) -> Precision:
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    fast = min(capabilities) >= (8, 0) if gpus else cpu_multiplies_bfloat16()
    return "bfloat16" if fast and list(encoders) == [DEFAULT_ENCODER] else "float32"


class FeatureExtractor:
    """An encoder from one stage to later ones, as one graph for one batch shape.

    Args:
        encoder: with weights in float32.
        stages: what is extracted, in the encoder's order.
        batch_size: photos per call.
        made_from: the stage of the inputs.
    """

    def __init__(
        self, encoder: Encoder, *, stages: Sequence[Stage], batch_size: int, made_from: Stage = "photo"
    ) -> None:
        self.encoder = encoder
        self._batch_size, self._made_from = batch_size, made_from
        gpu = bool(tf.config.list_physical_devices("GPU"))

        # On a CPU XLA's convolutions are slower than oneDNN's.
        @tf.function(jit_compile=gpu, autograph=False)
        def features(inputs: tf.Tensor) -> list[tf.Tensor]:
            found, start = [inputs], made_from
            for stage in stages:
                found.append(self.encoder(found[-1], start=start, end=stage))
                start = stage
            return [tf.cast(of_stage, tf.float16) for of_stage in found[1:]]

        shape = self.encoder.feature_shape(made_from)
        payloads_spec, boxes_spec = tf.TensorSpec((None,), tf.string), tf.TensorSpec((None, 4), tf.float32)
        inputs_spec = tf.TensorSpec((None, *shape), tf.uint8 if made_from == "photo" else tf.float16)

        @tf.function(input_signature=[payloads_spec], autograph=False)
        def decode(payloads: tf.Tensor) -> tf.Tensor:
            return decode_payloads(payloads, made_from, shape)

        @tf.function(input_signature=[payloads_spec, boxes_spec], autograph=False)
        def decode_crops(payloads: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
            return crop_images(decode_payloads(payloads, "photo", shape), boxes)

        @tf.function(input_signature=[inputs_spec], autograph=False)
        def extract(inputs: tf.Tensor) -> list[tf.Tensor]:
            padded = tf.pad(inputs, [[0, batch_size - tf.shape(inputs)[0]], *[[0, 0]] * len(shape)])
            return features(tf.ensure_shape(padded, (batch_size, *shape)))

        self._decode, self._decode_crops, self._extract = decode, decode_crops, extract

    def settings(self, stage: Stage, records: DatasetInfo, *, views: int, sides: list[int]) -> FeatureSettings:
        """All that decides the bytes of the features of some records.

        Args:
            stage: one of those that are extracted.
            records: the description of the records.
            views: of each training photo.
            sides: token ids of "left" and "right", which mirrored views swap.
        """
        return FeatureSettings(
            stage=stage,
            layers=self.encoder.layers_of(stage),
            shape=list(self.encoder.feature_shape(stage)),
            weights=self.encoder.fingerprint(stage),
            preprocessing="; ".join(PREPROCESSING[backbone.input] for backbone in self.encoder.backbones),
            records=records.fingerprint(),
            batch_size=self._batch_size,
            made_from=self._made_from,
            views=views,
            sides=sides,
            precision=self.encoder.precision,
        )

    def decode(self, photos: Sequence[tuple[str, bytes]], view: int = 0) -> tf.Tensor:
        """The inputs of one view of up to a batch of photos; on the CPU, beside what a GPU computes.

        Args:
            photos: id of each photo, and its JPEG or the features of the view.
            view: 0 for the photo itself.

        Returns:
            (photos, *shape of the stage that the features are made from) uint8 or float16.
        """
        payloads = [payload for _, payload in photos]
        with tf.device("CPU"):
            if view and self._made_from == "photo":
                return self._decode_crops(payloads, [view_box(photo_id, view) for photo_id, _ in photos])
            return self._decode(payloads)

    def __call__(self, inputs: tf.Tensor) -> list[np.ndarray]:
        """Features of up to a batch of photos.

        Args:
            inputs: as `decode` returns them.

        Returns:
            Of each stage (photos, *shape of the stage) float16.
        """
        return [of_stage.numpy()[: len(inputs)] for of_stage in self._extract(inputs)]
