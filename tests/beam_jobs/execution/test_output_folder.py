"""The output folder of a job: what is kept, resumed, removed and refused."""

import pytest
from pydantic import BaseModel, Field

from beam_jobs.execution.options import beam_options
from beam_jobs.execution.output_folder import (
    CAPTIONS,
    FEATURES,
    RECORDS,
    check_writable,
    compare_settings,
    complete_output,
    prepare_output,
)
from beam_jobs.execution.paths import paths_in
from beam_jobs.execution.shard_writer import write_text
from tests.conftest import tree_bytes
from tests.support.object_stores import STORES
from tfcaption.runtime.errors import UsageError


class Settings(BaseModel):
    """Settings of a job."""

    model: str
    beam: int


class Info(BaseModel):
    """The description of its output."""

    settings: Settings


SETTINGS = Settings(model="one", beam=3)
SHARD = "captions-00000-of-00001.jsonl"


@pytest.fixture
def output(tmp_path):
    """A folder that a killed job left: settings, a shard, and a half-written shard."""
    prepare_output(str(tmp_path), CAPTIONS, Info, SETTINGS, overwrite=False)
    (tmp_path / SHARD).write_bytes(b"shard")
    (tmp_path / f"{SHARD}.incomplete-ab12").write_bytes(b"half")
    return tmp_path


def complete(output):
    complete_output(str(output), CAPTIONS, Info(settings=SETTINGS))


def prepared(output, settings=SETTINGS, *, overwrite=False):
    prepare_output(str(output), CAPTIONS, Info, settings, overwrite=overwrite)
    return set(tree_bytes(output))


def test_complete_output_holds_no_half_of_a_shard_that_an_engine_wrote_again(output):
    (output / "notes.txt.incomplete-ab12").write_bytes(b"a user's")
    complete(output)
    assert set(tree_bytes(output)) == {SHARD, CAPTIONS.description, "notes.txt.incomplete-ab12"}


def test_shards_of_the_same_settings_are_kept_and_half_written_ones_removed(output):
    assert prepared(output) == {SHARD, CAPTIONS.partial}
    complete(output)
    assert set(tree_bytes(output)) == {SHARD, CAPTIONS.description}
    assert prepared(output) == {SHARD, CAPTIONS.description, CAPTIONS.partial}


def test_shards_of_other_settings_or_to_overwrite_are_removed(output):
    assert prepared(output, overwrite=True) == {CAPTIONS.partial}
    (output / SHARD).write_bytes(b"shard")
    assert prepared(output, SETTINGS.model_copy(update={"beam": 2})) == {CAPTIONS.partial}


def test_complete_output_of_other_settings_is_refused_unless_overwritten_and_the_refusal_names_them(output):
    complete(output)
    other = SETTINGS.model_copy(update={"beam": 2})
    message = (
        r"is complete \(captions.json exists\), with other settings: beam was 3, is 2; add --overwrite to replace it"
    )
    with pytest.raises(UsageError, match=message):
        prepared(output, other)
    assert prepared(output, other, overwrite=True) == {CAPTIONS.partial}


def test_settings_that_a_description_leaves_out_are_compared_too():
    class Newer(Settings):
        kind: str = Field(default="usual", exclude_if=lambda value: value == "usual")

    usual, other = Newer(model="a", beam=1), Newer(model="a", beam=1, kind="other")
    assert compare_settings(usual, other) == "with other settings: kind was usual, is other"
    assert compare_settings(other, usual) == "with other settings: kind was other, is usual"
    assert compare_settings(other, other) == "with the same settings"


@pytest.mark.parametrize("kind", [RECORDS, FEATURES])
def test_the_output_of_another_job_is_refused(output, kind):
    with pytest.raises(UsageError, match="holds captions.incomplete.json of another job; name a new folder"):
        check_writable(str(output), kind, overwrite=True)


@pytest.mark.parametrize(("file", "is_a"), [("config.yaml", "a run directory"), ("saved_model.pb", "an export")])
def test_a_run_or_an_export_is_refused_for_what_it_is_even_to_overwrite(tmp_path, file, is_a):
    (tmp_path / file).touch()
    (tmp_path / RECORDS.description).write_text("{}")  # a run holds a copy of its records' description
    with pytest.raises(UsageError, match=f"is {is_a}; name a new folder"):
        check_writable(str(tmp_path), RECORDS, overwrite=True)


def test_a_description_that_cannot_be_read_is_an_error_that_names_it(output):
    (output / CAPTIONS.partial).write_text("{")
    with pytest.raises(UsageError, match=r"captions.incomplete.json: not a description of captions .*; remove it"):
        prepared(output)


ODD_NAMES = (
    *("run[1]", "[", "run[!1]", "*", "run?", "{a,b}", "a b #%41", "~", "-x", "\u96ea \u2019", "a'\"b", "x" * 200),
    *("a\\b", "a\nb"),
)


def places():
    """(place, name of a folder there); the server of Google's API cannot read `?` and `#`."""
    yield from (("local", name) for name in ODD_NAMES)
    of_stores = [("gs", name) for name in ("run[1]", "*", "{a,b}", "a'\"b")] + [("s3", "run[1]"), ("s3", "a b #%41")]
    for place, name in of_stores:  # a server takes 20 s to start
        yield pytest.param(place, name, marks=pytest.mark.slow)


@pytest.mark.parametrize(("place", "name"), list(places()))
def test_complete_output_is_kept_unless_overwritten_whatever_the_name_of_its_folder(place, name, tmp_path, monkeypatch):
    above = str(tmp_path)
    if place != "local":
        store = STORES[place](monkeypatch)
        above = store.url
        beam_options(store.flags, output=above)
    output, beside = f"{above}/{name}", f"{above}/run1"  # which `run[1]` would match as a pattern
    for folder in (output, beside):
        assert paths_in(folder) == []
        prepare_output(folder, CAPTIONS, Info, SETTINGS, overwrite=False)
        write_text(folder, SHARD, "shard")
        complete_output(folder, CAPTIONS, Info(settings=SETTINGS))
        write_text(folder, f"{SHARD}.incomplete-ab12", "half")  # by a worker that ended after its job
    with pytest.raises(UsageError, match="is complete"):
        check_writable(output, CAPTIONS, overwrite=False)
    prepare_output(output, CAPTIONS, Info, SETTINGS, overwrite=False)
    names = [path.rpartition("/")[2] for path in paths_in(output)]
    assert names == sorted([SHARD, CAPTIONS.description, CAPTIONS.partial])
    prepare_output(output, CAPTIONS, Info, SETTINGS, overwrite=True)
    assert paths_in(output) == [f"{output}/{CAPTIONS.partial}"]
    assert len(paths_in(beside)) == 3
