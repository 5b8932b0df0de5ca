"""What is wrong with records and features, and what can be repaired.

Imports `preprocessing`, `records` and `runtime`, and never TensorFlow: `repair` is handed the tokenizer.
"""
