"""coco-caption's tokens of captions, by the Java tokenizer that it calls.

    python -m tests.support.stanford_tokenizer tests/tfcaption/metrics/stanford_tokens.jsonl

writes the tokens of the captions in that file anew. It needs Java, and finds the jar in STANFORD_CORENLP_JAR or takes
it from Maven Central into the user's cache.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

URL = "https://repo1.maven.org/maven2/edu/stanford/nlp/stanford-corenlp/3.4.1/stanford-corenlp-3.4.1.jar"
SHA256 = "7c1f481a716291f692335e89376ac7d3dc02a1f5ba5e75a9d7d250cc80d2dd62"
# The list of coco-caption's ptbtokenizer.py.
PUNCTUATIONS = [
    *("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"),
    *(".", "?", "!", ",", ":", "-", "--", "...", ";"),
]


def find_jar() -> Path:
    """The jar of Stanford CoreNLP 3.4.1.

    Raises:
        OSError: there is no Java, or no jar and no network.
    """
    if not shutil.which("java"):
        raise OSError("java is not installed")
    if named := os.environ.get("STANFORD_CORENLP_JAR"):
        return Path(named)
    jar = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tfcaption" / Path(URL).name
    if not jar.exists():
        with urllib.request.urlopen(URL, timeout=60) as response:
            content = response.read()
        assert hashlib.sha256(content).hexdigest() == SHA256, f"{URL}: another file than expected"
        jar.parent.mkdir(parents=True, exist_ok=True)
        partial = jar.with_suffix(f".{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(jar)
    return jar


def stanford_tokens(captions: Sequence[str], jar: Path) -> list[tuple[str, ...]]:
    """The tokens that coco-caption counts, of each caption."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        # The tokenizer looks at the beginning of the next line, too; every second one is empty.
        file.write("".join(f"{caption}\n\n" for caption in captions))
        file.flush()
        tokenizer = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
        output = subprocess.run([*tokenizer, file.name], capture_output=True, check=True).stdout.decode()
    lines = output.split("\n")[: 2 * len(captions)]
    assert len(lines) == 2 * len(captions) and not any(lines[1::2])
    counted = (" ".join(token for token in line.split(" ") if token not in PUNCTUATIONS) for line in lines[::2])
    return [tuple(line.split()) for line in counted]  # its scores split at no-break spaces, too


def main(path: Path) -> None:
    captions = [json.loads(line)["caption"] for line in path.read_text().splitlines()]
    pairs = zip(captions, stanford_tokens(captions, find_jar()), strict=True)
    lines = (json.dumps({"caption": caption, "tokens": tokens}, ensure_ascii=False) for caption, tokens in pairs)
    path.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
