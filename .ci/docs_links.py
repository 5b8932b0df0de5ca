"""Hook of mkdocs: where the pages link to files of the repository, which the site does not have, it names them."""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[tokenizer](../tfcaption/tokenizer.py)` -> "tokenizer (`tfcaption/tokenizer.py`)"."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)", _named, markdown)


def _named(link: re.Match[str]) -> str:
    text, path = link.groups()
    return text if "`" in text else f"{text} (`{path}`)"
