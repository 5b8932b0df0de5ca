"""The run directory: its config and data, its metrics, its checkpoints.

Imports `config`, `records` and `runtime`; `checkpoints` also `models`, and it alone TensorFlow.
"""
