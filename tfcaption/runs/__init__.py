"""The run directory: what is in it, its metrics, and its captioner."""
