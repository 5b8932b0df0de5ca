"""Members of tar files as WebDataset writes them, and the offsets of their bytes; nothing is ever unpacked."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from beam_jobs.errors import SourceError

_TAR_NAME = re.compile(r"\.(?:tar(?:\.(?:gz|bz2|xz|zst|lz4))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)


class Member(NamedTuple):
    """One member of a tar file."""

    path: str  # inside the tar file
    offset: int  # of its bytes in the tar file
    size: int  # bytes
    problem: str  # why it must not be read; empty if it may


def is_tar(path: Path) -> bool:
    """True for the name of a tar file, or of a compressed one, which `members` refuses."""
    return bool(_TAR_NAME.search(path.name))


def members(tar: Path) -> Iterator[Member]:
    """The members of an uncompressed tar file in their order, without folders; reads only headers.

    Raises:
        SourceError: the file is not a tar file, or it is damaged or cut short.
    """
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as stream:
            position = -1
            while member := stream.next():
                stream.members = []  # type: ignore[attr-defined]  # tarfile would keep them all in memory
                if stream.offset <= position:
                    raise tarfile.ReadError("a member of negative size")
                position = stream.offset
                described = Member(
                    member.name.removeprefix("./"), member.offset_data, member.size, problem=_problem(member)
                )
                if not member.isdir():
                    yield described
            end = stream.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise SourceError(
            f"{tar}: not an uncompressed tar file, or a damaged one ({error}); decompress it, or get it again"
        ) from error
    _check_end(tar, end)


def _problem(member: tarfile.TarInfo) -> str:
    if member.issparse() or not member.isfile():
        return "a link, a device or a sparse file"
    if member.name.startswith("/") or "\\" in member.name or ".." in member.name.split("/"):
        return "a path that leads out of its folder"
    return ""


def _check_end(tar: Path, offset: int) -> None:
    """Raise unless only blocks of zeros follow `offset`: tarfile takes any damage for the end."""
    with tar.open("rb") as stream:
        stream.seek(offset)
        block = stream.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE:
            raise SourceError(f"{tar}: cut short at byte {offset:,}; get it again")
        while block:
            if block.count(0) < len(block):
                raise SourceError(f"{tar}: damaged at byte {offset:,}, or several tar files in one; get it again")
            block = stream.read(1 << 16)
