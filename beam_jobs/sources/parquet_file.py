"""Opens Parquet files, on any filesystem."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from beam_jobs.errors import SourceError

_BUFFER_BYTES = 1 << 20  # pages are read as they are needed, never a whole column of a row group


@contextmanager
def opened_parquet(path: Path, *, cure: str) -> Iterator[Any]:
    """The `pyarrow.parquet.ParquetFile` of a path.

    Args:
        path: of the file.
        cure: ends the message of an error.

    Raises:
        SourceError: the file is no Parquet file or is damaged, which may be seen only when its rows are read.
    """
    try:
        with path.open("rb") as stream, pyarrow.parquet.ParquetFile(stream, buffer_size=_BUFFER_BYTES) as table:
            yield table
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{path}: cannot be read as Parquet: {error}; {cure}") from error
