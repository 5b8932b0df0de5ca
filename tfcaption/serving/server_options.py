"""What a server says of itself, what it takes, and where it listens; known without Flask, which comes with an extra."""

import errno
import socket
from dataclasses import dataclass

from tfcaption.runtime.errors import UsageError

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


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before a model is loaded; port 0 is any free one.

    Raises:
        UsageError: `host` is not an address of this machine, or the port is taken; the message names the option.
    """
    try:
        found = socket.getaddrinfo(
            None if host == "*" else host,
            port,
            type=socket.SOCK_STREAM,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_PASSIVE,
        )
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server's own
                probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise address_error(host, port, error) from error


def address_error(host: str, port: int, error: OSError | UnicodeError) -> UsageError:
    """The error for an address that cannot be listened on; it names the option that is wrong."""
    reason = getattr(error, "strerror", None) or "not a name of a machine"
    if isinstance(error, UnicodeError | socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return UsageError(
            f"--host {host}: not an address of this machine ({reason}); name 127.0.0.1 for requests of this machine "
            "only, or 0.0.0.0 for those of others, too"
        )
    return UsageError(f"{host}:{port}: {reason}; choose another --port")
