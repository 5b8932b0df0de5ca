"""The layouts of Flickr8k and Flickr30k: lines NAME#K<TAB>CAPTION."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from beam_jobs.sources.base import CaptionLine, Columns, DividedSource, Listing, text_lines
from beam_jobs.sources.text_files import Span
from tfcaption.records.dataset_info import SPLITS


class Numbered(DividedSource):
    """A file with lines NAME#K<TAB>CAPTION."""

    file_name: str
    every_photo_captioned = True  # in the official archives, so a cut file of captions is noticed

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        path = captions / self.file_name if captions.is_dir() else captions
        return [path] if path.name == self.file_name and path.is_file() else []

    def read_span(self, file: Path, span: Span, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read_span`."""
        for number, text in text_lines(file, listing, span):
            where = f"{file.name}:{number}"
            key, tab, caption = text.partition("\t")
            name, hash_sign, index = key.strip().rpartition("#")
            if not tab or not hash_sign or not name or not index.isdecimal():
                listing.reject("caption", where, "malformed line", f"not NAME#K<TAB>CAPTION: {text[:80]!r}")
            else:
                yield CaptionLine(where, name, caption, key=key)


class Flickr8k(Numbered):
    """The official archives of Flickr8k."""

    name, file_name = "flickr8k", "Flickr8k.token.txt"
    layout = "Flickr8k.token.txt with lines NAME#K<TAB>CAPTION, and Flickr_8k.{train,dev,test}Images.txt"
    split_files: ClassVar = {split: f"Flickr_8k.{split}Images.txt" for split in SPLITS}


class Flickr30k(Numbered):
    """The official archive of Flickr30k."""

    name, file_name = "flickr30k", "results_20130124.token"
    layout = "results_20130124.token with lines NAME#K<TAB>CAPTION"
