"""Captions from a captioner, in the graph: beam search and sampling.

Imports `models`, `preprocessing` and `records`.
"""
