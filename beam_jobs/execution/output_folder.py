"""The output folder of a job: complete output is kept, incomplete output resumed or removed, other files kept."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar, cast

from apache_beam.io.filesystems import FileSystems
from pydantic import BaseModel, ValidationError

from beam_jobs.execution.paths import as_path, delete_files, paths_in
from beam_jobs.execution.progress import remove_progress
from beam_jobs.execution.reading import read_if_exists
from beam_jobs.execution.rejection_files import is_rejection_file
from beam_jobs.execution.shard_writer import TEMPORARY_MARK, write_text
from tfcaption.records.dataset_info import (
    CAPTIONS_FILE,
    DATASET_FILE,
    FEATURES_FILE,
    PARTIAL_FEATURES_FILE,
    REJECTED_FILE,
)
from tfcaption.records.folder_kinds import EXPORT_FILE, RUN_FILE, describe_folder
from tfcaption.records.sharding import is_shard_name, is_sidecar_name
from tfcaption.records.vocabulary import MODEL_FILE, VOCABULARY_FILE
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import LOCK_FILE


@dataclass(frozen=True)
class OutputKind:
    """The files that one kind of job writes beside its shards."""

    name: str  # plural, for messages
    description: str  # written last, so its presence means that the output is complete
    partial: str = ""  # settings of the shards, until the description is written; empty: the job does not resume
    others: tuple[str, ...] = ()

    @property
    def files(self) -> set[str]:
        """All their names."""
        return {self.description, self.partial, *self.others} - {""}


PLAN_FILE = "plan.incomplete.json"  # what a job found out before it reads any photo or features, while it runs
RECORDS = OutputKind("records", DATASET_FILE, others=(REJECTED_FILE, VOCABULARY_FILE, MODEL_FILE, PLAN_FILE))
FEATURES = OutputKind("features", FEATURES_FILE, PARTIAL_FEATURES_FILE, others=(REJECTED_FILE, PLAN_FILE))
CAPTIONS = OutputKind("captions", CAPTIONS_FILE, "captions.incomplete.json", others=(REJECTED_FILE,))


class Description(Protocol):
    """What a complete output says of itself, such as `features.json`."""

    @property
    def settings(self) -> BaseModel:
        """All that decides the bytes of the shards."""

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> Self:
        """See pydantic's `BaseModel`."""


DescriptionType = TypeVar("DescriptionType", bound=Description)
SettingsType = TypeVar("SettingsType", bound=BaseModel)
Parsed = TypeVar("Parsed")


def check_writable(output: str, kind: OutputKind, *, overwrite: bool, compared: str = "") -> None:
    """Refuse an output folder that a job must not write into.

    Args:
        output: the folder.
        kind: what the job writes.
        overwrite: complete output may be replaced.
        compared: for the message, see `compare_settings`.

    Raises:
        UsageError: the folder holds complete output and `overwrite` is false, or another job's files, or only files
            that no job wrote.
    """
    own_files, other_files = _files(output, kind)
    for path in other_files:
        name = _name(path)
        if name in (RUN_FILE, EXPORT_FILE):
            raise UsageError(f"--output {output}: is {describe_folder(as_path(output))}; name a new folder")
        if any(name in other.files for other in (RECORDS, FEATURES, CAPTIONS)):
            raise UsageError(f"--output {output}: holds {name} of another job; name a new folder")
    if other_files and not own_files:
        raise UsageError(f"--output {output}: holds files that no job wrote ({other_files[0]}); name a new folder")
    if FileSystems.join(output, kind.description) in own_files and not overwrite:
        raise UsageError(
            f"--output {output}: is complete ({kind.description} exists){', ' if compared else ''}{compared}; add "
            "--overwrite to replace it, or name another folder"
        )


def compare_settings(before: BaseModel, now: BaseModel) -> str:
    """What is new in the settings of a job, in words: `with other settings: seed was 0, is 5`."""
    old, new = (dict(settings) | settings.model_dump() for settings in (before, now))  # a dump may leave out defaults
    changes = [f"{name} was {old.get(name)}, is {value}" for name, value in new.items() if old.get(name) != value]
    return f"with other settings: {', '.join(changes)}" if changes else "with the same settings"


def prepare_output(
    output: str, kind: OutputKind, description: type[DescriptionType], settings: BaseModel, *, overwrite: bool
) -> None:
    """Make an output folder ready for shards of `settings`, and write the settings there.

    Shards that an earlier run with the same settings wrote are kept, whether it finished or not.

    Args:
        output: the folder.
        kind: what the job writes.
        description: the type of its description.
        settings: all that decides the bytes of the shards.
        overwrite: replace complete output, and keep no shard.

    Raises:
        UsageError: the job must not write into the folder, see `check_writable`; or a description in it is not
            readable.
    """
    previous = previous_settings(output, kind, description, type(settings))
    resumes = previous == settings and not overwrite
    compared = compare_settings(previous, settings) if previous else ""
    check_writable(output, kind, overwrite=overwrite or resumes, compared=compared)
    if resumes:
        remove_partial_files(output, kind)
    else:
        remove_previous(output, kind)
    write_text(output, kind.partial, settings.model_dump_json(indent=1) + "\n")


