"""Package definition; Beam's ``--setup_file`` insists on this file name for remote workers."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

COMMANDS = {
    "sample_data": "tfcaption.sample_data",
    "build_records": "beam_jobs.build_records",
    "inspect": "tfcaption.inspect",
    "encoders": "tfcaption.encoders",
    "extract_features": "beam_jobs.extract_features",
    "import_features": "beam_jobs.import_features",
    "configs": "tfcaption.configs",
    "train": "tfcaption.train",
    "sweep": "tfcaption.sweep",
    "evaluate": "tfcaption.evaluate",
    "report": "tfcaption.report",
    "caption": "tfcaption.caption",
    "export": "tfcaption.export",
    "publish": "tfcaption.publish",
    "caption_images": "beam_jobs.caption_images",
    "serve": "tfcaption.serve",
    "benchmark": "tfcaption.benchmark",
}

CONFIGS = sorted(path.as_posix() for path in Path("configs").glob("*.yaml"))


class BuildWithConfigs(build_py):
    """Copies configs/ into the package as tfcaption/config_files/; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for target, source in self._config_files().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def _config_files(self) -> dict[str, str]:
        folder = Path(self.build_lib, "tfcaption", "config_files")
        return {str(folder / Path(source).name): source for source in CONFIGS}

    def get_source_files(self) -> list[str]:  # what an sdist holds
        return [*super().get_source_files(), *CONFIGS]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._config_files()]

    def get_output_mapping(self) -> dict[str, str]:
        return super().get_output_mapping() | self._config_files()


setup(
    name="tfcaption",
    version="0.1.0",
    description="Trains models that caption photos: stored ResNet50 features, exactly resumable TensorFlow training",
    author="The tfcaption developers",
    keywords=["image captioning", "captions", "tensorflow", "keras", "tfrecord", "apache beam", "resnet50", "cider"],
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["tfcaption", "tfcaption.*", "beam_jobs", "beam_jobs.*"]),
    package_data={
        "beam_jobs": ["dataflow/*", "py.typed"],
        "tfcaption": ["py.typed", "reporting/report.html.jinja", "serving/web/*", "serving/Dockerfile"],
    },
    cmdclass={"build_py": BuildWithConfigs},
    python_requires=">=3.11,<3.14",
    # Lower bounds are the versions the suite ran with; upper bounds are the next release that may break.
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "tensorflow-text>=2.21,<2.22",
        "numpy>=2.2,<2.5",
        "apache-beam>=2.77,<2.78",
        "nltk>=3.10,<4",
        "pillow>=12.3,<13",
        # Already there through the packages above, or small: imported directly, so named.
        "etils[epath]>=1.15,<2",
        "fsspec>=2026.9,<2027",
        "google-crc32c>=1.8,<2",
        "protobuf>=6.33,<7",
        "psutil>=7.2,<8",
        "pydantic>=2.13,<3",
        "pyyaml>=6.0.3,<7",
        "regex>=2026.11,<2028",
        "tensorboard>=2.20,<2.22",
        "tqdm>=4.70,<5",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "gcp": ["apache-beam[gcp]>=2.77,<2.78", "gcsfs>=2026.10,<2027"],
        "aws": ["apache-beam[aws]>=2.77,<2.78", "s3fs>=2026.9,<2027"],
        "report": ["jinja2>=3.1.6,<4", "markupsafe>=3.0,<4", "matplotlib>=3.11,<4"],
        "serve": ["flask>=3.1,<4", "prometheus-client>=0.26,<1", "waitress>=3.0.2,<4"],
        "hub": ["huggingface_hub>=1.0.1,<3"],
        "docs": ["mkdocs>=1.6.1,<2", "mkdocs-material>=9.8.2,<10", "mkdocstrings[python]>=1.0.8,<2"],
        "dev": [
            "apache-beam[aws,gcp]>=2.77,<2.78",
            "flask>=3.1,<4",
            "flask-cors>=6,<7",
            "gcp-storage-emulator>=2026.7.19,<2027",
            "gcsfs>=2026.10,<2027",
            "huggingface_hub>=1.0.1,<3",
            "hypothesis>=6.150,<7",
            "ipykernel>=7.4,<8",
            "jinja2>=3.1.6,<4",
            "markupsafe>=3.0,<4",
            "matplotlib>=3.11,<4",
            "mkdocs>=1.6.1,<2",
            "mkdocs-material>=9.8.2,<10",
            "mkdocstrings[python]>=1.0.8,<2",
            "moto[s3]>=5.2,<6",
            "mypy>=2.4,<3",
            "nbclient>=0.11,<1",
            "nbformat>=5.11,<6",
            "prometheus-client>=0.26,<1",
            "pytest>=9.2,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17.6,<0.18",
            "s3fs>=2026.9,<2027",
            "setuptools>=77",  # of pyproject.toml: a test builds the wheel with it
            "types-PyYAML",
            "types-psutil",
            "types-tqdm",
            "waitress>=3.0.2,<4",
        ],
    },
    entry_points={
        "console_scripts": ["tfcaption=tfcaption.cli:main"],
        # `tfcaption NAME` looks its subcommands up here, so that tfcaption never imports beam_jobs.
        "tfcaption.commands": [f"{name}={module}:main" for name, module in COMMANDS.items()],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *[f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 14)],
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
