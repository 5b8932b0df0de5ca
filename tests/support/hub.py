"""A server on this machine that speaks as much of the Hugging Face Hub's protocol as downloads and uploads need."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """Models: OWNER/NAME -> their commits, oldest first, each as (id, path -> content)."""

    models: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    token: str = "hf_secret"  # of who may write
    status: int = 0  # that it answers everything with; 0: it works
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def commit(self, model: str, files: dict[str, bytes]) -> str:
        """A new commit that holds these files; its id."""
        commits = self.models.setdefault(model, [])
        digest = hashlib.sha1(repr((len(commits), sorted(files.items()))).encode()).hexdigest()
        commits.append((digest, dict(files)))
        return digest

    def files(self, model: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision names."""
        commits = self.models[model]
        return commits[-1] if revision == "main" and commits else next((c for c in commits if c[0] == revision), None)


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""

    @property
    def hub(self) -> FakeHub:
        return self.server.hub  # type: ignore[attr-defined, no-any-return]

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.status:
            return self._answer(self.hub.status, {"error": "out of order"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            model, kind, revision = found[1], found[2], found[3] or "main"
            if (commit := self._found(model, revision)) is None:
                return None
            if kind == "tree":
                entries = [
                    {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}
                    for name, content in commit[1].items()
                ]
                return self._answer(200, entries)
            siblings = [{"rfilename": name} for name in commit[1]]
            return self._answer(200, {"id": model, "sha": commit[0], "siblings": siblings, "private": False})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if (commit := self._found(found[1], found[2])) is None:
                return None
            content = commit[1][found[3]]
            headers = {"X-Repo-Commit": commit[0], "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            return self._answer(200, content, headers)
        return self._answer(404, {"error": path})

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"POST {path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            model = f"{asked['organization']}/{asked['name']}"
            if model in self.hub.models:
                return self._answer(409, {"url": f"{self.hub.address}/{model}", "error": "You already created it"})
            self.hub.models[model] = []
            self.hub.commit(model, {".gitattributes": b""})
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(model)
            return self._answer(200, {"url": f"{self.hub.address}/{model}", "name": model})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        assert found, path
        if found[2] == "preupload":
            names = [each["path"] for each in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self._answer(200, {"files": files})
        files = dict(self.hub.files(found[1])[1])
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                assert line["value"]["encoding"] == "base64"
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        commit = self.hub.commit(found[1], files)
        address = f"{self.hub.address}/{found[1]}/commit/{commit}"
        return self._answer(200, {"success": True, "commitUrl": address, "commitOid": commit})

    def _found(self, model: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit; None where the answer says why it is not to be had."""
        authorized = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if model not in self.hub.models or (model in self.hub.private and not authorized):
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif model in self.hub.gated and not authorized:
            self._answer(403, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
        elif (commit := self.hub.files(model, revision)) is None:
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return commit
        return None

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A running hub without models."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = hub = FakeHub(address=f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    # `shutdown` waits until the server looks again, every 0.01 s.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
