"""The error of an encoder that cannot be used."""

from tfcaption.runtime.errors import TfcaptionError


class EncoderError(TfcaptionError, ValueError):
    """An encoder, its weights or one of its layers cannot be used.

    The message begins with what is wrong, so that a caller can put the option before it.
    """


def first_line(error: Exception) -> str:
    """The first line of an error of a library: an error for users has one, Keras' have many."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
