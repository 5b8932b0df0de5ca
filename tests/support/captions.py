"""Captions as token ids."""

from tfcaption.records.vocabulary import END, PAD


def tokens_to_end(tokens):
    """The tokens of an array up to and with <end>, without padding."""
    ids = [token for token in tokens.tolist() if token != PAD]
    return ids[: ids.index(END) + 1] if END in ids else ids
