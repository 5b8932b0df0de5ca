"""Captioners in use: from a run or an export, for files, over HTTP.

Imports `decoding`, `runs`, `models`, `preprocessing`, `records`, `config` and `runtime`. TensorFlow is in
`run_captioner`, `exported_captioner` and `export` only.
"""
