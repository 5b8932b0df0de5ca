"""Builds all that a training run needs: strategy, splits, captioner, trainer. Prints and writes nothing."""

import time
from typing import Any

from tfcaption.runs.directory import Run, trainable_stages


def new_captioner(run: Run, *, compiled: bool) -> Any:
    """The `Captioner` that a run begins with; says on standard output where its word vectors come from."""
    import numpy as np

    from tfcaption.models.captioner import Captioner
    from tfcaption.preprocessing.word_vectors import embedding_matrix

    model, seed = run.config.model, run.config.train.seed
    if model.glove:
        embedding, coverage = embedding_matrix(run.words, model.glove, word_counts=run.info.word_counts, seed=seed)
        print(coverage, flush=True)
    else:
        shape = (len(run.words), model.embedding_units)
        embedding = np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)
    if model.weights == "random":
        print("ResNet50 has random weights: good for a trial of the whole way, not for real photos", flush=True)
    return Captioner(
        model,
        image_size=run.info.settings.image_size,
        embedding=embedding,
        encoder_weights=model.weights,
        max_tokens=run.info.max_length,
        compiled=compiled,
    )


def _extraction_advice(run: Run, encoder: Any, epochs: int) -> str:
    """What features would save, measured on one batch, and the command that makes them."""
    import numpy as np
    import tensorflow as tf

    (stage, *_) = trainable_stages(run.config.model)
    size = run.info.settings.image_size
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (16, size, size, 3)), tf.uint8)
    encode = tf.function(lambda images: encoder(images, end=stage), autograph=False)
    encode(images)
    start = time.monotonic()
    tf.nest.map_structure(lambda value: value.numpy(), encode(images))
    seconds = (time.monotonic() - start) / 16
    photos = run.info.split("train").photos + run.info.split("dev").photos
    saved = seconds * photos * (epochs - 1)
    return (
        f"without data.features each epoch repeats ResNet50; some {saved / 60:,.1f} minutes of {epochs} epochs are "
        f"saved by python -m beam_jobs.extract_features --records {run.config.data.records} --output "
        f"features/{stage} --stage {stage} --weights {run.config.model.weights}, --set data.features=features/{stage}"
    )
