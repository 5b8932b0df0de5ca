"""A run's own copy of its encoder, with the weights that training began with: a run needs no other file to caption.

A single named encoder is `encoder.weights.h5`. Anything else lies in `encoder/`: INDEX.weights.h5 of each encoder whose
weights may differ from its file's, beside it the `.keras` file (INDEX.keras) or the SavedModel (INDEX/);
`imported.json` describes features that were made elsewhere.
"""

import json
import tempfile
from pathlib import Path

import keras

from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.loading import Backbone, load_backbone
from tfcaption.models.encoder import Encoder, ImportedEncoder, open_encoder
from tfcaption.runs.directory import ENCODER_FILE, ENCODER_FOLDER, Run, has_encoder
from tfcaption.runtime.paths import as_path, atomic_path, copy_file, copy_files, local_copy, new_folder

_IMPORTED_FILE = "imported.json"


def own_encoder(run: Run) -> Encoder | ImportedEncoder:
    """The encoder that a run has a copy of.

    Raises:
        EncoderError: the copy is not readable.
    """
    model, folder = run.config.model, run.path / ENCODER_FOLDER
    if model.imports_features:
        return _own_imported(folder / _IMPORTED_FILE)
    settings, backbones = model.encoder_settings, []
    for index, name in enumerate(settings.encoders):
        copies = [path for path in (folder / f"{index}.keras", folder / str(index)) if path.exists()]
        weights = run.path / ENCODER_FILE if not folder.is_dir() else folder / f"{index}.weights.h5"
        backbone = load_backbone(
            str(copies[0]) if copies else name,
            image_size=run.info.settings.image_size,
            weights=None if copies else str(weights),
            encoder_input=settings.input_of(name),
        )
        if copies and weights.is_file():
            with local_copy(weights) as readable:
                backbone.model.load_weights(readable)
        backbones.append(backbone)
    return Encoder(backbones, finetune_from=model.finetune_from, finetuned=model.variant == "finetuned")


def _own_imported(path: Path) -> ImportedEncoder:
    try:
        return ImportedEncoder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(f"{path}: does not describe imported features ({error}); train the run again") from error


def first_encoder(run: Run) -> Encoder | ImportedEncoder:
    """The encoder of a run that has no copy yet, as its config and its features describe it.

    Raises:
        EncoderError: it cannot be loaded.
    """
    model = run.config.model
    if model.imports_features:
        assert run.features is not None  # `plan_run` sees to it
        features = run.features.settings
        return ImportedEncoder(shape=features.shape, varying=features.varying, fingerprint=features.weights)
    size = run.info.settings.image_size
    return open_encoder(model.encoder_settings, image_size=size, finetuned=model.variant == "finetuned")


def save_encoder(folder: Path, encoder: Encoder | ImportedEncoder) -> None:
    """Save the encoder that training begins with, unless the run has it already.

    Args:
        folder: the run directory, local.
        encoder: of the captioner.
    """
    if has_encoder(folder):
        return
    if isinstance(encoder, ImportedEncoder):
        with new_folder(folder / ENCODER_FOLDER) as temporary:
            temporary.mkdir()
            (temporary / _IMPORTED_FILE).write_text(json.dumps(encoder.description), encoding="utf-8")
    elif len(encoder.backbones) == 1 and encoder.backbones[0].path is None:
        with atomic_path(folder / ENCODER_FILE) as temporary:
            _save_weights(encoder.base, temporary)
    else:
        with new_folder(folder / ENCODER_FOLDER) as temporary:
            temporary.mkdir()
            for index, backbone in enumerate(encoder.backbones):
                _save_backbone(backbone, temporary, index)


def _save_backbone(backbone: Backbone, folder: Path, index: int) -> None:
    source = None if backbone.path is None else as_path(backbone.path)
    if source is not None and source.is_dir():
        copy_files(source, folder / str(index))
        return
    if source is not None:
        copy_file(source, folder / f"{index}.keras")
    _save_weights(backbone.model, folder / f"{index}.weights.h5")


def _save_weights(model: keras.Model, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:  # Keras insists on a name that ends in .weights.h5
        model.save_weights(Path(scratch) / ENCODER_FILE)
        copy_file(Path(scratch) / ENCODER_FILE, path)
