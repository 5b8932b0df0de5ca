"""What surrounds the process does not leak into commands: environment variables, Keras' settings, streams."""

import json
import os
import subprocess
import sys

import keras
import pytest

from tfcaption.runtime.command import EXIT_UNREAD, reports_errors
from tfcaption.runtime.process import KERAS_SETTINGS, environment, set_keras, start_tensorflow

LOOPBACK = "localhost,127.0.0.1,::1"


def environment_of_workers(monkeypatch, **variables):
    """Environment variables of a process that a command starts."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = {}
    code = "import json, os; print(json.dumps(dict(os.environ)))"

    @reports_errors
    def main(argv):
        found["output"] = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        return 0

    before = dict(os.environ)
    assert main([]) == 0 and dict(os.environ) == before
    return json.loads(found["output"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, LOOPBACK),
        ({"no_proxy": "minio.local, localhost"}, "minio.local,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "minio.local"}, f"minio.local,{LOOPBACK}"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, f"a,{LOOPBACK}"),  # as Python's clients read them
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_workers_reach_loopback_past_any_proxy_and_keep_the_users_proxies_for_all_else(monkeypatch, given, expected):
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"), "http://127.0.0.1:9")
    found = environment_of_workers(monkeypatch, **proxies, **given)
    assert found["no_proxy"] == found["NO_PROXY"] == expected
    assert found["grpc_proxy"] == ""  # gRPC uses none
    assert all(found[name] == proxies[name] for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"))


def test_keras_of_a_command_runs_on_tensorflow_whatever_the_user_has_set(monkeypatch):
    found = environment_of_workers(monkeypatch, KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="1", KERAS_HOME="/kept")
    assert found["KERAS_BACKEND"] == "tensorflow" and "TF_USE_LEGACY_KERAS" not in found
    assert found["KERAS_HOME"] == "/kept"


def test_settings_of_keras_json_do_not_reach_the_layers_of_a_command():
    before = set_keras({"image_data_format": "channels_first", "floatx": "float16"})
    try:
        start_tensorflow()
        assert KERAS_SETTINGS == {"image_data_format": "channels_last", "floatx": "float32"}
        assert keras.config.image_data_format() == "channels_last" and keras.config.floatx() == "float32"
    finally:
        set_keras(before)


def test_variables_are_what_they_were_after_an_error(monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.delenv("NEW", raising=False)
    with pytest.raises(ZeroDivisionError), environment(KEPT=None, NEW="2"):
        assert "KEPT" not in os.environ and os.environ["NEW"] == "2"
        raise ZeroDivisionError
    assert os.environ["KEPT"] == "1" and "NEW" not in os.environ


def shell(command, **variables):
    return subprocess.run(["bash", "-c", command], env=os.environ | variables, capture_output=True)


PROGRAM = """
import sys
from tfcaption.runtime.command import reports_errors
from tfcaption.runtime.process import stderr_to_file

@reports_errors
def main(argv=None):
    with open(sys.argv[1], "w") as file:
        for _ in range(10_000):
            print("ein Fuchs läuft über \\u96ea", "\\udce9")
        with stderr_to_file("tfcaption-test-"):
            print("läuft", file=sys.stderr)
        file.write("data")
    return 0

sys.exit(main())
"""


def test_closed_and_ascii_streams_end_no_command_and_get_into_no_file(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    program = f"{sys.executable} {tmp_path}/program.py {tmp_path}/out"
    unread = shell(f"set -o pipefail; {program} | head -1")
    assert unread.stdout.count(b"\n") == 1 and not unread.stderr and unread.returncode == EXIT_UNREAD
    closed = shell(f"{program} <&- >&- 2>&-")
    assert closed.returncode == 0 and (tmp_path / "out").read_text() == "data"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = shell(program, **ascii_only)
    assert said.returncode == 0 and said.stderr.decode() == "läuft\n"
    assert said.stdout.decode().startswith("ein Fuchs läuft über 雪 \\udce9\n")
