"""The networks: encoder, decoders, both as one captioner, and its loss."""
