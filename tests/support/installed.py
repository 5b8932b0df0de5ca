"""Installs the package away from the checkout, as the workers of a cluster have it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install(folder: Path) -> Path:
    """Python of an environment with the sdist installed, this environment's dependencies, and no checkout."""
    build = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "sdist", "--dist-dir", folder]
    subprocess.run(build, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    # A line of a .pth file is only put on the path: the editable installation of the checkout does not come with it.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (archive,) = folder.glob("tfcaption-*.tar.gz")
    command = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, archive]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True)
    return folder / "venv" / "bin" / "python"
