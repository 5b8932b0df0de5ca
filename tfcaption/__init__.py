"""Train a model that captions your photos, and use it.

    import tfcaption as tfc

    captioner = tfc.load("runs/mine")               # a run or an export
    print(captioner.caption("photo.jpg").text)      # a path, bytes, a PIL image, an array, or a list of them

    run = tfc.fit("small", run="runs/mine", train__epochs=10)
    print(run.history["dev_loss"], run.evaluate("test")["cider"])

    data = tfc.dataset("records/", "train", batch_size=32, as_supervised=True)     # for a model of your own
    scores = tfc.score({"a.jpg": "a dog runs"}, {"a.jpg": ["A dog runs .", "The dog is running ."]})

Photos and captions become records by a command, `python -m beam_jobs.build_records --help`; `tfcaption --help` lists
all commands. TensorFlow is imported when a function first needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcaption.api.caption import Caption, WordAttention
    from tfcaption.api.captioner import Captioner, load
    from tfcaption.api.dataset import DataInfo, dataset
    from tfcaption.api.scoring import score
    from tfcaption.api.training import Run, fit
    from tfcaption.preprocessing.photos import PhotoError
    from tfcaption.runtime.errors import TfcaptionError

__version__ = "0.1.0"
__all__ = [
    "Caption",
    "Captioner",
    "DataInfo",
    "PhotoError",
    "Run",
    "TfcaptionError",
    "WordAttention",
    "dataset",
    "fit",
    "load",
    "score",
]

# Name -> the module it comes from, imported when it is first used.
_HOMES = {
    "Caption": "tfcaption.api.caption",
    "Captioner": "tfcaption.api.captioner",
    "DataInfo": "tfcaption.api.dataset",
    "PhotoError": "tfcaption.preprocessing.photos",
    "Run": "tfcaption.api.training",
    "TfcaptionError": "tfcaption.runtime.errors",
    "WordAttention": "tfcaption.api.caption",
    "dataset": "tfcaption.api.dataset",
    "fit": "tfcaption.api.training",
    "load": "tfcaption.api.captioner",
    "score": "tfcaption.api.scoring",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfcaption' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
