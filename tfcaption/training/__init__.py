"""Training: `assemble` builds a run, `loop` trains it, `step` is one update of its weights, `state` is saved with it.

Imports `evaluation` and all rooms below it. `sweep` never imports TensorFlow.
"""
