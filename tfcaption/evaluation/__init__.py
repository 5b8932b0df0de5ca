"""A captioner or a file of captions -> scores.

Imports the rooms below training. TensorFlow is in `predictions` and `evaluator` only.
"""
