"""Object stores on this machine: servers that speak as S3 and Google Cloud Storage do."""

import os
import socket
import ssl
import subprocess
import threading
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


@contextmanager
def tensorflow_google_environment(url, folder):
    """Environment variables by which TensorFlow's own gs:// reaches that server.

    It knows no other address than Google's, so a proxy, to which it connects as to any proxy, passes for Google with a
    certificate that it is told to trust.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = "subjectAltName=DNS:www.googleapis.com,DNS:storage.googleapis.com"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-addext", names]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, url), daemon=True).start()
        yield {
            **os.environ,
            "STORAGE_EMULATOR_HOST": url,  # for Beam
            "HTTPS_PROXY": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "CURL_CA_BUNDLE": str(certificate),
            "NO_GCE_CHECK": "true",
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "1",
        }
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener, context, url):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # closed: the end
            return
        threading.Thread(target=_tunnel, args=(connection, context, url), daemon=True).start()


def _tunnel(connection, context, url):
    """One connection of a client to "Google": its CONNECT, its TLS, and then its requests to the server."""
    host = url.removeprefix("http://")
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        received = connection.recv(4096)
        if not received:
            return
        request += received
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    client = context.wrap_socket(connection, server_side=True)
    first = client.recv(1 << 16)  # the server would wait for it, and serve nobody else
    if not first:
        return
    server = socket.create_connection(tuple(host.split(":")))
    # The server answers with addresses at the host that it was asked by.
    replaced = b"Host: www.googleapis.com\r\n", f"Host: {host}\r\n".encode()
    server.sendall(first.replace(*replaced))
    threading.Thread(target=_pipe, args=(client, server, replaced), daemon=True).start()
    _pipe(server, client, (b"", b""))


def _pipe(source, target, replaced):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data.replace(*replaced) if replaced[0] else data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            end.close()
