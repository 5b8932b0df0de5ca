"""A local web page and JSON endpoints that caption photos."""

import base64
import hashlib
import logging
import os
import re
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import waitress
from flask import Flask, Response, g, jsonify, request
from waitress import wasyncore
from waitress.server import BaseWSGIServer
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from tfcaption.preprocessing.photos import FORMATS, PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.serving.http_channel import channel_class, error_body
from tfcaption.serving.photo_captioner import PhotoCaptioner
from tfcaption.serving.request_batcher import RequestBatcher, Result
from tfcaption.serving.requests import INSTANCES, CaptionRequest, RequestError, read_caption_request
from tfcaption.serving.server_metrics import CONTENT_TYPE, Answer, ServerMetrics
from tfcaption.serving.server_options import MAX_PHOTOS, ServerOptions

PAGE_FOLDER = Path(__file__).parent / "web"
THREADS = 24  # requests that are read, prepared or wait for the model; more wait in a queue
MAX_FORM_PARTS = 16 * MAX_PHOTOS  # files and text fields of a form; bounds the time that parsing takes
# Photos that are decoded at the same time: one of 80 megapixels takes up to 1.1 GB.
PREPARED_TOGETHER = min(4, os.cpu_count() or 1)


def _hash_of_script(page: bytes) -> str:
    """The source that lets a browser run the script inside the page, by "Content Security Policy Level 3", 2.3.1."""
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


PAGE = (PAGE_FOLDER / "index.html").read_text(encoding="utf-8")  # with "\n" between lines on every system
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'self' {_hash_of_script(PAGE.encode())}; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Captions:
    """Captions the photos of requests, which wait together for the model.

    Args:
        captioner: prepares and captions.
        max_batch: of the model.
    """

    def __init__(self, captioner: PhotoCaptioner, max_batch: int) -> None:
        self._captioner = captioner
        self._preparing = threading.Semaphore(PREPARED_TOGETHER)
        self.metrics = ServerMetrics(lambda: self.batcher.waiting)
        self.batcher = RequestBatcher(captioner, max_batch=max_batch, on_batch=self.metrics.batch_started)
        self.available = captioner.options.available  # captions of each photo
        self.shown = captioner.options.nbest  # captions of each photo in an answer, unless the request says how many

    def of(self, asked: CaptionRequest) -> list[Result]:
        """Captions or error of each photo; while later photos are prepared, the model runs on earlier ones."""
        submitted = [self._submit(photo.content) for photo in asked.photos]
        results = [photo if isinstance(photo, PhotoError) else photo.result() for photo in submitted]
        for result in results:
            self.metrics.photo_done(result.reason if isinstance(result, PhotoError) else None)
        return results

    def _submit(self, content: bytes | PhotoError) -> "Future[Result] | PhotoError":
        """The captions of a photo, in the future, or its error."""
        if isinstance(content, PhotoError):
            return content
        try:
            with self._preparing:
                prepared = self._captioner.prepare(content)
        except PhotoError as error:
            return error
        return self.batcher.submit(prepared)


