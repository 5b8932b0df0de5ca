"""ResNet50 from a stage to a later one, as one graph for one batch shape."""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from tfcaption.records.examples import Stage
from tfcaption.runtime.errors import UsageError


class FeatureExtractor:
    """ResNet50 from a stage to a later one, as one graph for one batch shape.

    Args:
        image_size: side of the photos in pixels.
        weights: as `Encoder` takes them.
        stage: where to stop.
        batch_size: photos a call.
        made_from: where to begin.

    Raises:
        EncoderError: the weights cannot be loaded.
        ValueError: `stage` does not come after `made_from`.
    """

    def __init__(
        self,
        *,
        image_size: int,
        weights: str,
        stage: Stage,
        batch_size: int,
        made_from: Stage = "photo",
    ) -> None:
        stages = get_args(Stage)
        if stages.index(stage) <= stages.index(made_from):
            raise UsageError(f"--stage {stage} cannot be made from {made_from}, only from an earlier one")

        from tfcaption.runtime.process import start_tensorflow

        start_tensorflow()
        import tensorflow as tf

        from tfcaption.input_pipeline.parsing import decode_payloads
        from tfcaption.models.encoder import Encoder
        from tfcaption.preprocessing.augmented_views import cropped

        self.encoder = Encoder(image_size=image_size, weights=weights, finetuned=False)
        self._batch_size = batch_size
        gpu = bool(tf.config.list_physical_devices("GPU"))

        # On a CPU XLA's convolutions are slower than oneDNN's.
        @tf.function(jit_compile=gpu, autograph=False)
        def features(inputs: tf.Tensor) -> tf.Tensor:
            return tf.cast(self.encoder(inputs, start=made_from, end=stage), tf.float16)

        def filled_up(inputs: tf.Tensor) -> tf.Tensor:
            missing = batch_size - tf.shape(inputs)[0]
            inputs = tf.pad(inputs, [[0, missing], *[[0, 0]] * (inputs.shape.rank - 1)])
            return tf.ensure_shape(inputs, (batch_size, *inputs.shape[1:]))

        payloads_spec, boxes_spec = tf.TensorSpec((None,), tf.string), tf.TensorSpec((None, 4), tf.float32)

        @tf.function(input_signature=[payloads_spec], autograph=False)
        def extract(payloads: tf.Tensor) -> tf.Tensor:
            return features(filled_up(decode_payloads(payloads, made_from, self.encoder.feature_shape(made_from))))

        @tf.function(input_signature=[payloads_spec, boxes_spec], autograph=False)
        def extract_crops(payloads: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
            images = decode_payloads(payloads, "photo", self.encoder.feature_shape("photo"))
            return features(filled_up(cropped(images, boxes)))

        self._extract, self._extract_crops = extract, extract_crops

    def __call__(self, payloads: Sequence[bytes], boxes: Sequence[Sequence[float]] | None = None) -> np.ndarray:
        """Features of up to a batch of photos, as their records hold them, or of what a box shows of each: (photos,
        *shape) float16."""
        found = self._extract(list(payloads)) if boxes is None else self._extract_crops(list(payloads), boxes)
        return found.numpy()[: len(payloads)]
