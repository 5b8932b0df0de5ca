"""Shards -> batches of tensors: `open_split` finds the shards, `make_batches` reads them.

Imports `preprocessing`, `records` and `runtime`.
"""
