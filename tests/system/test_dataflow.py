"""Jobs for Google Cloud Dataflow: built and rewritten by its runner, never submitted."""

from pathlib import Path

import apache_beam as beam
import pytest

from beam_jobs import build_records
from beam_jobs.execution.options import beam_options
from beam_jobs.pipelines.record_shards import TokenizedPhoto, WriteShard
from beam_jobs.pipelines.records import Tokenize, add_steps
from beam_jobs.sources.base import Listing
from beam_jobs.sources.reader import read_source
from tfcaption.records.dataset_info import RecordSettings
from tfcaption.records.statistics import VocabularyCounts
from tfcaption.records.vocabulary import SPECIAL_TOKENS

pytest.importorskip("apitools", reason="needs apache-beam[gcp]: pip install 'tfcaption[gcp]'")
from apache_beam import coders
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


def records_settings(listing):
    return RecordSettings(
        **{"source": listing.source, "image_size": 32, "resize": "squash", "min_count": 1, "max_words": 9, "seed": 0},
        **{"shards": 3, "shares": {}, "pillow_version": ""},
    )


def records_job(listing, output, flags=FLAGS):
    """The job of build_records, as its runner would submit it."""
    output.mkdir()
    pipeline = beam.Pipeline(options=beam_options(flags, output=str(output)))
    add_steps(pipeline, listing, records_settings(listing), output=str(output), max_rejected=0.01)
    return pipeline.run().job.proto_pipeline


@pytest.fixture(scope="module")
def listing(sample):
    return read_source(*sample)


@pytest.fixture(scope="module")
def job(listing, tmp_path_factory):
    return records_job(listing, tmp_path_factory.mktemp("job") / "out")


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
    expected = {"Listing", "ReadListing", "Tokenize", "CountWords", "Vocabulary", "ToShards", "WriteShard"}
    expected |= {"Rejections", "ReadRejections", "Totals", "ToDigests", "FindDuplicates"}
    expected |= {"Rejected", "RejectedFiles", "Once", "Finish"}
    assert {name for name in names if not name.startswith("ref_AppliedPTransform")} == expected


def test_photos_go_to_their_shards_before_they_are_opened(job):
    (step,) = [step for step in groups(job) if step.unique_name == "ToShards"]
    assert not [name for name in upstream(job, step) if name.startswith("WriteShard")]
    (finish,) = [step for step in job.components.transforms.values() if step.unique_name == "Finish"]
    assert [name for name in upstream(job, finish) if name.startswith("WriteShard")]  # so that the search can find it


def test_a_few_hundred_bytes_per_photo_are_shuffled(listing):
    tokenize = Tokenize({"train": 3, "dev": 1, "test": 1}, seed=0, first=listing.photos[0].id)
    shuffled = [element for element in tokenize.process(listing.photos) if isinstance(element, tuple)]
    assert len(shuffled) == 60 + 5  # one element for each shard, so that empty shards are written
    coder = coders.TupleCoder([coders.StrUtf8Coder(), coders.FastPrimitivesCoder()])
    letters = sum(len(caption) for photo in listing.photos for caption in photo.captions)
    assert sum(len(coder.encode(element)) for element in shuffled) < 5 * letters + 60 * 600


def test_less_than_a_hundred_bytes_per_photo_follow_a_shard(listing, tmp_path):
    tokenized = [TokenizedPhoto(photo, tuple(("a",) for _ in photo.captions)) for photo in listing.photos]
    vocabulary = VocabularyCounts.of([*SPECIAL_TOKENS, "a"], {"a": 1})
    write = WriteShard(records_settings(listing), str(tmp_path))
    _, *of_photos = write.process(("train-00000-of-00001.tfrecord", tokenized), vocabulary)
    assert len(of_photos) == len(listing.photos)
    coder = coders.FastPrimitivesCoder()
    assert sum(len(coder.encode(output.value)) for output in of_photos) < 100 * len(of_photos)


def test_keys_have_the_same_bytes_on_every_worker(job):
    for step in groups(job):
        (collection,) = step.inputs.values()
        kinds = job.components.coders[job.components.pcollections[collection].coder_id]
        assert kinds.spec.urn == common_urns.coders.KV.urn
        key = job.components.coders[kinds.component_coder_ids[0]].spec
        if key.urn == "beam:coder:pickled_python:v1":
            assert b"Deterministic" in key.payload, step.unique_name
        else:
            assert key.urn in (common_urns.coders.VARINT.urn, common_urns.coders.BYTES.urn), step.unique_name


def test_workers_get_the_package_and_run_in_the_image(job):
    (environment,) = job.components.environments.values()
    payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    assert environment.urn == common_urns.environments.DOCKER.urn and payload.container_image == IMAGE
    staged = b" ".join(artifact.role_payload for artifact in environment.dependencies)
    assert b"workflow.tar.gz" in staged and b"pickled_main_session" not in staged


def test_the_job_does_not_grow_with_the_data(listing, job, tmp_path):
    longer = Listing(listing.photos * 50, listing.rejections * 50, source=listing.source)
    assert abs(records_job(longer, tmp_path / "out").ByteSize() - job.ByteSize()) < 500


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
