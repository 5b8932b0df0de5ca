"""The server over real HTTP on a free port: answers, refusals, parallel requests, counters, the log, and the page."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urljoin

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server
from werkzeug.test import Client

from tests.support.fake_export import BEAM, expected_caption, write_export
from tests.support.gated_captioner import Gated
from tests.support.photos import heif
from tfcaption import serve
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.captions import Hypothesis, PhotoCaptions, WordAttention
from tfcaption.serving.exported_captioner import ExportedCaptioner
from tfcaption.serving.http_server import PAGE_FOLDER, Captions, Server, make_app
from tfcaption.serving.model_folder import find_model
from tfcaption.serving.request_batcher import warm_up
from tfcaption.serving.server_options import MAX_PHOTOS, ServerOptions

MAX_MEGABYTES = 0.1
OPTIONS = ServerOptions("colours/2", MAX_MEGABYTES)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export") / "mean")


@contextlib.contextmanager
def serving(captioner, options=OPTIONS):
    """The port of a server that runs in a thread."""
    server = Server(captioner, options, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.port
    finally:
        server.close()
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(export):
    with serving(ExportedCaptioner(export, batch_size=8, padded=False)) as port:
        yield port


@pytest.fixture(scope="module")
def photos(sample):
    return [path.read_bytes() for path in sorted(sample[0].iterdir())[:20]]


def ask(port, method, path, body=None, kind=None):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def captions(port, body, kind="image/jpeg", path="/v1/captions"):
    status, headers, content = ask(port, "POST", path, body, kind)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(content)


def form(*files):
    """A multipart form of (name, type, content)."""
    head = 'Content-Disposition: form-data; name="photos"; filename="{}"\r\nContent-Type: {}\r\n\r\n'
    parts = b"".join(b"--edge\r\n" + head.format(*names).encode() + content + b"\r\n" for *names, content in files)
    return parts + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def test_a_photo_as_the_body_gets_its_captions(port, photos):
    status, answer = captions(port, photos[0])
    (found,) = answer["captions"]
    caption = expected_caption(photos[0])
    assert status == 200 and set(found) == {"name", "caption", "score", "nbest"}
    assert found["caption"] == caption and found["name"] == "" and len(found["nbest"]) == 1
    (found,) = captions(port, photos[0], path=f"/v1/captions?nbest={BEAM}")[1]["captions"]
    assert [hypothesis["caption"] for hypothesis in found["nbest"]] == [caption, f"not {caption}", "rows 1"]
    assert len(found["nbest"]) == BEAM


def test_several_photos_of_a_form_are_answered_in_order(port, photos):
    status, answer = captions(port, *form(*((f"{i}.jpg", "image/jpeg", data) for i, data in enumerate(photos[:5]))))
    assert status == 200
    assert [(found["name"], found["caption"]) for found in answer["captions"]] == [
        (f"{i}.jpg", expected_caption(data)) for i, data in enumerate(photos[:5])
    ]


def test_other_formats_are_read_by_their_content(port):
    for kind in ("png", "webp", "gif", "bmp", "tiff"):
        stream = io.BytesIO()
        Image.new("RGB", (40, 30), (200, 100, 50)).save(stream, kind)
        status, answer = captions(port, stream.getvalue(), f"image/{kind}")
        assert status == 200 and answer["captions"][0]["caption"] == expected_caption(stream.getvalue())


def test_twenty_parallel_requests_get_their_own_answers(port, photos):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda data: captions(port, data), photos))
    assert [answer["captions"][0]["caption"] for _, answer in answers] == [expected_caption(data) for data in photos]
    assert len({expected_caption(data) for data in photos}) == 20


def waiting(port):
    return measured(port)["tfcaption_photos_waiting"]


def measured(port):
    """The counters, by Prometheus' own parser: name and labels -> value."""
    status, headers, content = ask(port, "GET", "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(content.decode())
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def until(reached):
    for _ in range(1000):
        if reached():
            return
        threading.Event().wait(0.01)
    pytest.fail("not reached")


def test_requests_that_wait_are_captioned_together_in_their_order():
    gated = Gated()
    with serving(gated, replace(OPTIONS, max_batch=4)) as port, ThreadPoolExecutor(8) as pool:
        first = pool.submit(captions, port, b"lone")
        assert gated.started.acquire(timeout=30)  # the model is busy with the first; the others come together
        others = []
        for index in range(6):
            others.append(pool.submit(captions, port, b"%d" % index))
            until(lambda: waiting(port) == len(others))
        gated.allowed.release(3)
        answers = [future.result()[1]["captions"][0]["caption"] for future in (first, *others)]
        assert answers == ["lone", *"012345"] and gated.batches == [1, 4, 2]
        found = measured(port)
    assert found["tfcaption_batch_photos_count"] == 3 and found["tfcaption_batch_photos_sum"] == 7
    assert found["tfcaption_batch_photos_bucket 1.0"] == 1 and found["tfcaption_photos_waiting"] == 0


def test_a_fault_of_the_model_fails_the_requests_of_its_batch_only(caplog):
    class Faulty(Gated):
        def __call__(self, photos):
            if photos == [b"bad"]:
                raise RuntimeError("out of memory")
            return [PhotoCaptions((Hypothesis("x", -1.0),))] * len(photos)

    with serving(Faulty()) as port:
        status, answer = captions(port, b"bad")
        assert status == 500 == answer["error"]["status"] and "memory" not in answer["error"]["message"]
        assert captions(port, b"good")[0] == 200
    assert "RuntimeError: out of memory" in caplog.text


def in_json(*contents):
    return json.dumps({"instances": [{"b64": base64.b64encode(content).decode()} for content in contents]})


def test_photos_as_base64_in_json_are_captioned_in_order(port, photos):
    status, answer = captions(port, in_json(*photos[:3]), "application/json")
    assert status == 200 and [found["caption"] for found in answer["captions"]] == [*map(expected_caption, photos[:3])]
    named = json.dumps({"instances": [{"images": {"b64": base64.b64encode(photos[4]).decode()}}]})
    assert captions(port, named)[1]["captions"][0]["caption"] == expected_caption(photos[4])


def test_tensorflow_servings_address_answers_by_the_names_of_the_signature(port, photos):
    for path in ("/v1/models/colours:predict", "/v1/models/colours/versions/2:predict"):
        status, answer = captions(port, in_json(photos[0], b"no photo"), "application/json", path)
        found, damaged = answer["predictions"]
        assert status == 200 and found["captions"] == expected_caption(photos[0]) == found["nbest_captions"][0]
        assert found["scores"] == found["nbest_scores"][0] and len(found["nbest_captions"]) == BEAM
        assert damaged["captions"] == "" and damaged["error"]["reason"] == "not an image"
    status, answer = captions(port, in_json(photos[0]), path="/v1/models/other:predict")
    assert status == 404 and answer["error"]["message"] == "no such model; this server has colours/2"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json", "text/plain", ""])
def test_the_bytes_decide_what_a_body_is(port, photos, kind):
    assert captions(port, photos[0], kind)[1]["captions"][0]["caption"] == expected_caption(photos[0])
    assert captions(port, in_json(photos[0]), kind)[1]["captions"][0]["caption"] == expected_caption(photos[0])


def test_an_answer_has_as_many_captions_as_the_model_was_exported_with_or_the_request_asks_for(photos):
    class Attentive(Gated):
        options = CaptionOptions(beam=3, nbest=2)

        def __call__(self, photos):
            found = PhotoCaptions(tuple(Hypothesis(c, -1.0) for c in "abc"), (WordAttention("a", [0.5, 0.5]),))
            return [found] * len(photos)

    with serving(Attentive()) as port:
        assert len(captions(port, b"x")[1]["captions"][0]["nbest"]) == 2
        _, _, content = ask(port, "GET", "/v1/captions")
        assert json.loads(content)["options"]["nbest"] == "1 to 3 captions of each photo (default: 2)"
        assert len(captions(port, b"x", path="/v1/models/colours:predict")[1]["predictions"][0]["nbest_captions"]) == 3
        available = json.loads(ask(port, "GET", "/healthz")[2])["nbest"]  # as the page asks
        whole = captions(port, b"x", path=f"/v1/captions?nbest={available}")[1]["captions"][0]
        assert len(whole["nbest"]) == 3 and whole["attention"] == [{"word": "a", "weights": [0.5, 0.5]}]
        short = captions(port, b"x", path="/v1/captions?nbest=1&attention=0")[1]["captions"][0]
        assert short == {"name": "", "caption": "a", "score": -1.0, "nbest": whole["nbest"][:1]}
        predicted = captions(port, b"x", path="/v1/models/colours:predict?nbest=2")[1]["predictions"][0]
        assert predicted["nbest_captions"] == ["a", "b"] and predicted["attention"] == [[0.5, 0.5]]
        assert "words" not in captions(port, b"x", path="/v1/models/colours:predict?attention=0")[1]["predictions"][0]
        for options, message in {
            "nbest=4": "?nbest=4: must be a number from 1 to 3",
            "nbest=0": "?nbest=0: must be a number from 1 to 3",
            "nbest=many": "?nbest=many: must be a number from 1 to 3",
            "attention=no": "?attention=no: must be a number from 0 to 1",
            "beam=1": "?beam: no such option; there are ?nbest=1 to 3 and ?attention=0",
        }.items():
            status, answer = captions(port, b"x", path=f"/v1/captions?{options}")
            assert (status, answer["error"]["message"]) == (400, message)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (422, b"", "image/jpeg", "empty file"),
        (422, b"no photo", "image/png", "not an image"),
        (422, b"%PDF", "application/pdf", "not an image: not one of JPEG, PNG"),
        (422, heif(b"heic", b"mif1", b"heic"), "image/heic", "a HEIC photo, which is not read; convert it to JPEG"),
        (422, b'{"instances": [{"b64": "%%%"}]}', "application/json", "unreadable: not base64"),
        (400, b"{}", "application/json", 'no list of instances; send {"instances": [{"b64": "..."}'),
        (400, b'{"instances": []}', "application/json", "no list of instances"),
        (400, b'{"instances": "/9j/4AAQ"}', "application/json", "no list of instances"),
        (400, b'{"instances": [{"photo": ""}]}', "application/json", 'instances[0]: has no "b64"'),
        (400, b'["/9j/4AAQ"]', "application/json", "no list of instances"),
        (400, b'{"instances": [{"b64": "', "application/json", "the body is not JSON (Unterminated string"),
        (400, b"[" * 90_000, "application/json", "the body is not JSON"),
        (413, b"x" * 100_001, "image/jpeg", "larger than 0.1 MB"),
        (400, *form(), "the form holds no file"),
        (422, *form(("a.pdf", "application/pdf", b"x")), "a.pdf: not an image"),
        (413, *form(("a.jpg", "image/jpeg", b"x" * 100_001)), "larger than 0.1 MB"),
    ],
)
def test_a_body_that_cannot_be_captioned_is_refused_with_a_reason(port, status, body, kind, message):
    found, answer = captions(port, body, kind)
    assert found == status == answer["error"]["status"] and message in answer["error"]["message"]


