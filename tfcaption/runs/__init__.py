"""The run directory: its config and data, its metrics, its checkpoints.

Imports `config`, `records` and `runtime`; `checkpoints` also `backbones` and `models`, and it alone TensorFlow.
"""
