"""Photos and text into what models take, in training and in use alike.

Imports `records` and `runtime`. TensorFlow is in `tokenizer`, `photos_in_graph` and `augmented_views` only.
"""
