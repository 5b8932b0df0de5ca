"""An error that a step raises for the user reaches the user as it was raised, from whatever process."""

from types import SimpleNamespace

import apache_beam as beam
import pytest

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.options import beam_options
from beam_jobs.execution.runner import run_pipeline
from tests.conftest import IN_MEMORY
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.errors import TfcaptionError, UsageError

TEXT = """Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1498, in process
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "parts.py", line 1, in read_part
beam_jobs.errors.{error} [while running 'ReadPart-ptransform-66']
"""


def run(pipeline, folder):
    return run_pipeline(pipeline, str(folder), total=1, unit="photos", label="writing")


@pytest.mark.parametrize("kind", [JobFailed, SourceError, RecordError, UsageError])
def test_an_error_for_users_from_another_process_is_that_error(kind, tmp_path):
    def fail():
        raise RuntimeError(TEXT.format(error=f"{kind.__name__}: a.csv: no header, see a [manual]"))

    with pytest.raises(TfcaptionError) as error:
        run(SimpleNamespace(run=fail, runner=None, options=None), tmp_path)
    assert type(error.value) is kind and str(error.value) == "a.csv: no header, see a [manual]"


def test_an_error_for_users_in_this_process_loses_the_name_of_the_step(tmp_path):
    def fail(_):
        raise SourceError("a.csv: is empty")

    pipeline = beam.Pipeline(options=beam_options(IN_MEMORY, output=str(tmp_path)))
    _ = pipeline | beam.Create([1]) | beam.Map(fail)
    with pytest.raises(SourceError) as error:
        run(pipeline, tmp_path)
    assert str(error.value) == "a.csv: is empty"
