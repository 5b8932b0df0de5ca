"""Errors that are meant for the user: a command prints their message as one line; a bug shows its traceback."""


class TfcaptionError(Exception):
    """Base of all errors meant for users; the message says what was wrong, where, and what to do."""


class UsageError(TfcaptionError, ValueError):
    """An option or argument that cannot be used."""


class FilesystemError(TfcaptionError, OSError):
    """A path on a filesystem that cannot be read or written; the message names it and the fix."""


class TrainingFailed(TfcaptionError):
    """A training run that must not continue; the last checkpoint is kept."""


class HostLost(TfcaptionError):
    """Another host of the training run cannot be reached; the last checkpoint is kept."""


class Preempted(TfcaptionError):
    """A training run that was asked to stop and has saved a checkpoint."""
