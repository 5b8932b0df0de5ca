"""The networks: an encoder, three decoders, both as one captioner, and its loss.

Imports `backbones`, `config`, `records` and `runtime`.
"""
