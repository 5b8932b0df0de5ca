"""Package definition; Beam's ``--setup_file`` insists on this file name for remote workers."""

from pathlib import Path

from setuptools import find_packages, setup

COMMANDS = {
    "sample_data": "tfcaption.sample_data",
    "build_records": "beam_jobs.build_records",
    "extract_features": "beam_jobs.extract_features",
    "inspect": "tfcaption.inspect",
    "train": "tfcaption.train",
    "sweep": "tfcaption.sweep",
    "evaluate": "tfcaption.evaluate",
    "report": "tfcaption.report",
    "caption": "tfcaption.caption",
    "export": "tfcaption.export",
    "caption_images": "beam_jobs.caption_images",
    "serve": "tfcaption.serve",
    "benchmark": "tfcaption.benchmark",
}

setup(
    name="tfcaption",
    version="0.1.0",
    description="High-throughput tf.data + TFRecord training of image captioners",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["tfcaption", "tfcaption.*", "beam_jobs", "beam_jobs.*"]),
    package_data={
        "beam_jobs": ["dataflow/*", "py.typed"],
        "tfcaption": ["py.typed", "reporting/report.html.jinja", "serving/web/*"],
    },
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
        "tensorboard>=2.20,<2.22",
        "tqdm>=4.70,<5",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "gcp": ["apache-beam[gcp]>=2.77,<2.78", "gcsfs>=2026.10,<2027"],
        "aws": ["apache-beam[aws]>=2.77,<2.78", "s3fs>=2026.9,<2027"],
        "report": ["jinja2>=3.1.6,<4", "markupsafe>=3.0,<4", "matplotlib>=3.11,<4"],
        "serve": ["flask>=3.1,<4", "prometheus-client>=0.26,<1", "waitress>=3.0.2,<4"],
        "dev": [
            "apache-beam[aws,gcp]>=2.77,<2.78",
            "flask>=3.1,<4",
            "flask-cors>=6,<7",
            "gcp-storage-emulator>=2026.7.19,<2027",
            "gcsfs>=2026.10,<2027",
            "hypothesis>=6.150,<7",
            "jinja2>=3.1.6,<4",
            "markupsafe>=3.0,<4",
            "matplotlib>=3.11,<4",
            "moto[s3]>=5.2,<6",
            "mypy>=2.4,<3",
            "prometheus-client>=0.26,<1",
            "pytest>=9.2,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17.6,<0.18",
            "s3fs>=2026.9,<2027",
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
        "License :: OSI Approved :: Apache Software License",
        *[f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 14)],
    ],
)
