"""Runs side by side on one HTML page.

Imports `evaluation.scores`, `runs` without its checkpoints, `metrics`, `preprocessing.photos`, `records` and `runtime`,
and never TensorFlow.
"""