def test_each_photo_of_a_form_has_its_caption_or_its_error(port, photos):
    files = [("cut.jpg", "image/jpeg", photos[1][:-200]), ("good.jpg", "image/jpeg", photos[0])]
    status, answer = captions(port, *form(*files, ("<b>.png", "image/png", b"x")))
    cut, good, no_photo = answer["captions"]
    assert status == 200 and "error" not in answer
    assert (good["name"], good["caption"]) == ("good.jpg", expected_caption(photos[0]))
    assert cut["name"] == "cut.jpg" and cut["error"]["reason"] == "truncated" and "caption" not in cut
    assert no_photo["name"] == "<b>.png" and no_photo["error"]["message"].startswith("not an image: ")


def test_a_form_of_damaged_photos_only_is_refused_and_names_them_all(port, photos):
    files = [("cut.jpg", "image/jpeg", photos[1][:-200]), ("<b>.png", "image/png", b"x")]
    status, answer = captions(port, *form(*files))
    message = answer["error"]["message"]
    assert status == 422 and "cut.jpg: truncated" in message and "<b>.png: not an image" in message
    assert [found["error"]["reason"] for found in answer["captions"]] == ["truncated", "not an image"]


def test_photos_of_too_many_pixels_and_too_many_photos_are_refused(port, photos):
    bomb = io.BytesIO()
    Image.new("1", (10_000, 8_001)).save(bomb, "PNG")
    status, answer = captions(port, bomb.getvalue(), "image/png")
    assert status == 422 and answer["error"]["message"] == "decompression bomb: 10000x8001 pixels"
    many = [(f"{index}.jpg", "image/jpeg", b"x") for index in range(MAX_PHOTOS + 1)]
    status, answer = captions(port, *form(*many))
    assert (status, answer["error"]["message"]) == (413, "more than 64 photos")
    assert captions(port, *form(*many[:-1]))[0] == 422  # they are decoded, and damaged
    body, kind = form(*many[:60])
    field = b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nholiday\r\n'
    assert captions(port, field * 5 + body, kind)[0] == 422  # 60 photos; text fields are none
    status, answer = captions(port, field * 1024 + body, kind)
    assert (status, answer["error"]["message"]) == (413, "more than 1024 parts in the form")
    status, answer = captions(port, in_json(*[b"x"] * 65))
    assert (status, answer["error"]["message"]) == (413, "more than 64 photos")