def previous_settings(
    output: str, kind: OutputKind, description: type[Description], settings: type[SettingsType]
) -> SettingsType | None:
    """The settings of the output in the folder, complete or not; None if there is none.

    Args:
        output: the folder.
        kind: what the job writes.
        description: the type of its description.
        settings: their type.

    Raises:
        UsageError: a description in the folder is not readable.
    """
    complete = read_description(output, kind, description)
    if complete:
        return cast(SettingsType, complete.settings)
    return _read(output, kind, kind.partial, settings.model_validate_json)


def is_complete(output: str, kind: OutputKind) -> bool:
    """Whether the description is there."""
    return FileSystems.exists(FileSystems.join(output, kind.description))


def complete_output(output: str, kind: OutputKind, description: BaseModel) -> None:
    """Remove what killed workers have half written, write the description, and remove the partial settings."""
    _remove_half_written(output, kind)
    write_text(output, kind.description, description.model_dump_json(indent=1) + "\n")
    if kind.partial:
        remove_file(output, kind.partial)


def read_description(output: str, kind: OutputKind, description: type[DescriptionType]) -> DescriptionType | None:
    """The description of complete output; None if there is none.

    Raises:
        UsageError: the description is not readable.
    """
    return _read(output, kind, kind.description, description.model_validate_json)


def remove_previous(output: str, kind: OutputKind, *, keep_shards: bool = False, running: bool = False) -> None:
    """Remove the files of an earlier run, the description first, so that the rest never looks complete.

    Args:
        output: the folder.
        kind: what the job writes.
        keep_shards: leave shards, and what says how they were made.
        running: a step of the job asks for it, whose plan and progress stay.
    """
    own_files, _ = _files(output, kind)
    description, plan = (FileSystems.join(output, name) for name in (kind.description, PLAN_FILE))
    removed = [path for path in own_files if path != plan and not (keep_shards and _of_shard(path))]
    delete_files(path for path in removed if path == description)
    delete_files(path for path in removed if path != description)
    if not running:
        remove_progress(output)


def remove_partial_files(output: str, kind: OutputKind) -> None:
    """Remove only the half-written files of a killed run, and those that are of no use without it."""
    own_files, _ = _files(output, kind)
    delete_files((path for path in own_files if not _of_shard(path) and _name(path) not in kind.files), missing_ok=True)
    remove_progress(output)


def _remove_half_written(output: str, kind: OutputKind) -> None:
    own_files, _ = _files(output, kind)
    # One may be missing: a worker that an engine has given up has just ended.
    delete_files((path for path in own_files if TEMPORARY_MARK in _name(path)), missing_ok=True)


def remove_leftovers(output: str, kind: OutputKind, shards: Iterable[str]) -> None:
    """Remove all that complete output does not need: other shards, and files that only serve a rerun.

    Args:
        output: the folder.
        kind: what the job wrote.
        shards: names of the shards that the description names.
    """
    needed = kind.files | set(shards)
    own_files, _ = _files(output, kind)
    delete_files((path for path in own_files if _name(path) not in needed), missing_ok=True)


def remove_rejection_files(output: str) -> None:
    """Remove the sorted parts of `rejected.jsonl` of a job that failed."""
    delete_files((path for path in paths_in(output) if is_rejection_file(_name(path))), missing_ok=True)


def remove_file(output: str, name: str) -> None:
    """Remove one file, if it exists."""
    path = FileSystems.join(output, name)
    if FileSystems.exists(path):
        delete_files([path])


def _files(output: str, kind: OutputKind) -> tuple[list[str], list[str]]:
    """Paths directly in `output` that this kind of job wrote, and all others except the lock."""
    own_files: list[str] = []
    other_files: list[str] = []
    for path in paths_in(output):
        name = _name(path).partition(TEMPORARY_MARK)[0]
        if name != LOCK_FILE:
            own = name in kind.files or is_shard_name(name) or is_sidecar_name(name)
            (own_files if own else other_files).append(path)
    return own_files, other_files


def _name(path: str) -> str:
    return FileSystems.split(path)[1]


def _of_shard(path: str) -> bool:
    """Whether a file is a shard, or the file beside one."""
    name = _name(path)
    return (is_shard_name(name) and not is_rejection_file(name)) or is_sidecar_name(name)


def _read(output: str, kind: OutputKind, name: str, parse: Callable[[bytes], Parsed]) -> Parsed | None:
    content = read_if_exists(output, name)
    if content is None:
        return None
    try:
        return parse(content)
    except ValidationError as error:
        first = error.errors()[0]
        problem = ": ".join([*map(str, first["loc"]), first["msg"]])
        path = FileSystems.join(output, name)
        raise UsageError(f"{path}: not a description of {kind.name} ({problem}); remove it") from error
