"""Photos are decoded while features are computed: seen with an encoder that only waits."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.utils.shared import Shared

from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.pipelines import feature_extractor
from beam_jobs.pipelines.feature_extractor import FeatureExtractor
from beam_jobs.pipelines.features import ExtractShard
from tests.support.records import read_all
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.records.dataset_info import FeatureSettings, load_dataset_info
from tfcaption.records.examples import features_of, photo_of

BATCH_SIZE = 4
SECONDS = 1.5  # of sleep, which other work on the machine hardly makes longer


def after(wait, tensor):
    """The same tensor, once `wait` has returned."""

    def waited(value):
        wait()
        return value

    later = tf.py_function(waited, [tensor], tensor.dtype)
    later.set_shape(tensor.shape)
    return later


class WaitingEncoder:
    """Gives the mean of each photo's pixels, once `wait` has returned."""

    def __init__(self, wait):
        self._wait = wait

    def feature_shape(self, stage):
        return {"photo": (32, 32, 3), "pooled": (3,)}[stage]

    def __call__(self, images, start, end):
        return tf.reduce_mean(tf.cast(after(self._wait, images), tf.float32), (1, 2))


def waiting_extractor(monkeypatch, *, decode, compute):
    """An extractor that calls these functions whenever it decodes a batch and computes its features."""
    original = feature_extractor.decode_payloads
    monkeypatch.setattr(feature_extractor, "decode_payloads", lambda *arguments: after(decode, original(*arguments)))
    return FeatureExtractor(WaitingEncoder(compute), stages=["pooled"], batch_size=BATCH_SIZE)


def extracted_shard(extractor, records, folder):
    """The first training shard, as a worker extracts it, and the photos that it was made from."""
    settings = FeatureSettings(stage="pooled", shape=[3], weights="", preprocessing="", records="", batch_size=4)
    shard = ExtractShard(SimpleNamespace(settings=settings, source=str(records)), Shared())
    shard._extractor = extractor
    name = load_dataset_info(records).splits["train"].shards[0].name
    found = shard._features(name, 0, ProgressCounter(str(folder), name))
    return found, list(shard._source_records(name))


def test_a_batch_is_decoded_while_the_one_before_it_is_computed(sample_records, tmp_path, monkeypatch):
    """The features of the first batch wait until the second one is decoded, and so on: they would wait for ever."""
    decoded, computed = threading.Semaphore(0), []

    def compute():
        if len(computed) < batches - 1:  # no other one follows the last
            assert decoded.acquire(timeout=60)
        computed.append(True)

    skip_first = iter([True])
    extractor = waiting_extractor(
        monkeypatch, decode=lambda: next(skip_first, False) or decoded.release(), compute=compute
    )
    found, photos = extracted_shard(extractor, sample_records, tmp_path)
    batches = -(-len(photos) // BATCH_SIZE)
    assert batches > 2
    for (record,), photo in zip(found, photos, strict=True):
        mean = tf.reduce_mean(tf.cast(decode_jpeg(photo_of(photo)[1]), tf.float32), (0, 1))
        np.testing.assert_allclose(np.frombuffer(features_of(record), np.float16), mean, rtol=1e-3)
    assert len(computed) == batches


@pytest.mark.slow  # goes by the clock
@pytest.mark.parametrize(("decoding", "computing"), [(SECONDS, SECONDS), (SECONDS, 0.3), (0.3, SECONDS)])
def test_extraction_takes_the_longer_of_decoding_and_computing_not_both(
    decoding, computing, sample_records, tmp_path, monkeypatch
):
    extractor = waiting_extractor(
        monkeypatch, decode=lambda: time.sleep(decoding), compute=lambda: time.sleep(computing)
    )
    jpeg = next(iter(read_all(sample_records)[1].values()))[1].jpeg
    extractor(extractor.decode([("", jpeg)]))  # traces
    found, photos = extracted_shard(extractor, sample_records, tmp_path)
    batches = -(-len(photos) // BATCH_SIZE)
    start = time.monotonic()
    assert len(list(found)) == len(photos)
    alone = min(decoding, computing)  # the first batch is only decoded, or the last one only computed
    assert time.monotonic() - start == pytest.approx(batches * max(decoding, computing) + alone, rel=0.1)
