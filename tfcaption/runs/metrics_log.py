"""`metrics.jsonl` and `steps.jsonl`: written line by line, truncated on resume, read tolerantly."""

import json
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"
STEPS_FILE = "steps.jsonl"


def append_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Add lines to a JSONL file."""
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)


def truncate_lines(path: Path, key: str, last: int) -> None:
    """Drop what a JSONL file says of later than `last`: a resumed training will say it again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)[key] > last:
                break
        except ValueError:  # cut short by a kill
            break
        kept.append(line)
    temporary = path.with_suffix(".incomplete")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)
