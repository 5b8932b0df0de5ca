"""An exported captioner, back from its SavedModel: photos in, captions out, no run directory needed."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import Hypothesis, PhotoCaptions, WordAttention, word_attention
from tfcaption.runtime.paths import as_path, files_below, is_local
from tfcaption.runtime.process import start_tensorflow, stderr_to_file

INFO_FILES = ("assets.extra/export.json", "export.json")
SIGNATURE = "serving_default"
INPUT = "images"
OUTPUTS = ("captions", "scores", "nbest_captions", "nbest_scores")
ATTENTION = {"words", "attention"}  # also there if the decoder has it


class ExportError(ValueError):
    """A path that holds no usable export; the message names it and the cure."""


class ExportInfo(BaseModel):
    """What `export.json` says that its user must know."""

    model_config = ConfigDict(extra="ignore")
    image_size: int  # pixels, both sides
    resize: str  # squash, crop or pad
    beam: int  # captions of a photo


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
        # Of a local path this can be said before TensorFlow takes its seconds to start.
        if is_local(path) and not Path(path, "saved_model.pb").is_file():
            raise ExportError(f"{path}: is no export (it has no saved_model.pb); make one with tfcaption.export")
        start_tensorflow()

        self.path, self.batch_size = path, batch_size
        self.info = _load_info(path)
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
        import tensorflow as tf

        missing = self.batch_size - len(photos)
        found = self._signature(**{INPUT: tf.constant([*photos, *[b""] * missing])})
        rows = zip(found["nbest_captions"].numpy(), found["nbest_scores"].numpy().tolist(), strict=True)
        looked: list[tuple[WordAttention, ...]] = [()] * self.batch_size
        if set(found) >= ATTENTION:
            attention = zip(found["words"].numpy(), found["attention"].numpy(), strict=True)
            looked = [word_attention(words, weights) for words, weights in attention]
        for _, (captions, scores), words in zip(photos, rows, looked, strict=False):
            yield _captions_of(captions, scores, words)

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
    import tensorflow as tf

    try:
        model = tf.saved_model.load(path)
        signature = model.signatures.get(SIGNATURE)
        if signature is None or set(OUTPUTS) - set(signature.structured_outputs):
            return None, None, "a SavedModel, but no captioner; make one with tfcaption.export"
        signature(**{INPUT: tf.constant([b""])})  # optimised now, so that no photo waits for it
    except (OSError, TypeError, tf.errors.OpError) as error:
        return None, None, f"cannot be loaded, export it again ({str(error).splitlines()[0]})"
    return model, signature, ""


def _captions_of(
    captions: Sequence[bytes], scores: Sequence[float], looked: tuple[WordAttention, ...]
) -> PhotoCaptions | PhotoError:
    """A row of the model's n-best list; an empty caption with a score of exactly 0 stands for none."""
    found = tuple(Hypothesis(c.decode(), score) for c, score in zip(captions, scores, strict=True) if c or score)
    return PhotoCaptions(found, looked) if found else PhotoError("unreadable", "the model cannot decode it")


def _load_info(path: str) -> ExportInfo:

    for name in INFO_FILES:
        if (file := as_path(path) / name).is_file():
            try:
                return ExportInfo.model_validate(json.loads(file.read_text(encoding="utf-8")))
            except (ValidationError, ValueError) as error:
                raise ExportError(f"{path}/{name}: does not describe an export ({error}); export it again") from error
    raise ExportError(
        f"{path}: a SavedModel, but no captioner (it has no {INFO_FILES[0]}); make one with tfcaption.export"
    )
