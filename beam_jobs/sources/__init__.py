"""Data sets that others made: caption layouts, splits, tars. What is exported here is the interface for plug-ins."""

from beam_jobs.errors import SourceError
from beam_jobs.sources.base import CaptionLine, Columns, Listing, Location, Source, text_lines

__all__ = ["CaptionLine", "Columns", "Listing", "Location", "Source", "SourceError", "text_lines"]
