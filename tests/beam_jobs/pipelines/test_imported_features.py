"""The pipeline of `import_features`, before it runs."""

import apache_beam as beam
import numpy as np

from beam_jobs.pipelines.imported_features import add_steps
from beam_jobs.sources.feature_files import ImportRequest
from beam_jobs.sources.feature_tables import FeatureColumns
from tests.support.records import write_plain_records
from tfcaption.records.dataset_info import load_dataset_info


def test_what_the_starting_process_hands_over_does_not_grow_with_the_photos(tmp_path):
    sizes = []
    for count in (3, 300):
        folder = tmp_path / f"{count:03}"
        photos = {f"{number}.jpg": (["x"], [str(number)]) for number in range(count)}
        records = write_plain_records(folder / "records", {"train": photos})
        for number in range(count):
            np.save(folder / f"{number}.npy", np.ones(2, np.float32))
        request = ImportRequest(records=str(records), source=str(folder), columns=FeatureColumns())
        pipeline = beam.Pipeline()
        add_steps(pipeline, load_dataset_info(records), request, str(folder / "out"))
        sizes.append(pipeline.to_runner_api().ByteSize())
    assert abs(sizes[1] - sizes[0]) < 300  # bytes, of other numbers
