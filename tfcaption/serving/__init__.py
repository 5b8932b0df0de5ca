"""Captioners to use: from a run or an export, for files, over HTTP."""
