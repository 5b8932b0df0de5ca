"""Captions photos with an exported SavedModel; needs no run directory."""

import hashlib
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import tensorflow as tf
from PIL import Image

from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing import photos as preparation
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.records.captions import Hypothesis, PhotoCaptions, WordAttention, word_attention
from tfcaption.runtime.paths import files_below, local_copy
from tfcaption.runtime.process import stderr_to_file
from tfcaption.serving.export_folder import PHOTO_SIGNATURE, ExportError, check_export, load_export_info

INPUT = "pixels"
OUTPUTS = ("captions", "scores", "nbest_captions", "nbest_scores")
ATTENTION_OUTPUTS = {"words", "attention"}  # of decoders with attention


class ExportedCaptioner:
    """Captions photos with an exported SavedModel.

    Photos are prepared and decoded here, as they were for training and evaluation.

    Args:
        path: the SavedModel's folder, any path that TensorFlow reads.
        batch_size: photos per call of the model, at most.
        padded: fill smaller batches, so that a photo's captions and scores are the same to the last bit however many
            others come with it. Without, a lone photo takes the time of one, and rounding may depend on the batch.
        attention: whether captions come with the attention of the best one, if the model gives it.

    Raises:
        ExportError: the folder holds no usable export.
    """

    def __init__(self, path: Path, *, batch_size: int = 16, padded: bool = True, attention: bool = True) -> None:
        check_export(path)
        self.path, self.batch_size, self._padded, self._attention = path, batch_size, padded, attention
        self.info = load_export_info(path)
        self.info.check_takes_photos(path)
        self.options = self.info.options
        with stderr_to_file("tfcaption-model-"):
            self._model, self._signature, fault = _load(path, self.info.image_size)
        if fault:
            raise ExportError(f"{path}: {fault}")

    def with_options(self, options: CaptionOptions, *, attention: bool = True) -> "ExportedCaptioner":
        """The same model, if it was exported with these options; see `ExportInfo.check`."""
        self.info.check(options, self.path)
        other = copy(self)  # shares the loaded model
        other.options, other._attention = options, attention
        return other

    def prepare(self, photo: bytes | Image.Image) -> bytes:
        """The JPEG that the model takes, from the content of a photo file or an image; raises PhotoError."""
        return preparation.prepare(photo, image_size=self.info.image_size, resize=self.info.resize)

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order; an error for each photo that the model cannot decode."""
        decoded = [_decoded(photo) for photo in photos]
        pixels = [photo for photo in decoded if not isinstance(photo, PhotoError)]
        captions: list[PhotoCaptions] = []
        for start in range(0, len(pixels), self.batch_size):
            captions += self._caption_batch(pixels[start : start + self.batch_size])
        found = iter(captions)
        return [photo if isinstance(photo, PhotoError) else next(found) for photo in decoded]

    def _caption_batch(self, photos: Sequence[tf.Tensor]) -> Iterator[PhotoCaptions]:
        """Captions of (size, size, 3) uint8 pixels."""
        padding = [tf.zeros_like(photos[0])] * (self.batch_size - len(photos) if self._padded else 0)
        outputs = self._signature(**{INPUT: tf.stack([*photos, *padding])})
        nbest = zip(outputs["nbest_captions"].numpy(), outputs["nbest_scores"].numpy().tolist(), strict=True)
        attention: list[tuple[WordAttention, ...]] = [()] * len(photos)
        if self._attention and set(outputs) >= ATTENTION_OUTPUTS:
            weighted = zip(outputs["words"].numpy(), outputs["attention"].numpy(), strict=True)
            attention = [word_attention(words, weights) for words, weights in weighted]
        for _, (captions, scores), of_words in zip(photos, nbest, attention, strict=False):
            hypotheses = zip(captions, scores, strict=True)
            # An empty caption with a score of 0 means that there is none.
            yield PhotoCaptions(tuple(Hypothesis(c.decode(), score) for c, score in hypotheses if c or score), of_words)

    def fingerprint(self) -> str:
        """sha256 over all files of the export, to tell it from any other model; equal for two exports of one run."""
        digest = hashlib.sha256()
        for path in sorted(files_below(self.path)):
            if path == self.path / "fingerprint.pb":  # TensorFlow's own, which holds a random number
                continue
            digest.update(f"{path.relative_to(self.path).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def _decoded(photo: bytes) -> tf.Tensor | PhotoError:
    """Pixels of a prepared photo, (size, size, 3) uint8."""
    try:
        return decode_jpeg(photo)
    except tf.errors.InvalidArgumentError:
        return PhotoError("unreadable", "the model cannot decode it")


def _load(path: Path, image_size: int) -> tuple[Any, Any, str]:
    """The SavedModel, which must outlive its signature; the signature; and what is wrong with the model."""
    try:
        with local_copy(path) as folder:
            model = tf.saved_model.load(str(folder))
        signature = model.signatures.get(PHOTO_SIGNATURE)
        if signature is None or set(OUTPUTS) - set(signature.structured_outputs):
            return None, None, "a SavedModel, but not a captioner of this version; create one with tfcaption.export"
        photo = tf.zeros((1, image_size, image_size, 3), tf.uint8)
        signature(**{INPUT: photo})  # optimises its graph now, so that no photo waits for it
    except (OSError, TypeError, tf.errors.OpError) as error:
        return None, None, f"cannot be loaded, export it again ({str(error).splitlines()[0]})"
    return model, signature, ""
