"""A captioner or a file of captions -> scores."""
