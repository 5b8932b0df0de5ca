"""Errors of the jobs that are meant for users."""

from tfcaption.runtime.errors import TfcaptionError


class JobFailed(TfcaptionError, RuntimeError):
    """A job that ran, and whose output must not be used."""


class SourceError(TfcaptionError, ValueError):
    """Input that no job can start from; the message names the file and the fix."""
