"""Gets the engines from their registries into a cache folder outside the repository, once.

A Flink or Spark distribution is the one inside the engine's PyPI package. Its job server is built by Maven from Beam's
plain runner. Prism is built by Go from Beam's own sources.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import apache_beam

# Maven Central has the runners of Beam 2.62 with all their dependencies, but not of each later version.
BEAM_JAVA = "2.62.0"
FLINK, SPARK = "1.19.3", "3.5.9"
_LIBRARIES = {  # engine -> PyPI package, and the folder of its archives there
    "flink": (f"apache-flink-libraries=={FLINK}", "deps/lib"),
    "spark": (f"pyspark=={SPARK}", "deps/jars"),
}
_PATIENCE = 1200  # seconds, for one download or build


class Unavailable(Exception):
    """An engine cannot be had on this machine; the message says what is missing."""


def prism() -> Path:
    """The program `prism` of this version of Beam."""
    version = f"v{apache_beam.__version__}"

    def install(folder: Path) -> None:
        package = f"github.com/apache/beam/sdks/v2/go/cmd/prism@{version}"
        _run("go", "install", package, environment={"GOBIN": str(folder)})

    return _cached(f"prism-{version}", install) / "prism"


def distribution(engine: str) -> Path:
    """The folder of `flink` or `spark`, whose folder `jars` holds all its archives."""
    package, inside = _LIBRARIES[engine]

    def unpack(folder: Path) -> None:
        (folder / "jars").mkdir()
        with tempfile.TemporaryDirectory(dir=folder.parent) as downloaded:
            _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", downloaded, package)
            (archive,) = Path(downloaded).iterdir()
            with tarfile.open(archive) as members:
                for member in members:
                    if member.isfile() and f"/{inside}/" in member.name and member.name.endswith(".jar"):
                        member.name = Path(member.name).name
                        members.extract(member, folder / "jars", filter="data")

    return _cached(package.replace("==", "-"), unpack)


def job_server(engine: str) -> Path:
    """The job server of `flink` or `spark`, one archive."""
    version = {"flink": FLINK, "spark": SPARK}[engine]

    def build(folder: Path) -> None:
        pom = Path(__file__).with_name("job_server.xml")
        # Maven reads what lies beside the file, so it gets a folder of its own.
        shutil.copy(pom, folder / "pom.xml")
        values = {"beam": BEAM_JAVA, "engine": version, "minor": version.rpartition(".")[0], "built": str(folder)}
        _run(
            *("mvn", "--quiet", "--batch-mode", f"--file={folder / 'pom.xml'}", f"--activate-profiles={engine}"),
            *(f"-D{name}={value}" for name, value in values.items()),
            f"-Dmaven.repo.local={_cache() / 'maven'}",
            "package",
        )

    return _cached(f"{engine}-{version}-job-server-{BEAM_JAVA}", build) / "job-server-1.jar"


def _cache() -> Path:
    return Path(os.environ.get("TFCAPTION_CLUSTERS") or Path.home() / ".cache" / "tfcaption")


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, which `make` fills where it is missing; never one that is half filled."""
    folder = _cache() / name
    if not folder.exists():
        _cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_cache()) as temporary:
            made = Path(temporary) / name
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder


def _run(program: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    if shutil.which(program) is None:
        raise Unavailable(f"needs {program} on the PATH")
    command = [program, *arguments]
    variables = {**os.environ, **(environment or {})}
    try:
        subprocess.run(
            command,
            check=True,
            timeout=_PATIENCE,
            capture_output=True,
            text=True,
            env=variables,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program} did not end in {_PATIENCE} s: {' '.join(command)}") from None
    except subprocess.CalledProcessError as error:
        said = [line for line in (error.stdout + error.stderr).splitlines() if line.strip()]
        raise Unavailable(f"{' '.join(command)}: {said[0] if said else 'failed'}") from None
