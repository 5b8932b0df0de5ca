"""Errors of the jobs that are meant for users."""

from tfcaption.runtime.errors import TfcaptionError


class JobFailed(TfcaptionError, RuntimeError):
    """A job that ran and must not be trusted; the message is for the user."""


class SourceError(TfcaptionError, ValueError):
    """Input that no job can start from; the message names the file and the cure."""
