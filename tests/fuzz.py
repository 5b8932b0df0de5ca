"""Coverage-guided fuzzing of every reader, with atheris: `make fuzz`, or python -m tests.fuzz [READER ...].

Runs one reader after another for so many seconds and prints how many inputs each was given; the exit code is 1 if one
broke a reader, and crash-* holds it. Inputs worth keeping go to tests/corpus/READER, and the suite tries those.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TARGETS = sorted(folder.name for folder in CORPUS.iterdir())


def fuzz(target, seconds, found):
    """Never returns: libFuzzer ends the process. Inputs that reached new code are left in the folder `found`."""
    import atheris

    with atheris.instrument_imports(include=["beam_jobs", "tfcaption", "PIL", "tarfile", "csv", "json"]):
        from beam_jobs.sources import reader
        from tests.support import hostile
    reader.entry_points = lambda group: []  # to look for layouts of other packages takes longer than to read captions
    with tempfile.TemporaryDirectory() as folder:
        check = hostile.targets(folder)[target]
        limits = [f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20", "-rss_limit_mb=2500"]
        atheris.Setup([sys.argv[0], *limits, found, str(CORPUS / target)], lambda data: check(bytes(data)) and None)
        atheris.Fuzz()


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="READER", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=10, help="for each reader (default: %(default)s)")
    parser.add_argument("--found", help="of one reader: folder for inputs that reached new code")
    arguments = parser.parse_args()
    if arguments.found:
        return fuzz(*arguments.targets, arguments.seconds, arguments.found)
    failed = False
    for target in arguments.targets:
        with tempfile.TemporaryDirectory() as found:
            command = [sys.executable, "-m", "tests.fuzz", target, "--found", found, f"--seconds={arguments.seconds}"]
            process = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, errors="replace")
        runs = re.search(r"Done (\d+) runs", process.stderr)
        failed |= process.returncode != 0
        print(f"{target:12} {int(runs[1]):>12,} inputs" if runs else f"{target:12} FAILED\n{process.stderr[-8000:]}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
