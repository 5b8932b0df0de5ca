"""Data sets that others made: caption layouts, splits, tar files. The names exported here are the plug-in interface."""

from beam_jobs.errors import SourceError
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Location, Source, text_lines

__all__ = ["CaptionLine", "Columns", "Listing", "Location", "Source", "SourceError", "text_lines"]
