"""`about.json` of a run directory: with what it was trained, which no config says."""

import json
import platform
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tfcaption.runtime.paths import atomic_path

ABOUT_FILE = "about.json"


@dataclass(frozen=True)
class About:
    """With what a run was trained; empty where that is unknown."""

    command: str = ""  # that started it
    started: str = ""  # date, UTC
    tfcaption: str = ""  # version
    tensorflow: str = ""  # version
    python: str = ""  # version
    device: str = ""
    precision: str = ""  # of the computation, such as bfloat16
    features: str = ""  # what made imported ones, as `import_features --name` said


def write_about(run: Path, *, command: str, device: str, precision: str, features: str = "") -> None:
    """Write the file into the folder of a run that has none."""
    if (run / ABOUT_FILE).is_file():
        return
    about = About(
        command=command,
        started=datetime.now(UTC).date().isoformat(),
        tfcaption=version("tfcaption"),
        tensorflow=version("tensorflow"),
        python=platform.python_version(),
        device=device,
        precision=precision,
        features=features,
    )
    with atomic_path(run / ABOUT_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(about), indent=1) + "\n", encoding="utf-8")


def read_about(run: Path) -> About:
    """What is known; runs of earlier versions have no such file."""
    file = run / ABOUT_FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        found = {}
    names = {field.name for field in fields(About)}
    return About(**{name: str(found[name]) for name in names & found.keys()}) if isinstance(found, dict) else About()
