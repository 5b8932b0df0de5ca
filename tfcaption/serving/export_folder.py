"""The folder of an export: its files and its description, read without TensorFlow."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.folder_kinds import EXPORT_FILE, describe_folder, has_file
from tfcaption.runtime.errors import TfcaptionError, UsageError
from tfcaption.runtime.paths import is_local

INFO_FILE = "assets.extra/export.json"
PHOTO_SIGNATURE = "from_pixels"  # of prepared photos
INFO_FILES = (INFO_FILE, "export.json")  # paths of the description that are accepted


class ExportError(TfcaptionError, ValueError):
    """A path without a usable export; the message names it and the fix."""


class ExportInfo(BaseModel):
    """The fields of `export.json` that using an export needs."""

    model_config = ConfigDict(extra="ignore")
    image_size: int  # pixels, both sides
    resize: str  # squash, crop or pad
    options: CaptionOptions = Field(validation_alias="search")  # that it was exported with
    run: str = ""  # directory that it was exported from
    signatures: dict[str, Any] = {}  # name -> inputs and outputs

    @property
    def its_run(self) -> str:
        """The run that it was exported from, in words."""
        return f"its run, {self.run}," if self.run else "the run that it was exported from"

    def check_takes_photos(self, path: Path) -> None:
        """Refuse an export that takes features only.

        Raises:
            ExportError: it is one.
        """
        if self.signatures and PHOTO_SIGNATURE not in self.signatures:
            raise ExportError(
                f"{path}: captions features that were made elsewhere, not photos: its signature is "
                f"{' and '.join(self.signatures)}"
            )

    def check(self, options: CaptionOptions, path: Path) -> None:
        """Refuse options that the export at `path` was not made with; `nbest` may be any number that it gives.

        Raises:
            UsageError: they differ from its own.
        """
        own = self.options
        changed = {name: value for name, value in options.as_json().items() if value != own.as_json()[name]}
        if changed.pop("nbest", 0) > own.available:
            raise UsageError(
                f"--nbest {options.nbest}: {path} gives {own.available} captions of each photo; name {self.its_run} "
                f"instead, or export it again with --nbest {options.nbest}"
            )
        if changed:
            name, value = next(iter(changed.items()))
            raise UsageError(
                f"--{name} {value}: {path} was exported with {own}; name {self.its_run} instead, or export it again "
                f"with --{name} {value}"
            )


def check_export(path: Path) -> None:
    """Refuse a local path without a SavedModel before TensorFlow takes 4 s to start.

    Raises:
        ExportError: it has no SavedModel.
    """
    if is_local(path) and not has_file(path, EXPORT_FILE):
        raise ExportError(
            f"{path}: is {describe_folder(path)}, not an exported model; create one with tfcaption.export"
        )


def load_export_info(path: Path) -> ExportInfo:
    """Read the description of an export.

    Raises:
        ExportError: it is missing or not readable.
    """
    described = read_description(path)
    if "beam" in described:  # exports of earlier versions name nothing else of the search
        described.setdefault("search", {"beam": described["beam"], "no_repeat_ngram": 0})
    try:
        return ExportInfo.model_validate(described)
    except ValidationError as error:
        raise _undescribed(path, error) from error


def read_description(path: Path) -> dict[str, Any]:
    """All that `export.json` says of an export.

    Raises:
        ExportError: it is missing or not readable.
    """
    for file in (path / name for name in INFO_FILES):
        if file.is_file():
            try:
                return dict(json.loads(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise _undescribed(path, error) from error
    raise ExportError(
        f"{path}: a SavedModel, but not a captioner ({INFO_FILE} is missing); create one with tfcaption.export"
    )


def _undescribed(path: Path, error: Exception) -> ExportError:
    file = next(path / name for name in INFO_FILES if (path / name).is_file())
    return ExportError(f"{file}: does not describe an export ({error}); export it again")
