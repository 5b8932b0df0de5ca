"""Tar files with photos and captions."""

import io
import json
import tarfile

from tests.support.photos import encoded, picture


def member(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def photo(width=40):
    return encoded(picture(width, 30))


def write_tar(path, *members, kind=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=kind) as stream:
        for info, data in members:
            stream.addfile(info, io.BytesIO(data))
    return path


def sample(key, *captions, folder="", **fields):
    """A photo, its captions in a text file, and a JSON file if there are fields for it."""
    yield member(f"{folder}{key}.png", photo())
    yield member(f"{folder}{key}.txt", "".join(f"{caption}\n" for caption in captions).encode())
    if fields:
        yield member(f"{folder}{key}.json", json.dumps(fields).encode())
