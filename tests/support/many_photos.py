"""Writes any number of small synthetic photos with captions, quickly and without holding them.

python -m tests.support.many_photos --layout tars --photos 2000000 --output DIR
"""

import argparse
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.photos import encoded

CAPTIONS = 5  # of each photo
PER_FOLDER = 10_000  # photos of a tar, or of a folder
_DIFFERENT = 300  # pictures; each photo also has bytes of its own behind one, so that no two are the same
_SIDE = 32  # pixels


def write_tars(folder: Path, count: int) -> None:
    """Tar files as WebDataset writes them: members 0000000.jpg and 0000000.txt."""
    pictures = _pictures()
    folder.mkdir(parents=True)
    for start in range(0, count, PER_FOLDER):
        with (folder / f"{start // PER_FOLDER:05d}.tar").open("wb") as stream:
            for index in range(start, min(start + PER_FOLDER, count)):
                texts = "".join(f"{caption}\n" for caption in captions(index)).encode()
                for name, data in ((f"{index:07d}.jpg", _photo(pictures, index)), (f"{index:07d}.txt", texts)):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    stream.write(info.tobuf(tarfile.USTAR_FORMAT))
                    stream.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
            stream.write(bytes(2 * tarfile.BLOCKSIZE))


def write_table(folder: Path, count: int) -> None:
    """`captions.csv`, which names its photos by their paths, and the photos in folders of ten thousand."""
    pictures = _pictures()
    folder.mkdir(parents=True)
    with (folder / "captions.csv").open("w") as table:
        table.write("image,caption\n")
        for index in range(count):
            path = f"{index // PER_FOLDER:05d}/{index:07d}.jpg"
            if not index % PER_FOLDER:
                (folder / path).parent.mkdir()
            (folder / path).write_bytes(_photo(pictures, index))
            table.writelines(f"{path},{caption}\n" for caption in captions(index))


def captions(index: int) -> list[str]:
    """Those of a photo."""
    return [f"a photo with the number {number} of {index % 4000} different things in it" for number in range(CAPTIONS)]


def _photo(pictures: list[bytes], index: int) -> bytes:
    return pictures[index % len(pictures)] + f"{index:09d}".encode()


def _pictures() -> list[bytes]:
    colours = np.random.default_rng(0).integers(0, 256, (_DIFFERENT, 4, 4, 3), np.uint8)
    return [encoded(Image.fromarray(picture).resize((_SIDE, _SIDE)), "JPEG") for picture in colours]


LAYOUTS = {"tars": write_tars, "table": write_table}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", required=True, choices=LAYOUTS)
    parser.add_argument("--photos", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    LAYOUTS[arguments.layout](arguments.output, arguments.photos)
