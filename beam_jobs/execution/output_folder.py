"""The folder a job writes into: complete ones are kept, incomplete ones cleaned, strangers' files never touched."""

from apache_beam.io.filesystems import FileSystems

from beam_jobs.execution.progress import remove_progress
from beam_jobs.execution.shard_writer import TEMPORARY_MARK
from tfcaption.records.dataset_info import (
    CAPTIONS_FILE,
    DATASET_FILE,
    FEATURES_FILE,
    PARTIAL_FEATURES_FILE,
    REJECTED_FILE,
)
from tfcaption.records.sharding import is_shard_name
from tfcaption.records.vocabulary import VOCABULARY_FILE
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import LOCK_FILE

PARTIAL_CAPTIONS_FILE = "captions.incomplete.json"  # settings of shards of captions, until captions.json is written
# The description that a job writes last -> the other files it writes beside the shards
_OWN_FILES = {
    DATASET_FILE: (DATASET_FILE, REJECTED_FILE, VOCABULARY_FILE),
    FEATURES_FILE: (FEATURES_FILE, PARTIAL_FEATURES_FILE),
    CAPTIONS_FILE: (CAPTIONS_FILE, PARTIAL_CAPTIONS_FILE, REJECTED_FILE),
}


def _own_files(output: str, description: str) -> tuple[list[str], list[str]]:
    """Paths directly in `output` that a job wrote, and all others but the lock."""
    found = FileSystems.match([FileSystems.join(output, "*")])[0].metadata_list
    mine: list[str] = []
    others: list[str] = []
    for path in sorted(item.path for item in found):
        name = FileSystems.split(path)[1].partition(TEMPORARY_MARK)[0]
        if name != LOCK_FILE:
            (mine if name in _OWN_FILES[description] or is_shard_name(name) else others).append(path)
    return mine, others


def check_writable(output: str, *, overwrite: bool, description: str) -> None:
    """Refuse an output folder that a job must not write into.

    Args:
        output: the folder.
        overwrite: complete output may be made again.
        description: the file that the job writes last: `dataset.json`, `features.json` or `captions.json`.

    Raises:
        ValueError: the folder holds complete output and `overwrite` is false, or another job's, or strangers' files.
    """
    mine, others = _own_files(output, description)
    for other, files in _OWN_FILES.items():
        if other != description:
            for path in others:
                if FileSystems.split(path)[1] in files:
                    raise UsageError(
                        f"--output {output}: holds {FileSystems.split(path)[1]} of another job; name a new folder"
                    )
    if others and not mine:
        raise UsageError(f"--output {output}: holds files of others ({others[0]}); name a new folder")
    if FileSystems.join(output, description) in mine and not overwrite:
        raise UsageError(
            f"--output {output}: is complete (it has {description}); add --overwrite to make it again, "
            "or name another folder"
        )


def remove_previous(output: str, *, description: str) -> None:
    """Remove what an earlier run of a job left, its description first, so that the rest never looks complete."""
    mine, _ = _own_files(output, description)
    last = FileSystems.join(output, description)
    for paths in ([last] if last in mine else [], [path for path in mine if path != last]):
        if paths:
            FileSystems.delete(paths)
    remove_progress(output)


def remove_partial_files(output: str, *, description: str) -> None:
    """Remove only the half-written files that a killed run left."""
    mine, _ = _own_files(output, description)
    halves = [path for path in mine if TEMPORARY_MARK in path]
    if halves:
        FileSystems.delete(halves)
    remove_progress(output)


def remove_file(output: str, name: str) -> None:
    """Remove one file, if it is there."""
    path = FileSystems.join(output, name)
    if FileSystems.exists(path):
        FileSystems.delete([path])
