"""Captions from a captioner: beam search and sampling in the graph."""
