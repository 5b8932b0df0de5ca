"""What a server says of itself, and what it takes; known without Flask, which comes with an extra."""

from dataclasses import dataclass

MAX_PHOTOS = 64  # of a request: a photo of a few bytes may take seconds to decode


@dataclass(frozen=True)
class ServerOptions:
    """Options of the server.

    Attributes:
        model: name of the model, in /healthz and in the addresses of TensorFlow Serving; NAME or NAME/VERSION.
        max_megabytes: of a request; a larger one is refused with 413, before it is stored.
        max_batch: photos of one run of the model at most. With 1 the scores of a photo are the same to the last bit
            whatever else is asked at the same time; with more, rounding may change their last digits.
    """

    model: str
    max_megabytes: float = 20
    max_batch: int = 8

    @property
    def too_large(self) -> str:
        """The message for a larger request."""
        return f"larger than {self.max_megabytes:g} MB"
