"""Names of photos, compared as people and programs spell them."""

import unicodedata

_INVISIBLE = "Cf"  # zero-width space and joiners, soft hyphen, byte-order mark, direction marks


def spelling(name: str) -> str:
    """Equal for names that differ in case, in how accents are composed, in the kind of spaces, or invisibly.

    Screenshots of a Mac have a narrow no-break space (U+202F) in their names, and emoji hold joiners (U+200D).
    """
    composed = unicodedata.normalize("NFC", name)
    visible = "".join(c for c in composed if unicodedata.category(c) != _INVISIBLE)
    return " ".join(visible.split()).casefold()
