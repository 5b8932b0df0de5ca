"""Losses of 20 seeded float32 steps of every decoder and both variants, and the bytes that lead to them.

    python -m tests.support.seeded_losses            # compare with tests/support/seeded_losses.json
    python -m tests.support.seeded_losses --write    # write it again, where a change of the losses is meant

Bit for bit on one machine; another processor or TensorFlow rounds otherwise.
"""

import argparse
import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path

REFERENCE_FILE = Path(__file__).with_suffix(".json")
STEPS = 20
SIZES = {"embedding_units": 16, "gru_units": 32, "dense_units": 32, "attention_units": 16, "transformer_units": 32}
DECODERS = {"gru": "pooled", "attention": "map", "transformer": "map"}  # decoder -> features of its frozen variant


def cases():
    """Name of a run -> its config, without the folders."""
    found = {}
    for decoder, frozen_stage in DECODERS.items():
        for variant, stage in (("frozen", frozen_stage), ("finetuned", "trunk")):
            found[f"{decoder}_{variant}"] = {
                "stage": stage,
                "model": {"decoder": decoder, "variant": variant, "transformer_heads": 4, **SIZES},
                "train": {},
            }
        found[f"{decoder}_cider"] = {
            "stage": frozen_stage,
            "model": {"decoder": decoder, "transformer_heads": 4, **SIZES},
            "train": {"objective": "cider", "bleu_weight": 1.0, "start_from": f"{decoder}_frozen"},
        }
    return found


def machine():
    """What decides how floating point numbers are rounded."""
    import numpy
    import tensorflow as tf

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    processor = sorted({line for line in lines if line.startswith(("model", "vendor_id", "flags", "cpu family"))})
    described = "\n".join([*processor, str(len([line for line in lines if line.startswith("processor")]))])
    return {
        "tensorflow": tf.__version__,
        "numpy": numpy.__version__,
        "system": platform.machine(),
        "processor": hashlib.sha256(described.encode()).hexdigest()[:16],
    }


def make_data(folder):
    """A drawn data set, its records and its features; returns the sha256 of each folder of them."""
    from beam_jobs import build_records, extract_features
    from tfcaption.sample_data import write_sample

    images, captions = write_sample(folder / "sample", photos=60, seed=3)
    arguments = ["--images", str(images), "--captions", str(captions), "--output", str(folder / "records")]
    in_memory = ["--direct_running_mode=in_memory", "--direct_num_workers=1"]
    options = ["--image_size=32", "--min_count=1", "--shards=3"]
    assert build_records.main([*arguments, *options, *in_memory]) == 0
    made = {"records": folder_digest(folder / "records")}
    for stage in ("pooled", "map", "trunk"):
        arguments = ["--records", str(folder / "records"), "--output", str(folder / stage), "--stage", stage]
        assert extract_features.main([*arguments, "--weights=random", "--batch_size=16", "--precision=float32"]) == 0
        made[stage] = folder_digest(folder / stage)
    return made


def folder_digest(folder):
    """sha256 over the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def train_case(name, case, folder):
    """Losses of the first steps of one run, and the dev loss after them."""
    from tfcaption import train

    start = case["train"].get("start_from")
    config = {
        "run": str(folder / name),
        "data": {"records": str(folder / "records"), "features": str(folder / case["stage"]), "batch_size_photos": 2},
        "model": {"weights": "random", **case["model"]},
        "train": {"epochs": 1, "precision": "float32", "xla": False, **case["train"]}
        | ({"start_from": str(folder / start)} if start else {}),
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    assert train.main(["--config", str(path)]) == 0
    lines = [json.loads(line) for line in (folder / name / "steps.jsonl").read_text().splitlines()]
    (epoch,) = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines[:STEPS]] + [epoch["dev_loss"]]


def measure(folder, names=None):
    """All that the reference holds; `names` limits the runs."""
    made = make_data(folder)
    chosen = {name: case for name, case in cases().items() if names is None or name in names}
    import PIL

    return {
        "machine": machine(),
        "pillow_version": PIL.__version__,
        "data": made,
        "losses": {name: train_case(name, case, folder) for name, case in chosen.items()},
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--reference", type=Path, default=REFERENCE_FILE)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name))
    if arguments.write:
        arguments.reference.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written: {arguments.reference}")
        return 0
    expected = json.loads(arguments.reference.read_text())
    for kind in ("data", "losses"):
        for key, value in expected[kind].items():
            print(f"{key}: {'as before' if found[kind][key] == value else 'CHANGED'}")
    return int(any(found[kind] != expected[kind] for kind in ("data", "losses")))


if __name__ == "__main__":
    sys.exit(main())
