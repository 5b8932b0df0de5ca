"""Which encoder a run takes: the fields that its config leaves out, from its features or from what it began with.

Imports no TensorFlow, so that a wrong encoder is an error before TensorFlow starts.
"""

from collections.abc import Sequence
from typing import cast

from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.families import FAMILIES, EncoderInput, is_file
from tfcaption.config import Config, ConfigError, ModelConfig
from tfcaption.records.dataset_info import NAMED_WEIGHTS, FeaturesInfo
from tfcaption.records.folder_kinds import RUN_FILE, has_file
from tfcaption.runtime.paths import as_path

_FIELDS = ("encoder", "encoder_input", "finetune_from", "weights")


def resolve_encoder(model: ModelConfig, features: FeaturesInfo | None, before: ModelConfig | None) -> ModelConfig:
    """A config whose fields of the encoder say what its nulls stand for.

    Args:
        model: as the user wrote it; not changed.
        features: that the run trains from, if any.
        before: that the run goes on with, if any; then its fields count, not those of the features.
    """
    resolved = model.model_copy(update={"encoder": _one_or_list(model.encoders)})
    if before is not None:
        null = [name for name in _FIELDS if getattr(model, name) is None]
        return resolved.model_copy(update={name: getattr(before, name) for name in null})
    if features is not None and model.encoder is None:
        resolved.encoder = _one_or_list(features.encoder)
    if resolved.imports_features:
        return resolved
    if features is not None and features.encoder_names == resolved.encoder_names:
        resolved.encoder_input = resolved.encoder_input or _input_to_state(features)
        resolved.finetune_from = resolved.finetune_from or _layer_to_state(features)
    if resolved.weights is None:
        resolved.weights = _default_weights(resolved.encoders, features)
    return resolved


def _one_or_list(encoders: Sequence[str]) -> str | list[str]:
    return encoders[0] if len(encoders) == 1 else list(encoders)


def default_input(encoder: str) -> EncoderInput | None:
    """The input convention of an encoder that goes by a name; None of a file."""
    return FAMILIES[encoder].input if encoder in FAMILIES else None


def _input_to_state(features: FeaturesInfo) -> EncoderInput | None:
    """The one input convention of the features' encoders that their names do not give."""
    pairs = zip(features.encoder, features.encoder_input, strict=True)
    stated = {used for encoder, used in pairs if used != default_input(encoder)}
    return cast(EncoderInput, stated.pop()) if len(stated) == 1 else None


def _layer_to_state(features: FeaturesInfo) -> str | None:
    """The layer of features of stage trunk, unless it is the encoder's default."""
    layers, encoder = features.settings.layers, features.encoder[0]
    if features.settings.stage != "trunk" or len(layers) != 1:
        return None
    is_default = encoder in FAMILIES and layers[0] == FAMILIES[encoder].cut
    return None if is_default else layers[0]


def _default_weights(encoders: Sequence[str], features: FeaturesInfo | None) -> str | None:
    """The weights that the features were made with, while they are there; None where all encoders are files."""
    if features and features.weights:
        path = features.weights
        if path in NAMED_WEIGHTS or as_path(path).is_file() or has_file(as_path(path), RUN_FILE):
            return path
    return None if all(map(is_file, encoders)) else "imagenet"


def check_imported(config: Config) -> None:
    """Refuse what a run on features that were made elsewhere cannot do.

    Raises:
        ConfigError: it has no features, or fine-tunes.
    """
    model = config.model
    if model.imports_features and config.data.features is None:
        raise ConfigError("model.encoder=imported: needs data.features that beam_jobs.import_features wrote")
    if model.imports_features and model.variant == "finetuned":
        raise ConfigError("model.variant=finetuned: features that were made elsewhere have no encoder to fine-tune")


def check_encoder(model: ModelConfig, image_size: int) -> None:
    """Check the encoder of a run whose weights are not those of another run.

    Raises:
        ConfigError: its name, file, weights or size cannot be used.
    """
    try:
        model.encoder_settings.check(image_size, finetuned=model.variant == "finetuned")
    except EncoderError as error:
        raise ConfigError(f"model.{error.option}={error}") from error


def check_tuned_encoder(model: ModelConfig, tuned: ModelConfig, *, image_size: int, tuned_size: int) -> None:
    """Check that a run can take its encoder from another run, which `model.weights` names.

    Args:
        model: of the run.
        tuned: of the other run.
        image_size: side of the photos in pixels.
        tuned_size: that of the other run.

    Raises:
        ConfigError: the other run has another encoder, none, or photos of another size.
    """
    if tuned.imports_features:
        raise ConfigError(f"model.weights={model.weights}: reads features that were made elsewhere; it has no encoder")
    if tuned.encoder_names != model.encoder_names:
        raise ConfigError(
            f"model.weights={model.weights}: a run with the encoder {' and '.join(tuned.encoder_names)}, not "
            f"{' and '.join(model.encoder_names)}; set model.encoder={encoder_text(tuned)}, or name other weights"
        )
    if tuned_size != image_size:
        raise ConfigError(
            f"model.weights={model.weights}: was trained on photos of {tuned_size} pixels, and these have "
            f"{image_size}; build records with build_records --image_size {tuned_size}, or name other weights"
        )


def encoder_text(model: ModelConfig) -> str:
    """The encoders as `--set model.encoder=...` takes them."""
    return model.encoders[0] if len(model.encoders) == 1 else f"[{','.join(model.encoders)}]"
