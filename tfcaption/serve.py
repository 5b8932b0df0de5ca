"""Serves a run or an export: a local web page and JSON endpoints that caption photos; prints the address.

POST /v1/captions   a photo as the body, several as files of a form, or base64 in JSON -> {"captions": [...]}
GET  /v1/captions   how to ask
POST /v1/models/NAME:predict   {"instances": [{"b64": ...}]} -> {"predictions": [...]}, as TensorFlow Serving
GET  /healthz       {"status": "ok", ...} as soon as the model is loaded
GET  /metrics       counters for Prometheus
GET  /              the page
"""

import logging
import math
import signal
import sys
import warnings
from collections.abc import Sequence

from PIL import Image

from tfcaption.runtime.command import add_subjects, command_parser, reports_errors, subjects
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.extras import needs_extra
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.model_folder import find_model
from tfcaption.serving.server_options import ServerOptions, address_error, check_address

EXAMPLES = """examples:
  python -m tfcaption.serve exports/flickr8k                     # then open http://127.0.0.1:8501
  python -m tfcaption.serve runs/flickr8k_frozen --port 9000 --quiet
  python -m tfcaption.serve hf://OWNER/NAME                      # an export on the Hugging Face Hub
  curl --data-binary @photo.jpg http://127.0.0.1:8501/v1/captions
  curl -F photos=@one.jpg -F photos=@two.png 'http://127.0.0.1:8501/v1/captions?nbest=1&attention=0'

It has no passwords and no encryption: keep it on this machine, or put a server that has both in front of it."""


def log_requests() -> None:
    """Print a line for each request."""
    from tfcaption.serving.server_metrics import ACCESS_LOG

    ACCESS_LOG.addHandler(logging.StreamHandler(sys.stdout))
    ACCESS_LOG.setLevel(logging.INFO)
    ACCESS_LOG.propagate = False


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.serve", EXAMPLES)
    about = "run directory, export, folder above numbered exports, or hf://OWNER/NAME"
    add_subjects(parser, "--model", "--run", metavar="MODEL", several=False, help=about)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8501, help="0: any free port (default: %(default)s)")
    default = ServerOptions("")
    parser.add_argument(
        "--max_megabytes", type=float, default=default.max_megabytes, help="of a request (default: %(default)s)"
    )
    parser.add_argument(
        "--max_batch",
        type=int,
        default=default.max_batch,
        help="photos that the model takes together at most; 1: scores never depend on other requests, not even in "
        "their last digits (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="print no line for each request")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port {arguments.port}: must be from 0 (any free port) to 65535")
    for name in ("max_batch", "max_megabytes"):
        if not 0 < getattr(arguments, name) < math.inf:
            raise UsageError(f"--{name} {getattr(arguments, name):g}: must be greater than 0, and finite")
    model = find_model(*subjects(parser, arguments))
    model.options({})
    check_address(arguments.host, arguments.port)
    with needs_extra("serve"):  # before the model is loaded
        from tfcaption.serving.http_server import Server
        from tfcaption.serving.request_batcher import warm_up
    start_tensorflow()
    captioner = model.open(batch_size=arguments.max_batch, padded=False)
    options = ServerOptions(model.name, arguments.max_megabytes, arguments.max_batch)
    try:
        server = Server(captioner, options, host=arguments.host, port=arguments.port)
    except OSError as error:
        raise address_error(arguments.host, arguments.port, error) from error
    warm_up(captioner, options.max_batch)
    if not arguments.quiet:
        log_requests()
    # Photos of so many pixels are refused; Pillow need not warn as well.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    # In a container Python is the first process, which SIGTERM ends only if it is handled.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    print(f"captions at http://{arguments.host}:{server.port}  (Ctrl-C stops)", flush=True)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
