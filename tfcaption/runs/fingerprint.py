"""The fingerprint of a run: which captioner it is, wherever its directory lies.

Imports no TensorFlow.
"""

import hashlib
import json

from tfcaption.runs.directory import CHECKPOINTS, ENCODER_FILE, ENCODER_FOLDER, Run


def run_fingerprint(run: Run, checkpoint: str = "best") -> str:
    """sha256 of the model's config, the vocabulary, the photos' preparation, the encoder and the trained weights.

    Args:
        run: as `load_run` returns it.
        checkpoint: `best` or `last`; of a run that has none yet, the rest is hashed.
    """
    model, settings = run.config.model, run.info.settings
    config = model.model_dump(mode="json", exclude={"encoder", "weights", "glove"})  # files that may move
    preparation = [settings.image_size, settings.resize, run.info.max_length]
    described = [config, model.encoder_names, run.vocabulary.identity, *preparation]
    digest = hashlib.sha256(json.dumps(described).encode())
    checkpoint_files = (run.path / CHECKPOINTS / checkpoint).glob("ckpt-*")
    encoder_files = (path for path in (run.path / ENCODER_FOLDER).rglob("*") if path.is_file())
    for path in (*sorted(checkpoint_files), run.path / ENCODER_FILE, *sorted(encoder_files)):
        if path.is_file():
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
