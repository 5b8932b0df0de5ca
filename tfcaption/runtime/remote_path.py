"""Paths in object stores (gs://, s3://): `etils.epath` over fsspec, with what else is used of `pathlib.Path`."""

import fnmatch
import io
import os
from collections.abc import Callable, Iterator
from functools import wraps
from types import SimpleNamespace
from typing import Any, TypeVar

import fsspec
from etils.epath.gpath import PosixGPath

from tfcaption.runtime.errors import FilesystemError
from tfcaption.runtime.extras import install_command

# epath would otherwise read through TensorFlow, which takes 4 s to start and knows no s3://.
os.environ["EPATH_USE_TF"] = "false"
# Zonal buckets only: gcsfs would import gRPC, and ask Google for the kind of each bucket.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
CLIENTS = {"gs": "gcp", "s3": "aws"}  # scheme -> the extra of this package that installs its client
for _scheme in CLIENTS:  # another program, such as a Beam job, may write into a folder that was listed before
    fsspec.config.conf.setdefault(_scheme, {}).setdefault("use_listings_cache", False)

Method = TypeVar("Method", bound=Callable[..., Any])


def _clear_errors(method: Method) -> Method:
    """Makes errors of the cloud clients (no credentials, no connection) errors that name the path."""

    @wraps(method)
    def reporting(path: "RemotePath", *arguments: Any, **options: Any) -> Any:
        try:
            return method(path, *arguments, **options)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: no such file") from error
        except OSError:
            raise
        except ImportError as error:
            extra = CLIENTS[path.scheme]
            raise FilesystemError(f"{path}: {error}; {install_command(extra)}") from error
        except Exception as error:
            raise FilesystemError(f"{path}: {type(error).__name__}: {error}") from error

    return reporting  # type: ignore[return-value]


class RemotePath(PosixGPath):
    """The part of `pathlib.Path` that is used here, for SCHEME://BUCKET/..."""

    exists = _clear_errors(PosixGPath.exists)
    is_dir = _clear_errors(PosixGPath.is_dir)
    unlink = _clear_errors(PosixGPath.unlink)

    @property
    def scheme(self) -> str:
        """`gs` or `s3`."""
        return str(self).partition("://")[0]

    @property
    def _filesystem(self) -> Any:
        return fsspec.filesystem(self.scheme)

    @_clear_errors
    def stat(self) -> Any:
        """Only `st_size`."""
        return SimpleNamespace(st_size=super().stat().length)

    def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Only checks: object stores have no folders, just names with slashes."""
        if not exist_ok and self.exists():
            raise FileExistsError(f"{self}: exists")

    @_clear_errors
    def iterdir(self) -> Iterator["RemotePath"]:
        """See `Path.iterdir`."""
        return iter([path for path in super().iterdir() if path != self])  # a folder may hold an object of its own name

    @_clear_errors
    def replace(self, target: os.PathLike[str]) -> "RemotePath":
        """See `Path.replace`; of a file, to another name in the same store."""
        self._filesystem.cp_file(str(self), str(target))
        self._filesystem.rm_file(str(self))
        return type(self)(target)

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """See `Path.glob`; for patterns of names without folders."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    @_clear_errors
    def rglob(self, pattern: str) -> Iterator["RemotePath"]:
        """See `Path.rglob`; files only, by one listing."""
        found = [type(self)(f"{self.scheme}://{name}") for name in self._filesystem.find(str(self))]
        return (path for path in found if path != self and fnmatch.fnmatchcase(path.name, pattern))

    @_clear_errors
    def read_bytes(self) -> bytes:
        """See `Path.read_bytes`; one request."""
        return self._filesystem.cat_file(str(self))

    @_clear_errors
    def write_bytes(self, data: bytes) -> int:
        """See `Path.write_bytes`."""
        self._filesystem.pipe_file(str(self), data)
        return len(data)

    @_clear_errors
    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """See `Path.open`; `a` writes the whole file again, since objects cannot grow."""
        before = self.read_bytes() if "a" in mode and self.is_file() else b""
        stream: Any = super().open("rb" if "r" in mode else "wb")
        stream.write(before) if before else None
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """See `Path.read_text`."""
        with self.open(encoding=encoding, errors=errors) as stream:
            return stream.read()

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """See `Path.write_text`."""
        with self.open("w", encoding=encoding, errors=errors, newline=newline) as stream:
            return stream.write(data)