def make_app(captions: Captions, options: ServerOptions) -> Flask:
    """The web application."""
    app = Flask(__name__, static_folder=str(PAGE_FOLDER), static_url_path="/static")
    # The server refuses larger requests. Werkzeug's own limit of a form's text fields has the same status as its limit
    # of parts, which alone is left so. It counts text fields as well as files; `read_caption_request` counts photos.
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = None
    app.config["MAX_FORM_PARTS"] = MAX_FORM_PARTS
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # Where a proxy says by which address clients know this server, its hints name that one. They reach only the client
    # who could forge it.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=1, x_host=1, x_prefix=1)  # type: ignore[method-assign]

    @app.before_request
    def begin() -> None:
        g.start, g.photos = time.monotonic(), 0

    @app.get("/")
    def page() -> Response:
        return Response(PAGE, content_type="text/html; charset=utf-8")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        limits = {"max_megabytes": options.max_megabytes, "max_photos": MAX_PHOTOS, "max_batch": options.max_batch}
        return {"status": "ok", "model": options.model, "nbest": captions.available, "formats": [*FORMATS], **limits}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(captions.metrics.as_text(), content_type=CONTENT_TYPE)

    @app.get("/v1/captions")
    def usage() -> dict[str, Any]:
        return _usage(request.base_url, captions, options)

    @app.post("/v1/captions")
    def caption() -> Response:
        asked, results = captioned(captions.shown)
        answers = [
            {"name": photo.name, **_as_json(result, asked)} for photo, result in zip(asked.photos, results, strict=True)
        ]
        return answer({"captions": answers}, asked, results)

    @app.post("/v1/models/<name>:predict")
    @app.post("/v1/models/<name>/versions/<int:version>:predict")
    def predict(name: str, version: int | None = None) -> Response:
        known = options.model.partition("/")[0]
        if name != known or (version is not None and options.model != f"{known}/{version}"):
            raise RequestError(404, f"no such model; this server has {options.model}")
        asked, results = captioned(captions.available)  # all that the signature gives, as TensorFlow Serving
        return answer({"predictions": [_as_prediction(result, asked) for result in results]}, asked, results)

    def captioned(shown: int) -> tuple[CaptionRequest, list[Result]]:
        asked = read_caption_request(request, available=captions.available, shown=shown)
        g.photos = len(asked.photos)
        return asked, captions.of(asked)

    def answer(content: dict[str, Any], asked: CaptionRequest, results: list[Result]) -> Response:
        """200 if any photo was captioned; else 422, with all errors in one message, too."""
        if any(isinstance(result, PhotoCaptions) for result in results):
            return jsonify(content)
        named = zip(asked.photos, results, strict=True)
        message = "; ".join(f"{photo.name}: {result}" if photo.name else str(result) for photo, result in named)
        return _refusal(422, message, **content)

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return _refusal(error.status, str(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        allowed = dict(error.get_headers()).get("Allow", "")
        messages = {
            404: f"no such address; GET {request.script_root}/v1/captions shows how to ask",
            405: f"{request.method} is not answered here; there is {allowed}",
            413: f"more than {MAX_FORM_PARTS} parts in the form",
        }
        response = _refusal(status, messages.get(status, str(error.description)))
        if allowed:
            response.headers["Allow"] = allowed
        return response

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(HEADERS)
        sent, seconds = response.content_length or 0, time.monotonic() - g.start
        path = request.full_path.removesuffix("?")
        client = request.remote_addr or "-"
        captions.metrics.answered(Answer(client, request.method, path, response.status_code, sent, g.photos, seconds))
        return response

    return app


def _refusal(status: int, message: str, **more: Any) -> Response:
    return Response(error_body(status, message, **more), status, content_type="application/json")


def _as_json(result: Result, asked: CaptionRequest) -> dict[str, Any]:
    """The answer for a photo."""
    if isinstance(result, PhotoError):
        return {"error": {"reason": result.reason, "message": str(result)}}
    found = result.as_json(asked.nbest)
    if not asked.attention:
        found.pop("attention", None)
    return found


def _as_prediction(result: Result, asked: CaptionRequest) -> dict[str, Any]:
    """The answer for a photo by the names of an export's signature, as TensorFlow Serving gives it."""
    if isinstance(result, PhotoError):
        empty: dict[str, Any] = {"captions": "", "scores": 0.0, "nbest_captions": [], "nbest_scores": []}
        return {**empty, **_as_json(result, asked)}
    nbest = result.nbest[: asked.nbest]
    found = {
        "captions": nbest[0].caption,
        "scores": nbest[0].score,
        "nbest_captions": [hypothesis.caption for hypothesis in nbest],
        "nbest_scores": [hypothesis.score for hypothesis in nbest],
    }
    if asked.attention and result.attention:
        found["words"] = [word.word for word in result.attention]
        found["attention"] = [word.weights for word in result.attention]
    return found


def _usage(address: str, captions: Captions, options: ServerOptions) -> dict[str, Any]:
    nbest = f"1 to {captions.available} captions of each photo (default: {captions.shown})"
    return {
        "usage": [
            f"curl --data-binary @photo.jpg {address}",
            f"curl -F photos=@one.jpg -F photos=@two.png {address}",
            f"curl -H 'Content-Type: application/json' -d '{INSTANCES}' {address}",
        ],
        "options": {"nbest": nbest, "attention": "0 leaves the attention out"},
        "photos": f"{', '.join(FORMATS)}; up to {MAX_PHOTOS} in a request, of up to {options.max_megabytes:g} MB",
    }


class Server:
    """A server that listens already.

    Attributes:
        port: that it listens on.
    """

    def __init__(self, captioner: PhotoCaptioner, options: ServerOptions, *, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or `host` is not an address of this machine.
            ValueError: no machine has the name `host`; `check_address` refuses it sooner.
        """
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits
        self._captions = Captions(captioner, options.max_batch)
        app = make_app(self._captions, options)
        self._sockets: dict[int, Any] = {}  # all that the loop of `run` serves
        limit = int(options.max_megabytes * 1e6) + 1  # waitress refuses what reaches it
        try:
            self._server = waitress.create_server(
                app,
                self._sockets,
                host=host,
                port=port,
                threads=THREADS,
                max_request_body_size=limit,
                ident=None,
                clear_untrusted_proxy_headers=False,
            )
        except (OSError, ValueError):
            self._captions.batcher.close()
            raise
        self._listening = [socket for socket in self._sockets.values() if isinstance(socket, BaseWSGIServer)]
        for socket in self._listening:
            socket.channel_class = channel_class(HEADERS, options.too_large, self._captions.metrics.answered)
        self.port = int(self._listening[0].effective_port)

    def run(self) -> None:
        """Serve until interrupted or closed; requests that are being answered then have 5 s."""
        try:
            self._server.run()
        finally:
            self._server.task_dispatcher.shutdown()
            self._captions.batcher.close()

    def close(self) -> None:
        """End `run`, which another thread is in: its loop closes all connections, and has nothing left to do."""
        self._listening[0].trigger.pull_trigger(lambda: wasyncore.close_all(self._sockets, ignore_all=True))
