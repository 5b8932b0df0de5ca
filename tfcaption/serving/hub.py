"""Exports on the Hugging Face Hub: named `hf://OWNER/NAME[@REVISION]`, downloaded into its cache, uploaded.

All traffic, the cache and the login are those of `huggingface_hub` (the extra `hub`), with its environment variables:
HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfcaption.records.folder_kinds import EXPORT_FILE, has_file
from tfcaption.runtime.errors import TfcaptionError, UsageError
from tfcaption.runtime.extras import needs_extra

PREFIX = "hf://"
# What an export consists of, as patterns of the hub: `*` also stands for slashes. Nothing else is downloaded.
EXPORT_FILES = ("saved_model.pb", "fingerprint.pb", "variables/*", "assets/*", "assets.extra/*")
CARD_FILE = "README.md"
_OF_DISKS = {*(errno.ENOSPC, errno.EDQUOT, errno.EROFS), *(errno.EACCES, errno.EPERM, errno.ENOTDIR)}


class HubError(TfcaptionError, OSError):
    """A model that cannot be downloaded or uploaded; the message names it and the fix."""


def is_hub_name(name: str | os.PathLike[str]) -> bool:
    """Whether a model is named by its place on the hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


@dataclass(frozen=True)
class HubModel:
    """A model on the hub."""

    owner: str
    name: str
    revision: str | None = None  # branch, tag or commit; None: the newest of the main branch

    @classmethod
    def parse(cls, text: str) -> "HubModel":
        """The model that `hf://OWNER/NAME[@REVISION]` names.

        Raises:
            UsageError: it is written otherwise.
        """
        found = re.fullmatch(rf"{PREFIX}([\w.-]+)/([\w.-]+?)(?:@([\w./-]+))?", text)
        if not found:
            raise UsageError(f"{text}: a model on the Hugging Face Hub is named {PREFIX}OWNER/NAME or with @REVISION")
        return cls(*found.groups())

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{f'@{self.revision}' if self.revision else ''}"

    @property
    def repository(self) -> str:
        """OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    def download(self) -> Path:
        """The folder of its export in the cache; what is not there yet is downloaded.

        Raises:
            HubError: it cannot be downloaded, or is no export of tfcaption.
            UsageError: huggingface_hub is not installed.
        """
        with needs_extra("hub"):
            from huggingface_hub import snapshot_download
        with self._explained():
            path = snapshot_download(self.repository, revision=self.revision, allow_patterns=list(EXPORT_FILES))
        if not has_file(Path(path), EXPORT_FILE):
            raise HubError(f"{self}: has no {EXPORT_FILE}, so it is not an export of tfcaption; name another model")
        return Path(path)

    def upload(self, folder: Path) -> str:
        """Upload an export with its card as the newest revision; a model that is new on the hub is private.

        Files of an export that the folder lacks are deleted there; files of other names stay.

        Args:
            folder: with the files of the export and `README.md`.

        Returns:
            The address of its page.

        Raises:
            HubError: it cannot be uploaded.
            UsageError: huggingface_hub is not installed.
        """
        with needs_extra("hub"):
            from huggingface_hub import HfApi
        with self._explained():
            api = HfApi()
            address = api.create_repo(self.repository, private=True, exist_ok=True)
            api.upload_folder(
                repo_id=self.repository,
                folder_path=folder,
                revision=self.revision,
                commit_message="Publish an export of tfcaption",
                allow_patterns=[*EXPORT_FILES, CARD_FILE],
                delete_patterns=list(EXPORT_FILES),
            )
        return str(address)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Makes errors of the client errors that name the model and the fix."""
        from huggingface_hub import constants, errors  # its extra is installed where this is called

        hub, log_in = constants.ENDPOINT, "log in with `hf auth login`, or set HF_TOKEN"
        connection = "check the connection (https_proxy, HF_ENDPOINT)"
        try:
            yield
        except errors.HFValidationError as error:
            raise UsageError(f"{self}: not a name of the hub: {error}") from error
        except errors.GatedRepoError as error:
            message = f"its owner grants access to it; ask for it at {hub}/{self.repository}, then {log_in}"
            raise HubError(f"{self}: {message}") from error
        except errors.RepositoryNotFoundError as error:
            message = f"no such model at {hub}, or a private one; check the name; for a private one {log_in}"
            raise HubError(f"{self}: {message}") from error
        except errors.RevisionNotFoundError as error:
            raise HubError(f"{self}: has no revision {self.revision}; name one that its page lists") from error
        except errors.LocalEntryNotFoundError as error:
            reason = f"{hub} cannot be reached; {connection}"
            if constants.HF_HUB_OFFLINE:
                reason = "HF_HUB_OFFLINE forbids to download it; unset that once"
            raise HubError(f"{self}: is not in the cache ({constants.HF_HUB_CACHE}), and {reason}") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            fix = f"{log_in} of one who may do that" if status in (401, 403) else "try again later"
            raise HubError(f"{self}: {hub} answers with status {status}; {fix}") from error
        except Exception as error:  # of the connection, whose library changes with the version of the client
            detail, fix = f"{type(error).__name__}: {error}".partition("\n")[0], connection
            if isinstance(error, OSError) and error.errno in _OF_DISKS:
                fix = f"make room, or name another folder than {constants.HF_HOME} by HF_HOME"
            raise HubError(f"{self}: {detail}; {fix}, and run the same command again") from error
