"""Captions photos with a run directory."""

import hashlib
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import tensorflow as tf
from PIL import Image

from tfcaption.decoding.captioning import CaptionBatch, caption_features
from tfcaption.decoding.options import CaptionOptions
from tfcaption.models.captioner import Captioner
from tfcaption.preprocessing import photos as preparation
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.captions import PhotoCaptions, WordAttention, hypotheses_of, word_attention
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run
from tfcaption.serving.photo_captioner import BATCH_SIZE


class RunCaptioner:
    """Captions photos with a run directory, prepared exactly as its training photos were; in float32.

    Args:
        run: the run directory.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.
        options: of the search.
        attention: whether captions come with the attention of the best one, if the decoder has it.
        batch_size: photos per call of the model, at most.
        padded: fill smaller batches, as for `ExportedCaptioner`.

    Raises:
        RunError: the run has no such checkpoint.
    """

    def __init__(
        self,
        run: Run,
        *,
        checkpoint: str = "best",
        options: CaptionOptions = CaptionOptions(),  # noqa: B008 (frozen)
        attention: bool = True,
        batch_size: int = BATCH_SIZE,
        padded: bool = True,
    ) -> None:
        captioner, _ = load_captioner(run, checkpoint)
        self._model, self.options, self._attention = _Model(run, captioner), options, attention
        self.batch_size, self._padded = batch_size, padded

    def with_options(self, options: CaptionOptions, *, attention: bool = True) -> "RunCaptioner":
        """The same model with other options of the search."""
        other = copy(self)  # shares the loaded model
        other.options, other._attention = options, attention
        return other

    def prepare(self, photo: bytes | Image.Image) -> bytes:
        """The JPEG that the model takes, from the content of a photo file or an image; raises PhotoError."""
        settings = self._model.run.info.settings
        return preparation.prepare(photo, image_size=settings.image_size, resize=settings.resize)

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order."""
        results: list[PhotoCaptions | PhotoError] = []
        for start in range(0, len(photos), self.batch_size):
            results += self._caption_batch(photos[start : start + self.batch_size])
        return results

    def _caption_batch(self, photos: Sequence[bytes]) -> list[PhotoCaptions]:
        images = tf.stack([decode_jpeg(photo) for photo in photos])
        if self._padded:
            images = tf.pad(images, [(0, self.batch_size - len(photos)), (0, 0), (0, 0), (0, 0)])
        batch = self._model.caption(images, self.options, attention=self._attention)
        attention: list[tuple[WordAttention, ...]] = [()] * len(photos)
        if batch.words is not None and batch.attention is not None:
            weighted = zip(photos, batch.words.numpy(), batch.attention.numpy(), strict=False)
            attention = [word_attention(words, weights) for _, words, weights in weighted]
        per_photo = zip(attention, batch.captions.numpy(), batch.scores.numpy().tolist(), strict=False)
        return [PhotoCaptions(hypotheses_of(captions, scores), of_words) for of_words, captions, scores in per_photo]

    def fingerprint(self) -> str:
        """sha256 of the weights, the vocabulary, the preprocessing and the model's config."""
        run = self._model.run
        model, encoder = run.config.model, self._model.captioner.encoder
        config = model.model_dump(mode="json", exclude={"encoder", "weights", "glove"})  # files that may move
        files = [backbone.file_sha256 for backbone in encoder.backbones]
        settings = run.info.settings
        preparation = [settings.image_size, settings.resize, run.info.max_length]
        described = [config, model.encoder_names, files, run.vocabulary.identity, preparation]
        digest = hashlib.sha256(json.dumps(described).encode())
        for variable in self._model.captioner.weights:  # variables also count the random state of dropout
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()


class _Model:
    """A loaded captioner, and its compiled function for each set of options."""

    def __init__(self, run: Run, captioner: Captioner) -> None:
        self.run, self.captioner = run, captioner
        self._tokenizer = Tokenizer(run.vocabulary)
        self._functions: dict[tuple[CaptionOptions, bool], Any] = {}

    def caption(self, images: tf.Tensor, options: CaptionOptions, *, attention: bool) -> CaptionBatch:
        """Captions of (photos, size, size, 3) uint8."""
        # Another seed needs no other graph, nor do fewer of the hypotheses of a beam.
        key = replace(options, seed=0, nbest=options.nbest if options.samples else 1), attention
        if key not in self._functions:
            self._functions[key] = self._function(options, attention=attention)
        batch: CaptionBatch = self._functions[key](images, tf.constant(options.seed))
        return batch

    def _function(self, options: CaptionOptions, *, attention: bool) -> Any:
        size = self.run.info.settings.image_size
        # One graph for every batch size, so that captions do not depend on the batches before.
        signature = [tf.TensorSpec((None, size, size, 3), tf.uint8), tf.TensorSpec((), tf.int32)]

        @tf.function(input_signature=signature, autograph=False)
        def caption(images: tf.Tensor, seed: tf.Tensor) -> CaptionBatch:
            return caption_features(
                self.captioner,
                self.captioner.encode(images),
                self._tokenizer,
                options,
                max_tokens=self.run.info.max_length,
                seed=seed,
                attention=attention,
            )

        return caption
