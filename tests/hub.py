"""A Hub on this machine: it takes repositories and commits, and keeps what it was given."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """Answers the requests of ``HfApi.create_repo`` and of commits.

    Attributes:
        made: What was asked for of each repository, by name.
        files: The bytes of each file that was committed, by repository and path.
        messages: The messages of the commits, in order.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({"error": f"not here: {self.path}"}, 404)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "Bearer" not in self.headers.get("Authorization", ""):
            self._answer({"error": "log in first"}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.server.made[name] = asked
            kind = "datasets/" if asked.get("type") == "dataset" else ""
            self._answer({"url": f"{self.server.url}/{kind}{name}", "id": name, "name": name})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            self._answer({"files": modes})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"error": f"not here: {self.path}"}, 404)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        parts = self.path.split("/")
        name = "/".join(parts[3 : parts.index("commit")])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
            else:
                content = base64.b64decode(value["content"])
                self.server.files.setdefault(name, {})[value["path"]] = content
        self._answer({"commitUrl": f"{self.server.url}/{name}/commit/1", "commitOid": "1"})


@contextmanager
def hub() -> Iterator[Hub]:
    """A Hub that listens within."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
