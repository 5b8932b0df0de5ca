"""Jobs for Google Cloud Dataflow: built and rewritten by its runner, never submitted."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.pvalue import TaggedOutput

from beam_jobs import build_records
from beam_jobs.execution.options import beam_options
from beam_jobs.pipelines.captioned_photos import JoinPhotos, ReadPart
from beam_jobs.pipelines.packed import packed, unpacked
from beam_jobs.pipelines.record_shards import TokenizedPhoto, WriteShard
from beam_jobs.pipelines.records import RecordsJob, add_steps
from beam_jobs.sources.parts import ReadFacts, parts_of
from beam_jobs.sources.reader import find_data_set
from tests.support.sources import read_source
from tfcaption.benchmarks.harness import repeated_photos
from tfcaption.records.dataset_info import RecordSettings
from tfcaption.records.statistics import Totals, VocabularyCounts
from tfcaption.records.vocabulary import SPECIAL_TOKENS

pytest.importorskip("apitools", reason="needs apache-beam[gcp]: pip install 'tfcaption[gcp]'")
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

ROOT = Path(__file__).parents[2]
IMAGE = "europe-west1-docker.pkg.dev/project/images/tfcaption:0.1.0"
FLAGS = [
    *("--runner=DataflowRunner", "--dry_run=True", "--project=tfcaption-test", "--region=europe-west1", "--no_auth"),
    *("--temp_location=gs://tfcaption-test/tmp", "--staging_location=gs://tfcaption-test/staging"),
    *(f"--setup_file={ROOT / 'setup.py'}", f"--sdk_container_image={IMAGE}", "--sdk_location=container"),
]
GROUP_BY_KEY = common_urns.primitives.GROUP_BY_KEY.urn


SETTINGS = RecordSettings(
    **{"source": "flickr8k", "image_size": 32, "resize": "squash", "min_count": 1, "max_words": 9, "seed": 0},
    **{"shards": 3, "shares": {}, "pillow_version": ""},
)


def records_job(images, captions, output, flags=FLAGS):
    """The job of build_records, as its runner would submit it."""
    output.mkdir()
    data_set = find_data_set(images, captions)
    pipeline = beam.Pipeline(options=beam_options(flags, output=str(output)))
    add_steps(pipeline, RecordsJob([data_set.for_workers()], SETTINGS, str(output)), parts_of(data_set))
    return pipeline.run().job.proto_pipeline


@pytest.fixture(scope="module")
def job(sample, tmp_path_factory):
    return records_job(*sample, tmp_path_factory.mktemp("job") / "out")


def producers(job):
    """Collection -> the step that produces it."""
    steps = job.components.transforms.values()
    return {made: step for step in steps if not step.subtransforms for made in step.outputs.values()}


def upstream(job, step):
    """The names of all steps upstream of a step."""
    producer_of, names, collections = producers(job), set(), [*step.inputs.values()]
    while collections:
        producer = producer_of.get(collections.pop())
        if producer is not None and producer.unique_name not in names:
            names.add(producer.unique_name)
            collections += producer.inputs.values()
    return names


def groups(job):
    return [step for step in job.components.transforms.values() if step.spec.urn == GROUP_BY_KEY]


def test_the_steps_have_names(job):
    names = {step.unique_name.partition("/")[0] for step in job.components.transforms.values()}
    expected = {"Parts", "ReadPart", "SumRead", "ByName", "JoinPhotos", "SumJoined", "Decide", "HeldOut"}
    expected |= {"ReadHeldOut", "CountSplits", "SumSplits", "Plan", "ChooseShards", "Totals"}
    expected |= {"CountWords", "Vocabulary", "ToShards", "WriteShard"}
    expected |= {"ToDigests", "FindDuplicates"}
    expected |= {"Rejected", "RejectedFiles", "Once", "Finish"}
    assert {name for name in names if not name.startswith("ref_AppliedPTransform")} == expected


def test_photos_go_to_their_shards_before_they_are_opened(job):
    (step,) = [step for step in groups(job) if step.unique_name == "ToShards"]
    assert not [name for name in upstream(job, step) if name.startswith("WriteShard")]
    (finish,) = [step for step in job.components.transforms.values() if step.unique_name == "Finish"]
    assert [name for name in upstream(job, finish) if name.startswith("WriteShard")]  # so that the search can find it


def test_a_few_hundred_bytes_per_photo_are_shuffled(sample):
    data_set = find_data_set(*sample)
    found = [each for part in parts_of(data_set) for each in ReadPart([data_set]).process(part, {})]
    read = ReadFacts()
    for each in found:
        if isinstance(each, TaggedOutput) and isinstance(each.value, dict):
            read.merge(each.value[0])
    batches = [batch for bucket, batch in (each for each in found if isinstance(each, tuple)) if bucket == 0]
    assert len(batches) == sum(isinstance(each, tuple) for each in found)  # of 60 photos there is one bucket
    joining = JoinPhotos([data_set], "words", "").process((0, batches), {0: read})
    joined = [each for each in joining if isinstance(each, bytes)]
    (chunk,) = map(unpacked, joined)
    letters = sum(len(caption) for photo, _ in chunk.photos for caption in photo.captions)
    assert len(chunk.photos) == 60 and chunk.first
    assert sum(map(len, batches)) < 5 * letters + 60 * 600 and sum(map(len, joined)) < 5 * letters + 60 * 600


def test_less_than_a_hundred_bytes_per_photo_follow_a_shard(sample, tmp_path):
    photos = read_source(*sample).photos
    tokenized = [TokenizedPhoto(photo, tuple(("a",) for _ in photo.captions)) for photo in photos]
    vocabulary = VocabularyCounts.of([*SPECIAL_TOKENS, "a"], {"a": 1})
    element = ("train-00000-of-00001.tfrecord", [packed(tokenized)])
    _, *outputs = WriteShard(SETTINGS, str(tmp_path)).process(element, vocabulary, Totals(len(photos), len(photos)))
    ((_, compared),) = (output.value for output in outputs)
    assert len(unpacked(compared)[1]) == len(photos) and len(compared) < 100 * len(photos)


def test_keys_have_the_same_bytes_on_every_worker(job):
    for step in groups(job):
        (collection,) = step.inputs.values()
        kinds = job.components.coders[job.components.pcollections[collection].coder_id]
        assert kinds.spec.urn == common_urns.coders.KV.urn
        key = job.components.coders[kinds.component_coder_ids[0]].spec
        if key.urn == "beam:coder:pickled_python:v1":
            assert b"Deterministic" in key.payload, step.unique_name
        else:
            plain = (common_urns.coders.VARINT, common_urns.coders.BYTES, common_urns.coders.STRING_UTF8)
            assert key.urn in [kind.urn for kind in plain], step.unique_name


def test_workers_get_the_package_and_run_in_the_image(job):
    (environment,) = job.components.environments.values()
    payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    assert environment.urn == common_urns.environments.DOCKER.urn and payload.container_image == IMAGE
    staged = b" ".join(artifact.role_payload for artifact in environment.dependencies)
    assert b"workflow.tar.gz" in staged and b"pickled_main_session" not in staged


def test_the_job_does_not_grow_with_the_data(job, sample, tmp_path):
    with repeated_photos(sample[0], 600) as (images, texts, _):
        assert (
            abs(records_job(images, texts, tmp_path / "out").ByteSize() - job.ByteSize()) < 2_000
        )  # paths of other lengths


def test_an_output_that_the_workers_do_not_share_is_refused(sample, tmp_path, capsys):
    images, texts = sample
    command = ["--images", str(images), "--captions", str(texts), "--output", str(tmp_path / "out")]
    assert build_records.main([*command, *(flag for flag in FLAGS if "dry_run" not in flag)]) == 1
    assert f"--output {tmp_path / 'out'}: a path of this machine" in capsys.readouterr().err
    given = beam_options(["--runner=DataflowRunner"], output="gs://bucket/records").get_all_options()
    assert given["runner"] == "DataflowRunner"


def test_a_dry_run_of_the_command_reports_that_nothing_ran(sample, tmp_path, capsys):
    images, texts = map(str, sample)
    arguments = ["--images", images, "--captions", texts, "--output", str(tmp_path / "out"), *FLAGS]
    assert build_records.main(arguments) == 0
    assert "nothing ran" in capsys.readouterr().out
    assert not (tmp_path / "out" / "dataset.json").exists()
