"""Object stores on this machine: servers that speak as S3 and Google Cloud Storage do, one of each per process.

Clients keep a server's address as long as their process lives, so tests share a server; each has a folder of its own.
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

BUCKET = "tfcaption-test"
_folders = itertools.count()


@dataclass(frozen=True)
class Store:
    """An empty folder of a store."""

    url: str
    flags: list[str]  # Beam's options
    put: Callable[[str, bytes], object]  # name and content of a file in the folder


@cache
def _s3_server():
    """The address of a server of S3, and a client."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **access)
    client.create_bucket(Bucket=BUCKET)
    return f"http://{host}:{port}", client


@cache
def _google_server():
    """The address of a server of Google Cloud Storage, and its bucket."""
    from gcp_storage_emulator import server as emulator
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    read = emulator._read_data
    emulator._read_data = lambda *arguments: read(*arguments) or b""  # of an empty file
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server._api.daemon = True  # it must not outlive the tests
    server.start()
    http = server._api._httpd
    http.handle_error = lambda *_: None  # clients may close a connection before they have read an answer
    url = f"http://127.0.0.1:{http.server_address[1]}"
    options = {"api_endpoint": url}
    client = storage.Client(project="test", credentials=AnonymousCredentials(), client_options=options)
    return url, client.bucket(BUCKET)


def s3_store(monkeypatch):
    """A store in S3, which `tfcaption` finds by environment variables."""
    pytest.importorskip("moto.server", reason="needs the packages of the extra `dev`")
    url, client = _s3_server()
    access = {"access_key_id": "key", "secret_access_key": "secret"}
    for name, value in ({"endpoint_url": url, "default_region": "us-east-1"} | access).items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    options = {"endpoint_url": url, "region_name": "us-east-1"} | access
    flags = [f"--s3_{name}={value}" for name, value in options.items()]
    folder = f"{next(_folders)}"
    return Store(
        f"s3://{BUCKET}/{folder}",
        flags,
        lambda name, data: client.put_object(Bucket=BUCKET, Key=f"{folder}/{name}", Body=data),
    )


def google_store(monkeypatch):
    """A store in Google Cloud Storage, which `tfcaption` and Beam find by an environment variable."""
    pytest.importorskip("gcp_storage_emulator", reason="needs the packages of the extra `dev`")
    import fsspec
    from apache_beam.internal.gcp import auth

    url, bucket = _google_server()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    monkeypatch.setitem(fsspec.config.conf, "gcs", {"token": "anon"})  # asks nobody for credentials
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)  # that there are none, after looking for 24 s
    folder = f"{next(_folders)}"
    return Store(
        f"gs://{BUCKET}/{folder}",
        ["--no_auth"],
        lambda name, data: bucket.blob(f"{folder}/{name}").upload_from_string(data),
    )


STORES = {"gs": google_store, "s3": s3_store}
