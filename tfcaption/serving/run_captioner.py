"""A captioner from a run directory, for photos."""

from collections.abc import Sequence

import tensorflow as tf

from tfcaption.config import BEAM
from tfcaption.decoding.beam_search import beam_search
from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.preprocessing.tokenizer import Vocabulary
from tfcaption.records.captions import Hypothesis, PhotoCaptions
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run


class RunCaptioner:
    """Captions photos with a run directory, prepared exactly as those that were trained on.

    Args:
        run: the run directory.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.
        beam: of the search, and so captions of a photo; 1 is greedy.

    Raises:
        RunError: the run has no such checkpoint.
    """

    def __init__(self, run: Run, *, checkpoint: str = "best", beam: int = BEAM) -> None:
        self.beam = beam
        self._settings = run.info.settings
        captioner, _ = load_captioner(run, checkpoint)
        vocabulary = Vocabulary(run.words)

        @tf.function(autograph=False, reduce_retracing=True)
        def caption(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            found = beam_search(captioner, captioner.encode(images), max_tokens=run.info.max_length, beam=beam)
            return vocabulary.decode(found.tokens), found.scores

        self._caption = caption

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""
        return photos.prepare_photo(data, image_size=self._settings.image_size, resize=self._settings.resize)

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order."""
        if not photos:
            return []
        captions, scores = self._caption(tf.stack([decode_jpeg(photo) for photo in photos]))
        rows = zip(captions.numpy(), scores.numpy().tolist(), strict=True)
        return [
            PhotoCaptions(tuple(Hypothesis(c.decode(), s) for c, s in zip(*row, strict=True) if s > float("-inf")))
            for row in rows
        ]
