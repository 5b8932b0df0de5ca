"""A captioner by its name: a run directory, an export or a model on the Hugging Face Hub, found without TensorFlow and
opened with it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.folder_kinds import EXPORT_FILE, RUN_FILE, describe_folder, exports_below, has_file
from tfcaption.runs.directory import Run, RunError, load_run
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path, is_local
from tfcaption.serving.export_folder import load_export_info
from tfcaption.serving.hub import HubModel, is_hub_name
from tfcaption.serving.photo_captioner import BATCH_SIZE, PhotoCaptioner


@dataclass(frozen=True)
class ModelFolder:
    """A run directory or an export."""

    path: Path
    run: Run | None  # None: an export
    hub: HubModel | None = None  # that it is a download of

    @property
    def name(self) -> str:
        """For people: flickr8k/1 of an export by its number, mine of runs/mine or hf://me/mine."""
        if self.hub:
            return self.hub.name
        folder = self.path.resolve() if is_local(self.path) else self.path
        return f"{folder.parent.name}/{folder.name}" if folder.name.isdecimal() else folder.name

    def options(self, given: Mapping[str, Any], *, checkpoint: str | None = None) -> CaptionOptions:
        """Its own options of the search, updated with those that are given; needs no TensorFlow.

        Raises:
            UsageError: a value is out of its range, or options or a checkpoint that the export was not made with.
            ExportError: the export has no readable description, or takes no photos.
            RunError: the run takes no photos.
        """
        if self.run is not None:
            check_takes_photos(self.run)
            return CaptionOptions().updated(given)
        info = load_export_info(self.path)
        info.check_takes_photos(self.path)
        options = info.options.updated(given)
        info.check(options, self.path)
        if checkpoint is not None:
            raise UsageError(
                f"--checkpoint {checkpoint}: {self.path} is an export, of one checkpoint; name {info.its_run} instead"
            )
        return options

    def open(
        self,
        given: Mapping[str, Any] | None = None,
        *,
        checkpoint: str | None = None,
        attention: bool = True,
        batch_size: int = BATCH_SIZE,
        padded: bool = False,
    ) -> PhotoCaptioner:
        """Load the model; imports TensorFlow.

        Args:
            given: options of the search, as `CaptionOptions.updated` takes them.
            checkpoint: of a run: `best` or `last`; None: best.
            attention: whether captions come with attention, if the model has it.
            batch_size: photos per call of the model, at most.
            padded: whether smaller batches are filled, see `ExportedCaptioner`; a lone photo then takes the time of
                `batch_size`.

        Raises:
            UsageError: see `options`.
            RunError: the run has no such checkpoint.
            ExportError: the export cannot be loaded.
        """
        options = self.options(given or {}, checkpoint=checkpoint)
        # Here, so that a command has checked all options before TensorFlow takes 4 s to start.
        from tfcaption.serving.exported_captioner import ExportedCaptioner
        from tfcaption.serving.run_captioner import RunCaptioner

        if self.run is not None:
            return RunCaptioner(
                self.run,
                checkpoint=checkpoint or "best",
                options=options,
                attention=attention,
                batch_size=batch_size,
                padded=padded,
            )
        exported = ExportedCaptioner(self.path, batch_size=batch_size, padded=padded)
        return exported.with_options(options, attention=attention)


def find_model(name: str | os.PathLike[str]) -> ModelFolder:
    """The run or export that a name stands for.

    Args:
        name: a path; for a folder above numbered exports the newest of them is taken. Or `hf://OWNER/NAME[@REVISION]`,
            an export on the Hugging Face Hub, which is downloaded into its cache.

    Raises:
        UsageError: a path is neither; the message says what it is.
        HubError: a model cannot be downloaded.
    """
    if is_hub_name(name):
        hub = HubModel.parse(os.fspath(name))
        return ModelFolder(hub.download(), None, hub)
    path = as_path(name)
    if has_file(path, EXPORT_FILE):
        return ModelFolder(path, None)
    if has_file(path, RUN_FILE):
        return ModelFolder(path, load_run(path))
    if exports := exports_below(path):
        return ModelFolder(exports[-1], None)
    if not path.exists():
        raise UsageError(f"{path}: no such folder; name a run directory or an export")
    kind = describe_folder(path)
    raise UsageError(f"{path}: is {kind}, neither a run directory nor an export{_which(kind)}")


def check_takes_photos(run: Run) -> None:
    """Refuse a run on features that were made elsewhere, by an encoder that only their maker has.

    Raises:
        RunError: it is one.
    """
    if run.config.model.imports_features:
        raise RunError(
            f"{run.path}: captions features that were made elsewhere, not photos; tfcaption.evaluate captions a split "
            "of them, and tfcaption.export writes a model that takes them"
        )


def find_run(path: Path) -> Run:
    """The run at a path, for what needs its checkpoints or its data.

    Raises:
        RunError: it is an export, whose run the message names, or anything else; the message says what it is.
    """
    if has_file(path, EXPORT_FILE) or exports_below(path):
        exported = find_model(path).path
        raise RunError(f"{path}: is an export, not a run directory; name {load_export_info(exported).its_run} instead")
    if not path.exists():
        raise RunError(f"{path}: no such run directory; train one with tfcaption.train")
    if not has_file(path, RUN_FILE) and (which := _which(kind := describe_folder(path))):
        raise RunError(f"{path}: is {kind}, not a run directory{which}")
    return load_run(path)


def _which(kind: str) -> str:
    """The rest of a message about a folder above runs or exports."""
    return "; name one of them" if " above " in kind else ""
