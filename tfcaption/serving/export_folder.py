"""The folder of an export: its files and its description, read without TensorFlow."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import is_local

EXPORT_FILE = "assets.extra/export.json"
INFO_FILES = (EXPORT_FILE, "export.json")  # paths of the description that are accepted


class ExportError(TfcaptionError, ValueError):
    """A path without a usable export; the message names it and the fix."""


class ExportInfo(BaseModel):
    """The fields of `export.json` that using an export needs."""

    model_config = ConfigDict(extra="ignore")
    image_size: int  # pixels, both sides
    resize: str  # squash, crop or pad
    beam: int  # captions per photo


def check_export(path: Path) -> None:
    """Refuse a local path without a SavedModel before TensorFlow takes 4 s to start.

    Raises:
        ExportError: it has no SavedModel.
    """
    if is_local(path) and not (path / "saved_model.pb").is_file():
        raise ExportError(
            f"{path}: not an exported model (saved_model.pb is missing); create one with tfcaption.export"
        )


def load_export_info(path: Path) -> ExportInfo:
    """Read the description of an export.

    Raises:
        ExportError: it is missing or not readable.
    """
    for name in INFO_FILES:
        if (file := path / name).is_file():
            try:
                return ExportInfo.model_validate(json.loads(file.read_text(encoding="utf-8")))
            except (ValidationError, ValueError) as error:
                raise ExportError(f"{file}: does not describe an export ({error}); export it again") from error
    raise ExportError(
        f"{path}: a SavedModel, but not a captioner ({EXPORT_FILE} is missing); create one with tfcaption.export"
    )
