"""A small data set in the Flickr8k layout."""

from PIL import Image

from beam_jobs.sources.reader import read_source


class SmallDataset:
    """A small data set in the Flickr8k layout that a test can damage."""

    def __init__(self, folder):
        self.images, self.texts = folder / "photos" / "below", folder / "text"
        self.images.mkdir(parents=True)
        self.texts.mkdir()
        self.lines = []
        for split, names in {"train": "abcdef", "dev": "gh", "test": "ij"}.items():
            for name in names:
                self.photo(f"{name}.jpg")
                self.lines += [f"{name}.jpg#{k}\tA photo of {name} .".encode() for k in range(2)]
            (self.texts / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{name}.jpg\n" for name in names))

    def photo(self, name):
        (self.images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(self.images / name, "JPEG")

    def read(self, **options):
        (self.texts / "Flickr8k.token.txt").write_bytes(b"\n".join([*self.lines, b""]))
        return read_source(self.images.parent, self.texts, **options)
