"""Captions photos with a run directory."""

import hashlib
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
from tfcaption.preprocessing.tokenizer import Vocabulary
from tfcaption.records.captions import PhotoCaptions, WordAttention, hypotheses_of, word_attention
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run


class RunCaptioner:
    """Captions photos with a run directory, prepared exactly as its training photos were; in float32.

    Args:
        run: the run directory.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.
        options: of the search.
        attention: whether captions come with the attention of the best one, if the decoder has it.

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
    ) -> None:
        captioner, _ = load_captioner(run, checkpoint)
        self._model, self.options, self._attention = _Model(run, captioner), options, attention

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
        if not photos:
            return []
        images = tf.stack([decode_jpeg(photo) for photo in photos])
        batch = self._model.caption(images, self.options, attention=self._attention)
        attention: list[tuple[WordAttention, ...]] = [()] * len(photos)
        if batch.words is not None and batch.attention is not None:
            weighted = zip(batch.words.numpy(), batch.attention.numpy(), strict=True)
            attention = [word_attention(words, weights) for words, weights in weighted]
        per_photo = zip(batch.captions.numpy(), batch.scores.numpy().tolist(), attention, strict=True)
        return [PhotoCaptions(hypotheses_of(captions, scores), of_words) for captions, scores, of_words in per_photo]

    def fingerprint(self) -> str:
        """sha256 of the weights, the vocabulary and the options of the search."""
        digest = hashlib.sha256(repr((self.options, self._model.run.words)).encode())
        for variable in self._model.captioner.variables:
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()


class _Model:
    """A loaded captioner, and its compiled function for each set of options."""

    def __init__(self, run: Run, captioner: Captioner) -> None:
        self.run, self.captioner = run, captioner
        self._vocabulary = Vocabulary(run.words)
        self._functions: dict[tuple[CaptionOptions, bool], Any] = {}

    def caption(self, images: tf.Tensor, options: CaptionOptions, *, attention: bool) -> CaptionBatch:
        """Captions of (photos, size, size, 3) uint8."""
        key = replace(options, seed=0), attention  # another seed needs no other graph
        if key not in self._functions:
            self._functions[key] = self._function(options, attention=attention)
        batch: CaptionBatch = self._functions[key](images, tf.constant(options.seed))
        return batch

    def _function(self, options: CaptionOptions, *, attention: bool) -> Any:
        @tf.function(autograph=False, reduce_retracing=True)
        def caption(images: tf.Tensor, seed: tf.Tensor) -> CaptionBatch:
            return caption_features(
                self.captioner,
                self.captioner.encode(images),
                self._vocabulary,
                options,
                max_tokens=self.run.info.max_length,
                seed=seed,
                attention=attention,
            )

        return caption