HEAD = b"POST /v1/captions HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"


def answer_of(connection):
    """Status and JSON of what a socket receives until the server closes it."""
    received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head and b"Content-Security-Policy: " in head
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def test_a_body_of_unknown_length_is_refused_at_the_limit(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"9000\r\n" + b"x" * 0x9000 + b"\r\n")
        assert answer_of(connection) == (413, "larger than 0.1 MB")


def test_a_client_that_sends_far_too_much_still_reads_why_it_is_refused(port):
    """Python's client sends everything first: the answer is lost where a server closes the connection meanwhile."""
    for megabytes in (1, 100):
        status, answer = captions(port, bytes(megabytes * 1_000_000))
        assert status == 413 == answer["error"]["status"] and answer["error"]["message"] == "larger than 0.1 MB"


def test_a_body_far_over_the_limit_is_refused_before_it_is_sent(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(HEAD + b"Content-Length: 9000000000\r\n\r\n")
        assert answer_of(connection) == (413, "larger than 0.1 MB")


def test_what_is_not_http_is_a_json_error(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
        assert answer_of(connection)[0] == 400


def test_other_addresses_and_methods_are_json_errors(port):
    for method, path, status, message in (
        ("GET", "/none", 404, "no such address; GET /v1/captions shows how to ask"),
        ("DELETE", "/v1/captions", 405, "DELETE is not answered here; there is "),
        ("GET", "/v1/models/colours:predict", 405, "GET is not answered here; there is "),
        ("GET", "/static/../serve.py", 404, "no such address"),
    ):
        found, headers, content = ask(port, method, path)
        error = json.loads(content)["error"]
        assert found == status == error["status"] and error["message"].startswith(message)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert status == 404 or "POST" in headers["Allow"]


def test_get_shows_how_to_ask(port, photos, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    status, _, content = ask(port, "GET", "/v1/captions")
    usage = json.loads(content)
    assert status == 200 and "AVIF; up to 64 in a request, of up to 0.1 MB" in usage["photos"]
    done = subprocess.run(shlex.split(usage["usage"][0]), cwd=tmp_path, capture_output=True)
    assert json.loads(done.stdout)["captions"][0]["caption"] == expected_caption(photos[0])


def test_health_reports_the_model_and_the_limits(port):
    status, _, content = ask(port, "GET", "/healthz")
    limits = {"max_megabytes": MAX_MEGABYTES, "max_photos": 64, "max_batch": 8}
    formats = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]
    expected = {"status": "ok", "model": "colours/2", "nbest": BEAM, "formats": formats, **limits}
    assert status == 200 and json.loads(content) == expected


def test_requests_photos_and_errors_are_counted(port, photos):
    before = measured(port)
    captions(port, *form(("a.jpg", "", photos[0]), ("b.jpg", "", b"x"), ("c.jpg", "", b"")))
    captions(port, b"x")
    captions(port, bytes(200_000))
    ask(port, "GET", "/none")
    after = measured(port)
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert {name: value for name, value in grown.items() if name.endswith(("total", "count")) or "_total " in name} == {
        "tfcaption_requests_total 200": 2,  # with the first /metrics
        "tfcaption_requests_total 413": 1,
        "tfcaption_requests_total 422": 1,
        "tfcaption_requests_total 404": 1,
        "tfcaption_photos_captioned_total": 1,
        "tfcaption_photo_errors_total not an image": 2,
        "tfcaption_photo_errors_total empty file": 1,
        "tfcaption_request_seconds_count": 2,
        "tfcaption_batch_photos_count": 1,
    }
    assert 0 < grown["tfcaption_request_seconds_sum"] < 30


LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z 127.0.0.1 (\S+) (\S+) (\d+) (\d+) bytes (\d+) photos \d+ ms")


def await_lines(caplog, count):
    """A request is logged by its thread, after its answer was sent."""
    start = time.monotonic()
    while len(caplog.records) < count and time.monotonic() - start < 10:
        time.sleep(0.01)


def test_each_request_is_a_line_of_the_access_log_that_no_client_can_forge(port, photos, caplog):
    with caplog.at_level("INFO", logger="tfcaption.access"):
        _, _, content = ask(port, "POST", "/v1/captions?nbest=1", photos[0])
        await_lines(caplog, 1)
        captions(port, bytes(200_000))
        await_lines(caplog, 2)
        ask(port, "GET", "/none%0A2026-01-01T00:00:00Z%20forged")
        await_lines(caplog, 3)
    lines = [LINE.fullmatch(record.getMessage()).groups() for record in caplog.records]
    assert lines[0] == ("POST", "/v1/captions?nbest=1", "200", str(len(content)), "1")
    assert lines[1][:3] == ("POST", "/v1/captions", "413")
    assert lines[2][:3] == ("GET", "/none?2026-01-01T00:00:00Z?forged", "404") and len(lines) == 3


def test_the_page_loads_nothing_from_other_hosts_and_runs_only_its_own_scripts(port):
    _, headers, page = ask(port, "GET", "/")
    policy = headers["Content-Security-Policy"]
    assert headers["Content-Type"].startswith("text/html") and "unsafe" not in policy
    assert "script-src 'self' 'sha256-" in policy and "frame-ancestors 'none'" in policy
    text = page.decode()
    for name, kind in (("page.css", "text/css"), ("page.js", "javascript")):
        status, headers, content = ask(port, "GET", f"/static/{name}")
        assert f'"static/{name}"' in text and status == 200 and kind in headers["Content-Type"]
        text += content.decode()
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert " on" not in page.decode().partition("<body>")[2].replace(" or ", "") and " style=" not in text
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text


def mounted(app):
    """The application below a prefix, which the request then names."""
    return DispatcherMiddleware(NotFound(), {"/captioner": app})


def stripped(app):
    """A proxy that removes a prefix and says nothing of it."""
    return lambda environ, start: app(environ | {"PATH_INFO": environ["PATH_INFO"][len("/captioner") :] or "/"}, start)


def app_of(export):
    captioner = ExportedCaptioner(export, batch_size=8, padded=False)
    return make_app(Captions(captioner, OPTIONS.max_batch), OPTIONS)


@pytest.mark.parametrize("below", [mounted, stripped])
def test_every_address_of_the_page_is_found_below_a_prefix(export, below):
    client = Client(below(app_of(export)))
    for address in ("/captioner", "/captioner/"):
        assert client.get(address, follow_redirects=True).data == (PAGE_FOLDER / "index.html").read_bytes()
    content = "".join((PAGE_FOLDER / name).read_text() for name in ("index.html", "page.js", "page.css"))
    found = re.findall(r"""(?:href|src|action)="(?!data:)([^"]*)"|fetch\(["`]([^"`$]*)|url\((.*?)\)""", content)
    addresses = {"".join(groups) for groups in found}
    assert addresses == {"static/page.css", "static/page.js", "static/sample.jpg", "v1/captions", "healthz"}
    for address in addresses:
        assert client.get(urljoin("/captioner/", address)).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/captioner"])
def test_hints_name_the_address_that_clients_use(export, prefix):
    client = Client(app_of(export))
    said = {"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": prefix}
    (first, *_) = client.get("/v1/captions", headers=said).json["usage"]
    assert first == f"curl --data-binary @photo.jpg https://example.org{prefix}/v1/captions"
    message = client.get("/none", headers=said).json["error"]["message"]
    assert message == f"no such address; GET {prefix}/v1/captions shows how to ask"


def test_a_server_learns_its_address_from_a_proxy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/captions", headers={"X-Forwarded-Prefix": "/captioner"})
    assert f"127.0.0.1:{port}/captioner/v1/captions" in connection.getresponse().read().decode()
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("below", [mounted, stripped])
@pytest.mark.parametrize("address", ["/captioner", "/captioner/"])
def test_a_browser_runs_the_page_below_a_prefix(browser, export, tmp_path, below, address):
    server = make_server("127.0.0.1", 0, below(app_of(export)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options = [*quiet, f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom"]
    try:
        command = [browser, *options, f"http://127.0.0.1:{server.server_port}{address}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        server.shutdown()
        thread.join()
    assert "TIFF, AVIF, up to 0.1 MB each</small>" in done.stdout, done.stderr  # what /healthz said


@contextlib.contextmanager
def command(*arguments):
    """The process of the command, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tfcaption.serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that a shell started in the background ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("captions at http://127.0.0.1:") and "Ctrl-C" in line
        yield process, int(line.split(":")[2].split()[0])
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("end", "quiet"), [(signal.SIGINT, []), pytest.param(signal.SIGTERM, ["--quiet"], marks=pytest.mark.slow)]
)
def test_the_command_serves_on_this_machine_only_until_it_is_stopped(export, photos, capsys, end, quiet):
    with command(str(export), *quiet) as (process, port):
        assert captions(port, photos[3])[1]["captions"][0]["caption"] == expected_caption(photos[3])
        assert json.loads(ask(port, "GET", "/healthz")[2])["model"] == "mean"
        if not quiet:
            assert serve.main([str(export), "--port", str(port)]) == 1
            assert f"error: 127.0.0.1:{port}: Address already in use; choose another --port" in capsys.readouterr().err
        os.kill(process.pid, end)
        printed, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in errors
    assert len(LINE.findall(printed)) == (0 if quiet else 2)


def test_a_run_is_served_like_an_export(trained_run, photos):
    captioner = find_model(trained_run).open()
    warm_up(captioner, max_batch=1)
    expected = captioner([captioner.prepare(photos[0])])[0].nbest
    with serving(captioner) as port:
        (found,) = captions(port, photos[0], path=f"/v1/captions?nbest={len(expected)}")[1]["captions"]
    assert [hypothesis["caption"] for hypothesis in found["nbest"]] == [caption for caption, _ in expected]


def test_a_path_without_a_model_is_a_clear_error(tmp_path, capsys):
    assert serve.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: is empty, neither a run directory nor an export\n"
    assert serve.main([str(tmp_path), "--max_batch", "0"]) == 1
    assert capsys.readouterr().err == "error: --max_batch 0: must be greater than 0, and finite\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--port", "-1", "--port -1: must be from 0 (any free port) to 65535"),
        ("--port", "65536", "--port 65536: must be from 0 (any free port) to 65535"),
        ("--max_megabytes", "nan", "--max_megabytes nan: must be greater than 0, and finite"),
        ("--max_megabytes", "inf", "--max_megabytes inf: must be greater than 0, and finite"),
        ("--max_megabytes", "-1", "--max_megabytes -1: must be greater than 0, and finite"),
        ("--host", "192.0.2.1", "--host 192.0.2.1: not an address of this machine ("),  # an address of documentation
        ("--host", "no machine", "--host no machine: not an address of this machine ("),
        ("--host", "x" * 64, f"--host {'x' * 64}: not an address of this machine (not a name of a machine)"),
    ],
)
def test_a_wrong_address_or_limit_is_an_error_that_names_its_option_before_the_model_is_loaded(
    export, capsys, monkeypatch, option, value, message
):
    monkeypatch.setattr(serve, "start_tensorflow", lambda: pytest.fail("loads the model"))
    assert serve.main([str(export), "--port", "0", f"{option}={value}"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {message}") and "--port" not in printed.removeprefix("error: --port")


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(export, port, capsys, monkeypatch):
    monkeypatch.setattr(serve, "start_tensorflow", lambda: pytest.fail("loads the model"))
    assert serve.main([str(export), "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"error: 127.0.0.1:{port}: Address already in use; choose another --port\n"
