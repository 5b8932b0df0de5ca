"""The error of an encoder that cannot be used."""

from typing import Literal

from tfcaption.runtime.errors import TfcaptionError

EncoderOption = Literal["encoder", "weights", "encoder_input", "finetune_from", "precision"]


class EncoderError(TfcaptionError, ValueError):
    """An encoder, its weights, its input convention or one of its layers cannot be used.

    Args:
        message: begins with the value that is wrong, so that a caller can put the option before it.
        option: that gave the value: `model.OPTION` of a config, `--OPTION` of extract_features.
    """

    def __init__(self, message: str, option: EncoderOption = "encoder") -> None:
        super().__init__(message)
        self.option = option


def first_line(error: Exception) -> str:
    """The first line of an error of a library: an error for users has one, Keras' have many."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
