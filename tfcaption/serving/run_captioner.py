"""Captions photos with a run directory."""

from collections.abc import Sequence

import tensorflow as tf

from tfcaption.config import BEAM
from tfcaption.decoding.beam_search import SearchOptions
from tfcaption.decoding.captioning import CaptionBatch, caption_features
from tfcaption.preprocessing.photos import PhotoError, prepare_photo
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.preprocessing.tokenizer import Vocabulary
from tfcaption.records.captions import PhotoCaptions, hypotheses_of
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run


class RunCaptioner:
    """Captions photos with a run directory, prepared exactly as its training photos were.

    Args:
        run: the run directory.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.
        beam: of the search, and so the number of captions per photo; 1 is greedy.

    Raises:
        RunError: the run has no such checkpoint.
    """

    def __init__(self, run: Run, *, checkpoint: str = "best", beam: int = BEAM) -> None:
        self.beam = beam
        self._settings = run.info.settings
        captioner, _ = load_captioner(run, checkpoint)
        vocabulary = Vocabulary(run.words)
        options = SearchOptions(max_tokens=run.info.max_length, beam=beam)

        @tf.function(autograph=False, reduce_retracing=True)
        def caption(images: tf.Tensor) -> CaptionBatch:
            return caption_features(captioner, captioner.encode(images), vocabulary, options, attention=False)

        self._caption = caption

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""
        return prepare_photo(data, image_size=self._settings.image_size, resize=self._settings.resize)

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order."""
        if not photos:
            return []
        batch = self._caption(tf.stack([decode_jpeg(photo) for photo in photos]))
        per_photo = zip(batch.captions.numpy(), batch.scores.numpy().tolist(), strict=True)
        return [PhotoCaptions(hypotheses_of(captions, scores)) for captions, scores in per_photo]
