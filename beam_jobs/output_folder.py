"""The folder a job writes into: complete ones are kept, incomplete ones cleaned, strangers' files never touched."""

import shutil
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from beam_jobs.options import PROGRESS_FOLDER, is_local
from beam_jobs.shards import TEMPORARY_MARK
from tfcaption.records import DATASET_FILE, REJECTED_FILE, VOCABULARY_FILE, is_shard_name

_OWN_FILES = (DATASET_FILE, REJECTED_FILE, VOCABULARY_FILE)


def _own_files(output: str) -> tuple[list[str], list[str]]:
    """Paths directly in `output` that a job wrote, and all others."""
    found = FileSystems.match([FileSystems.join(output, "*")])[0].metadata_list
    mine: list[str] = []
    others: list[str] = []
    for path in sorted(item.path for item in found):
        name = FileSystems.split(path)[1].partition(TEMPORARY_MARK)[0]
        (mine if name in _OWN_FILES or is_shard_name(name) else others).append(path)
    return mine, others


def check(output: str, *, overwrite: bool) -> None:
    """Refuse an output folder that a job must not write into.

    Raises:
        ValueError: the folder holds complete records and `overwrite` is false, or holds only files of others.
    """
    if is_local(output) and Path(output).exists() and not Path(output).is_dir():
        raise ValueError(f"--output {output}: is a file; name a folder")
    mine, others = _own_files(output)
    if others and not mine:
        raise ValueError(f"--output {output}: holds files that are no records ({others[0]}); name a new folder")
    if FileSystems.join(output, DATASET_FILE) in mine and not overwrite:
        raise ValueError(
            f"--output {output}: holds complete records; add --overwrite to build them again, or name another folder"
        )


def clean(output: str) -> None:
    """Remove what an earlier run of a job left, `dataset.json` first, so that the rest never looks complete."""
    mine, _ = _own_files(output)
    dataset = FileSystems.join(output, DATASET_FILE)
    for paths in ([dataset] if dataset in mine else [], [path for path in mine if path != dataset]):
        if paths:
            FileSystems.delete(paths)
    remove_progress(output)


def remove_progress(output: str) -> None:
    """Remove the workers' progress files of a finished run."""
    if is_local(output):
        shutil.rmtree(Path(output) / PROGRESS_FOLDER, ignore_errors=True)
