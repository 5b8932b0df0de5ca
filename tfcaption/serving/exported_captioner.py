"""A captioner from an exported SavedModel, for photos; needs no run directory."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import Hypothesis, PhotoCaptions, WordAttention, word_attention
from tfcaption.runtime.paths import as_path, files_below
from tfcaption.runtime.process import stderr_to_file
from tfcaption.serving.export_folder import ExportError, check_export, load_export_info

SIGNATURE = "serving_default"
INPUT = "images"
OUTPUTS = ("captions", "scores", "nbest_captions", "nbest_scores")
ATTENTION = {"words", "attention"}  # also there if the decoder has it


class ExportedCaptioner:
    """Captions photos with an exported SavedModel.

    Photos are prepared here as they were for training and evaluation, so the model decodes them and nothing else.
    Every call of the model has `batch_size` rows, so that a photo's captions do not depend on how many come with it.

    Args:
        path: the SavedModel's folder, any path that TensorFlow reads.
        batch_size: photos a call.

    Raises:
        ExportError: there is no export, or it lacks what is needed here.
    """

    def __init__(self, path: str, *, batch_size: int = 16) -> None:
        check_export(path)
        self.path, self.batch_size = path, batch_size
        self.info = load_export_info(path)
        self.beam = self.info.beam
        with stderr_to_file("tfcaption-model-"):
            self._model, self._signature, fault = _load(path)
        if fault:
            raise ExportError(f"{path}: {fault}")

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""
        return photos.prepare_photo(data, image_size=self.info.image_size, resize=self.info.resize)

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order; the error where the model cannot decode one."""
        found: list[PhotoCaptions | PhotoError] = []
        for start in range(0, len(photos), self.batch_size):
            found += self._caption(photos[start : start + self.batch_size])
        return found

    def _caption(self, photos: Sequence[bytes]) -> Iterator[PhotoCaptions | PhotoError]:
        missing = self.batch_size - len(photos)
        found = self._signature(**{INPUT: tf.constant([*photos, *[b""] * missing])})
        rows = zip(found["nbest_captions"].numpy(), found["nbest_scores"].numpy().tolist(), strict=True)
        looked: list[tuple[WordAttention, ...]] = [()] * self.batch_size
        if set(found) >= ATTENTION:
            attention = zip(found["words"].numpy(), found["attention"].numpy(), strict=True)
            looked = [word_attention(words, weights) for words, weights in attention]
        for _, (captions, scores), words in zip(photos, rows, looked, strict=False):
            yield _photo_captions(captions, scores, words)

    def fingerprint(self) -> str:
        """sha256 over all files of the export, so that another model is never taken for this one."""

        digest = hashlib.sha256()
        folder = as_path(self.path)
        for path in sorted(files_below(folder)):
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def _load(path: str) -> tuple[Any, Any, str]:
    """The SavedModel, which must be kept as long as it is used, its signature, and what is wrong with it."""
    try:
        model = tf.saved_model.load(path)
        signature = model.signatures.get(SIGNATURE)
        if signature is None or set(OUTPUTS) - set(signature.structured_outputs):
            return None, None, "a SavedModel, but not a captioner; create one with tfcaption.export"
        signature(**{INPUT: tf.constant([b""])})  # optimised now, so that no photo waits for it
    except (OSError, TypeError, tf.errors.OpError) as error:
        return None, None, f"cannot be loaded, export it again ({str(error).splitlines()[0]})"
    return model, signature, ""


def _photo_captions(
    captions: Sequence[bytes], scores: Sequence[float], looked: tuple[WordAttention, ...]
) -> PhotoCaptions | PhotoError:
    """A row of the model's n-best list; an empty caption with a score of exactly 0 stands for none."""
    found = tuple(Hypothesis(c.decode(), score) for c, score in zip(captions, scores, strict=True) if c or score)
    return PhotoCaptions(found, looked) if found else PhotoError("unreadable", "the model cannot decode it")
