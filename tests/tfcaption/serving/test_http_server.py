"""The server over real HTTP on a free port: answers, refusals, parallel requests, and the content of the page."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.support.fake_export import BEAM, expected_caption, write_export
from tfcaption import serve
from tfcaption.records.captions import Hypothesis, PhotoCaptions
from tfcaption.serving.exported_captioner import ExportedCaptioner
from tfcaption.serving.http_server import MAX_PHOTOS, make_server

MAX_MEGABYTES = 0.1


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export") / "mean")


def started(captioner):
    """A server in a thread, on a free port."""
    server = make_server(captioner, host="127.0.0.1", port=0, max_megabytes=MAX_MEGABYTES)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    return server


@pytest.fixture(scope="module")
def port(export):
    server = started(ExportedCaptioner(export, batch_size=1))
    yield server.effective_port
    server.close()


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


def captions(port, body, kind="image/jpeg"):
    status, headers, content = ask(port, "POST", "/v1/captions", body, kind)
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
    assert found["caption"] == caption and found["name"] == ""
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


def test_the_model_runs_for_one_request_at_a_time(photos):
    class Counting:
        beam, inside, most = 1, 0, 0

        def prepare(self, data):
            return data

        def __call__(self, photos):
            Counting.inside += 1
            Counting.most = max(Counting.most, Counting.inside)
            threading.Event().wait(0.01)
            Counting.inside -= 1
            return [PhotoCaptions((Hypothesis("x", -1.0),))] * len(photos)

    server = started(Counting())
    with ThreadPoolExecutor(20) as pool:
        assert {status for status, _ in pool.map(lambda data: captions(server.effective_port, data), photos)} == {200}
    server.close()
    assert Counting.most == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (422, b"", "image/jpeg", "empty file"),
        (422, b"no photo", "image/png", "not an image"),
        (415, b"%PDF", "application/pdf", "is application/pdf; send one of image/bmp"),
        (415, b"{}", "application/json", "is application/json"),
        (413, b"x" * 100_001, "image/jpeg", "larger than 0.1 MB"),
        (400, *form(), "the form holds no file"),
        (415, *form(("a.pdf", "application/pdf", b"x")), "a.pdf: is application/pdf"),
        (413, *form(("a.jpg", "image/jpeg", b"x" * 100_001)), "larger than 0.1 MB"),
    ],
)
def test_a_body_that_cannot_be_captioned_is_refused_with_a_reason(port, status, body, kind, message):
    found, answer = captions(port, body, kind)
    assert found == status == answer["error"]["status"] and message in answer["error"]["message"]


def test_all_damaged_photos_of_a_form_are_named(port, photos):
    files = [("good.jpg", "image/jpeg", photos[0]), ("cut.jpg", "image/jpeg", photos[1][:-200])]
    status, answer = captions(port, *form(*files, ("<b>.png", "image/png", b"x")))
    message = answer["error"]["message"]
    assert status == 422 and "cut.jpg: truncated" in message and "<b>.png: not an image" in message
    assert "good.jpg" not in message


def test_photos_of_too_many_pixels_and_too_many_photos_are_refused(port, photos):
    bomb = io.BytesIO()
    Image.new("1", (10_000, 8_001)).save(bomb, "PNG")
    status, answer = captions(port, bomb.getvalue(), "image/png")
    assert status == 422 and answer["error"]["message"] == "decompression bomb: 10000x8001 pixels"
    many = [(f"{index}.jpg", "image/jpeg", b"x") for index in range(MAX_PHOTOS + 1)]
    status, answer = captions(port, *form(*many))
    assert status == 413 and "more than 64 photos" in answer["error"]["message"]
    assert captions(port, *form(*many[:-1]))[0] == 422  # they are decoded, and damaged


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"POST /v1/captions HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n")
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + b"9000\r\n" + b"x" * 0x9000 + b"\r\n")
        with contextlib.suppress(OSError):  # the server hangs up
            for _ in range(20):
                connection.sendall(b"9000\r\n" + b"x" * 0x9000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_far_over_the_limit_is_refused_before_it_is_sent(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = (
            b"POST /v1/captions HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 9000000000\r\n\r\n"
        )
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_other_addresses_and_methods_are_json_errors(port):
    for method, path, status in (
        ("GET", "/none", 404),
        ("GET", "/v1/captions", 405),
        ("GET", "/static/../serve.py", 404),
    ):
        found, headers, content = ask(port, method, path)
        assert found == status == json.loads(content)["error"]["status"]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_health_reports_that_the_model_is_loaded(port):
    status, _, content = ask(port, "GET", "/healthz")
    assert status == 200 and json.loads(content) == {"status": "ok", "nbest": BEAM, "max_megabytes": MAX_MEGABYTES}


def test_the_page_loads_nothing_from_other_hosts_and_runs_no_inline_script(port):
    _, headers, page = ask(port, "GET", "/")
    policy = headers["Content-Security-Policy"]
    assert headers["Content-Type"].startswith("text/html") and "unsafe" not in policy
    assert "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    text = page.decode()
    for name, kind in (("page.css", "text/css"), ("page.js", "javascript")):
        status, headers, content = ask(port, "GET", f"/static/{name}")
        assert f'"/static/{name}"' in text and status == 200 and kind in headers["Content-Type"]
        text += content.decode()
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert " on" not in page.decode().partition("<body>")[2].replace(" or ", "") and " style=" not in text
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text


def test_the_command_serves_on_this_machine_only_until_it_is_interrupted(export, photos, capsys):
    command = [sys.executable, "-m", "tfcaption.serve", "--model", str(export), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that a shell started in the background ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("captions at http://127.0.0.1:") and "Ctrl-C" in line
        port = int(line.split(":")[2].split()[0])
        assert captions(port, photos[3])[1]["captions"][0]["caption"] == expected_caption(photos[3])
        assert serve.main(["--model", str(export), "--port", str(port)]) == 1
        assert f"error: 127.0.0.1:{port}: Address already in use; choose another --port" in capsys.readouterr().err
    finally:
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in errors


def test_a_path_without_an_export_is_a_clear_error(tmp_path, capsys):
    assert serve.main(["--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: not an exported model")
