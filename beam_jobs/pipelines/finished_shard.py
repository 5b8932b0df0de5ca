"""What `build_records` keeps beside each shard until the records are complete, so that a rerun can keep the shard."""

import hashlib
import json
from collections.abc import Iterable
from typing import Self

from apache_beam.io.filesystems import FileSystems
from pydantic import BaseModel, ConfigDict

from beam_jobs.execution.output_folder import remove_file
from beam_jobs.execution.paths import open_file
from beam_jobs.execution.reading import read_if_exists
from beam_jobs.execution.shard_writer import write_text
from tfcaption.records.dataset_info import RecordSettings, Rejection
from tfcaption.records.sharding import sidecar_name
from tfcaption.records.statistics import Statistics, VocabularyCounts


class FinishedShard(BaseModel):
    """A shard that was written, with all that the description of the records needs of it."""

    model_config = ConfigDict(extra="forbid")
    made_from: str  # see `fingerprint`
    statistics: Statistics  # with one shard
    file_digests: dict[str, str]  # photo id -> hash of its file
    rejections: list[Rejection]

    @classmethod
    def read(cls, output: str, name: str, made_from: str) -> Self | None:
        """What lies beside a shard; None unless the shard was made from the same, and has all its bytes."""
        content = read_if_exists(output, sidecar_name(name))
        if content is None:
            return None
        try:
            finished = cls.model_validate(json.loads(content))
            (shard,) = finished.statistics.shards
        except ValueError:
            return None
        path = FileSystems.join(output, name)
        if finished.made_from != made_from or not FileSystems.exists(path):
            return None
        digest = hashlib.sha256()
        with open_file(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return finished if digest.hexdigest() == shard.sha256 else None

    def write(self, output: str) -> None:
        """Write it beside its shard."""
        (shard,) = self.statistics.shards
        # Not pydantic's own JSON, which takes no path that is not UTF-8.
        write_text(output, sidecar_name(shard.name), json.dumps(self.model_dump()))


def remove_finished(output: str, name: str) -> None:
    """Remove what lies beside a shard, before the shard is written again."""
    remove_file(output, sidecar_name(name))


def fingerprint(settings: RecordSettings, vocabulary: VocabularyCounts, photos: Iterable[object]) -> str:
    """sha256 of all that decides the bytes of a shard, but for the content of its photos' files.

    Args:
        settings: of the records.
        vocabulary: the token ids of words.
        photos: the shard's photos in their order, with their captions and words.
    """
    digest = hashlib.sha256(settings.model_dump_json().encode())
    digest.update("\n".join(vocabulary.words).encode())
    for photo in photos:
        digest.update(f"\n{photo!r}".encode())
    return digest.hexdigest()
