"""The output folder of a job: what is kept, resumed, removed and refused."""

import pytest

from beam_jobs.execution.output_folder import (
    CAPTIONS,
    FEATURES,
    RECORDS,
    check_writable,
    complete_output,
    prepare_output,
)
from beam_jobs.pipelines.captions import CaptionSettings, CaptionsInfo
from tests.conftest import tree_bytes
from tfcaption.runtime.errors import UsageError

SETTINGS = CaptionSettings(model="one", beam=3, batch_size=8, shards=1)
SHARD = "captions-00000-of-00001.jsonl"


@pytest.fixture
def output(tmp_path):
    """A folder that a killed job left: settings, a shard, and a half-written shard."""
    prepare_output(str(tmp_path), CAPTIONS, CaptionsInfo, SETTINGS, overwrite=False)
    (tmp_path / SHARD).write_bytes(b"shard")
    (tmp_path / f"{SHARD}.incomplete-ab12").write_bytes(b"half")
    return tmp_path


def complete(output):
    info = CaptionsInfo(settings=SETTINGS, photos_in=1, captioned=1, rejected={}, shards=[])
    complete_output(str(output), CAPTIONS, info)


def prepared(output, settings=SETTINGS, *, overwrite=False):
    prepare_output(str(output), CAPTIONS, CaptionsInfo, settings, overwrite=overwrite)
    return set(tree_bytes(output))


def test_shards_of_the_same_settings_are_kept_and_half_written_ones_removed(output):
    assert prepared(output) == {SHARD, CAPTIONS.partial}
    complete(output)
    assert set(tree_bytes(output)) == {SHARD, CAPTIONS.description}
    assert prepared(output) == {SHARD, CAPTIONS.description, CAPTIONS.partial}


def test_shards_of_other_settings_or_to_overwrite_are_removed(output):
    assert prepared(output, overwrite=True) == {CAPTIONS.partial}
    (output / SHARD).write_bytes(b"shard")
    assert prepared(output, SETTINGS.model_copy(update={"beam": 2})) == {CAPTIONS.partial}


def test_complete_output_of_other_settings_is_refused_unless_overwritten(output):
    complete(output)
    other = SETTINGS.model_copy(update={"beam": 2})
    with pytest.raises(UsageError, match=r"is complete \(captions.json exists\); add --overwrite"):
        prepared(output, other)
    assert prepared(output, other, overwrite=True) == {CAPTIONS.partial}


@pytest.mark.parametrize("kind", [RECORDS, FEATURES])
def test_the_output_of_another_job_is_refused(output, kind):
    with pytest.raises(UsageError, match="holds captions.incomplete.json of another job; name a new folder"):
        check_writable(str(output), kind, overwrite=True)


def test_a_description_that_cannot_be_read_is_an_error_that_names_it(output):
    (output / CAPTIONS.partial).write_text("{")
    with pytest.raises(UsageError, match=r"captions.incomplete.json: not a description of captions .*; remove it"):
        prepared(output)
