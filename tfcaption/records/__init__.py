"""The data contract on disk: shards of examples, their descriptions, the vocabulary.

Imports `runtime` only, and never TensorFlow, so that a worker that writes records does not pay for it.
"""
