"""Serves an export: a local web page and a JSON endpoint that caption photos; prints the address.

POST /v1/captions   one photo as the body, or several as files of a multipart form -> {"captions": [...]}
GET  /healthz       {"status": "ok", ...} as soon as the model is loaded
GET  /              the page
"""

import sys
from collections.abc import Sequence

from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.export_folder import check_export

EXAMPLES = """examples:
  python -m tfcaption.serve --model exports/flickr8k/1          # then open http://127.0.0.1:8501
  curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg http://127.0.0.1:8501/v1/captions
  curl -F photos=@one.jpg -F photos=@two.png http://127.0.0.1:8501/v1/captions

It has no passwords and no encryption: keep it on this machine, or put a server that has both in front of it."""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.serve", EXAMPLES)
    parser.add_argument("--model", type=as_path, required=True, metavar="EXPORT", help="SavedModel of tfcaption.export")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8501, help="0: any free port (default: %(default)s)")
    parser.add_argument("--max_megabytes", type=float, default=20, help="of a request (default: %(default)s)")
    arguments = parser.parse_args(argv)
    check_export(arguments.model)
    try:  # Flask and waitress come with an extra; checked before the model is loaded
        from tfcaption.serving.http_server import make_server
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'tfcaption[serve]'") from error
    start_tensorflow()
    from tfcaption.serving.exported_captioner import ExportedCaptioner

    # One photo per call: its captions come soonest, and do not depend on what else is requested at the same time.
    captioner = ExportedCaptioner(arguments.model, batch_size=1)
    try:
        server = make_server(captioner, host=arguments.host, port=arguments.port, max_megabytes=arguments.max_megabytes)
    except OSError as error:
        raise UsageError(f"{arguments.host}:{arguments.port}: {error.strerror}; choose another --port") from error
    print(f"captions at http://{arguments.host}:{server.effective_port}  (Ctrl-C stops)", flush=True)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
