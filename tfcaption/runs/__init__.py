"""The run directory: its config and data, its metrics, its checkpoints, its copies of encoders.

Imports `config`, `records`, `runtime` and the names of `backbones`; `checkpoints` and `encoders` also `backbones` and
`models`, and they alone TensorFlow.
"""
