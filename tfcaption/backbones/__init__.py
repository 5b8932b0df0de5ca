"""Image encoders: loading them by name or from a file, their preprocessing, and splitting them at a layer.

Imports `records.dataset_info` and `runtime`.
"""
