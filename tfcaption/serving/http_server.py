"""A local web page and JSON endpoint that caption photos."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.serving.photo_captioner import PhotoCaptioner, caption_photos

if TYPE_CHECKING:
    from flask import Flask, Request


PAGE_FOLDER = Path(__file__).parent / "web"
THREADS = 4  # that prepare photos
# The web server itself cuts off what is far too large before it is stored; up to there the answer is a JSON one.
HARD_LIMIT = 4
MAX_PHOTOS = 64  # of a request: a photo of a few bytes may take seconds to decode
# What browsers and curl call the formats that `prepare_photo` reads; it looks at the content, not at the name.
TYPES = frozenset(f"image/{name.lower()}" for name in photos.FORMATS) | {"image/jpg", "application/octet-stream", ""}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RequestError(Exception):
    """A request that cannot be answered; becomes {"error": {"status", "message"}}."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OneAtATime:
    """A captioner for many threads: all prepare their photos at once, the model takes them one batch after another.

    It has all cores as it is, and memory for one batch is enough.
    """

    def __init__(self, captioner: PhotoCaptioner) -> None:
        self.beam, self.prepare = captioner.beam, captioner.prepare
        self._captioner, self._lock = captioner, threading.Lock()

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """As the captioner's own."""
        with self._lock:
            return self._captioner(photos)


def make_app(captioner: PhotoCaptioner, *, max_megabytes: float = 20) -> "Flask":
    """The web application.

    Args:
        captioner: prepares and captions.
        max_megabytes: of a whole request; larger ones are refused with 413, as are those of more than `MAX_PHOTOS`.
    """
    from flask import Flask, Response, jsonify, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__, static_folder=str(PAGE_FOLDER), static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = int(max_megabytes * 1e6)
    app.config["MAX_FORM_PARTS"] = MAX_PHOTOS
    app.json.sort_keys = False  # type: ignore[attr-defined]
    shared = OneAtATime(captioner)

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        return {"status": "ok", "nbest": captioner.beam, "max_megabytes": max_megabytes}

    @app.post("/v1/captions")
    def captions() -> dict[str, Any]:
        names, contents = _photos_of(request)
        results = list(zip(names, caption_photos(shared, contents), strict=True))
        damaged = [
            f"{name}: {result}" if name else str(result) for name, result in results if isinstance(result, PhotoError)
        ]
        if damaged:
            raise RequestError(422, "; ".join(damaged))
        found = [{"name": name, **result.as_json()} for name, result in results if isinstance(result, PhotoCaptions)]
        return {"captions": found}

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> tuple[Response, int]:
        return jsonify(error={"status": error.status, "message": str(error)}), error.status

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        status = error.code or 500
        too_large = f"larger than {max_megabytes:g} MB, or more than {MAX_PHOTOS} photos"
        message = too_large if status == 413 else str(error.description)
        return jsonify(error={"status": status, "message": message}), status

    @app.after_request
    def with_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app


def _photos_of(request: "Request") -> tuple[list[str], list[bytes | PhotoError]]:
    """Names and contents of the photos in a request; raises RequestError 400 or 415."""
    if request.mimetype != "multipart/form-data":
        _check_type(request.mimetype, "the body")
        return [""], [request.get_data()]
    files = [file for _, file in request.files.items(multi=True) if file.filename]
    if not files:
        raise RequestError(400, "the form holds no file")
    for file in files:
        _check_type(file.mimetype, file.filename or "")
    return [file.filename or "" for file in files], [file.read() for file in files]


def _check_type(mimetype: str, what: str) -> None:
    if mimetype not in TYPES:
        known = ", ".join(sorted(name for name in TYPES if name.startswith("image/")))
        raise RequestError(415, f"{what}: is {mimetype}; send one of {known} as Content-Type")


def make_server(captioner: PhotoCaptioner, *, host: str, port: int, max_megabytes: float = 20) -> Any:
    """A web server that listens already; `run()` serves until it is interrupted.

    Raises:
        OSError: the port is taken, or the host is not this machine's.
    """
    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits
    app = make_app(captioner, max_megabytes=max_megabytes)
    body = int(HARD_LIMIT * app.config["MAX_CONTENT_LENGTH"])
    return waitress.create_server(app, host=host, port=port, threads=THREADS, max_request_body_size=body, ident=None)
