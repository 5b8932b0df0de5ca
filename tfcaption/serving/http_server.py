"""A local web page and JSON endpoint that caption photos."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import waitress
from flask import Flask, Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.serving.photo_captioner import PhotoCaptioner, caption_photos

PAGE_FOLDER = Path(__file__).parent / "web"
THREADS = 4  # prepare photos
# waitress cuts off bodies of over HARD_LIMIT * max_megabytes before they are stored; smaller ones get a JSON answer.
HARD_LIMIT = 4
MAX_PHOTOS = 64  # per request: a photo of a few bytes may take seconds to decode
# Content types that browsers and curl send for the formats of `prepare_photo`, which judges by the content.
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


class SerializedCaptioner:
    """A captioner for many threads: they prepare photos in parallel, but the model runs for one thread at a time.

    One batch already uses all cores, and only one has to fit into memory.
    """

    def __init__(self, captioner: PhotoCaptioner) -> None:
        self.beam, self.prepare = captioner.beam, captioner.prepare
        self._captioner, self._lock = captioner, threading.Lock()

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """See `PhotoCaptioner.__call__`."""
        with self._lock:
            return self._captioner(photos)


def make_app(captioner: PhotoCaptioner, *, max_megabytes: float = 20) -> Flask:
    """The web application.

    Args:
        captioner: prepares and captions.
        max_megabytes: of a whole request; a larger one, or one of more than `MAX_PHOTOS`, is refused with 413.
    """
    app = Flask(__name__, static_folder=str(PAGE_FOLDER), static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = int(max_megabytes * 1e6)
    app.config["MAX_FORM_PARTS"] = MAX_PHOTOS
    app.json.sort_keys = False  # type: ignore[attr-defined]
    shared = SerializedCaptioner(captioner)

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        return {"status": "ok", "nbest": captioner.beam, "max_megabytes": max_megabytes}

    @app.post("/v1/captions")
    def captions() -> dict[str, Any]:
        names, contents = _uploaded_photos(request)
        results = list(zip(names, caption_photos(shared, contents), strict=True))
        damaged = [
            f"{name}: {result}" if name else str(result) for name, result in results if isinstance(result, PhotoError)
        ]
        if damaged:
            raise RequestError(422, "; ".join(damaged))
        return {
            "captions": [
                {"name": name, **result.as_json()} for name, result in results if isinstance(result, PhotoCaptions)
            ]
        }

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


def _uploaded_photos(request: Request) -> tuple[list[str], list[bytes | PhotoError]]:
    """Names and contents of the photos in a request; raises RequestError 400 or 415."""
    if request.mimetype != "multipart/form-data":
        _check_type(request.mimetype, "the body")
        return [""], [request.get_data()]
    files = [file for _, file in request.files.items(multi=True) if file.filename]
    if not files:
        raise RequestError(400, "the form holds no file; send photos as files of the form")
    for file in files:
        _check_type(file.mimetype, file.filename or "")
    return [file.filename or "" for file in files], [file.read() for file in files]


def _check_type(mimetype: str, name: str) -> None:
    if mimetype not in TYPES:
        known = ", ".join(sorted(name for name in TYPES if name.startswith("image/")))
        raise RequestError(415, f"{name}: is {mimetype}; send one of {known} as Content-Type")


def make_server(captioner: PhotoCaptioner, *, host: str, port: int, max_megabytes: float = 20) -> Any:
    """A waitress server that listens already; `run()` serves until it is interrupted.

    Raises:
        OSError: the port is taken, or `host` is not an address of this machine.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits
    app = make_app(captioner, max_megabytes=max_megabytes)
    body = int(HARD_LIMIT * app.config["MAX_CONTENT_LENGTH"])
    return waitress.create_server(app, host=host, port=port, threads=THREADS, max_request_body_size=body, ident=None)
