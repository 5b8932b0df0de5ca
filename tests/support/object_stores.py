"""Object stores on this machine: servers that speak as S3 and Google Cloud Storage do."""

import urllib.request
from contextlib import contextmanager

BUCKET = "tfcaption-test"


@contextmanager
def s3_server():
    """A server of S3: Beam's options for it, and a client."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        access = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **access)
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"")  # its stores outlive it in one process
        client.create_bucket(Bucket=BUCKET)
        flags = ["--s3_access_key_id=key", "--s3_secret_access_key=secret", "--s3_region_name=us-east-1"]
        yield [f"--s3_endpoint_url=http://{host}:{port}", *flags], client
    finally:
        server.stop()


@contextmanager
def google_server():
    """A server of Google Cloud Storage: its address, and a client."""
    from gcp_storage_emulator import server as emulator
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    raw, read = emulator._read_raw_data, emulator._read_data

    def raw_data(handler):  # TensorFlow says both how long its uploads are, and that they come in chunks
        if handler.headers.get("Transfer-Encoding") == "chunked":
            del handler.headers["Content-Length"]
        return raw(handler)

    emulator._read_raw_data, emulator._read_data = raw_data, lambda *arguments: read(*arguments) or b""
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        url = f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
        options = {"api_endpoint": url}
        yield url, storage.Client(project="test", credentials=AnonymousCredentials(), client_options=options)
    finally:
        server.stop()
        emulator._read_raw_data, emulator._read_data = raw, read
