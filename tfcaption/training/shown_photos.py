"""A few photos of the dev split, captioned after each epoch: what the captioner says as it learns."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from tfcaption.decoding.captioning import caption_features
from tfcaption.decoding.options import CaptionOptions
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.preprocessing.captioned_picture import draw_beside
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.examples import decode_record
from tfcaption.records.reading import read_records
from tfcaption.training.assemble import Training, open_split_once


class _Photo(NamedTuple):
    image: Image.Image  # RGB
    reference: str


class ShownPhotos:
    """The first photos of the dev split with their captions.

    Args:
        training: what is trained.
        count: of the photos; fewer where the split has fewer, none where the records' shards are gone, which training
            from features does not need.
    """

    def __init__(self, training: Training, count: int) -> None:
        captioner, run = training.trainer.captioner, training.run
        split = open_split_once("dev", run, training.trainer.mode, training.skipper)
        self._inputs: tf.Tensor | None = None
        self._photos: dict[str, _Photo] = {}
        for batch in make_batches(split, BatchOptions(count)).take(1):
            ids = [photo.decode() for photo in batch["photo_id"].numpy() if photo]  # empty: fills up the batch
            photos = _photos_of(training, ids)
            if photos.keys() == set(ids):
                self._inputs, self._photos = batch["inputs"][: len(ids)], {photo: photos[photo] for photo in ids}
        tokenizer, options = Tokenizer(run.vocabulary), CaptionOptions(beam=1)

        @tf.function(autograph=False, reduce_retracing=True)
        def best_captions(inputs: tf.Tensor) -> tf.Tensor:
            features = captioner.encode(inputs, split.stage)
            found = caption_features(
                captioner, features, tokenizer, options, max_tokens=run.info.max_length, attention=False
            )
            return found.captions[:, 0]

        self._best_captions = best_captions

    def pictures(self) -> dict[str, np.ndarray]:
        """Photo id -> the photo beside its present caption and a reference, (height, width, 3) uint8."""
        if not self._photos:
            return {}
        captions = (caption.decode() for caption in self._best_captions(self._inputs).numpy())
        return {
            name: np.asarray(draw_beside(photo.image, caption or "(empty caption)", photo.reference))
            for caption, (name, photo) in zip(captions, self._photos.items(), strict=True)
        }


def _photos_of(training: Training, ids: Sequence[str]) -> dict[str, _Photo]:
    """Some of the first photos of the dev split, as far as their shards are there."""
    records = training.run.dataset.records
    files = [records / shard.name for shard in training.run.info.split("dev").shards]
    found: dict[str, _Photo] = {}
    for serialized in read_records([str(file) for file in files if file.is_file()], training.skipper):
        record = decode_record(serialized)
        if record.photo_id in ids:
            with Image.open(io.BytesIO(record.jpeg)) as image:
                found[record.photo_id] = _Photo(image.convert("RGB"), record.captions[0])
        if len(found) == len(ids):
            break
    return found
