"""A hub on 127.0.0.1, with the answers and the ill manners of the real one.

Facts it follows (huggingface_hub's client and tests, the hub's own answers): `/api/models/ID/revision/REV`,
`/api/models/ID/tree/COMMIT` in pages with `Link`, `/api/models?search=`, `/ID/resolve/COMMIT/PATH`: small files at
once, large ones by redirect to another origin that must not see the token; `X-Repo-Commit`, `X-Linked-Etag`,
`X-Linked-Size`, `X-Error-Code`.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 2048  # files from this size on are "LFS"


@dataclass
class Repo:
    """One repository: its files, and how it treats who asks."""

    files: dict[str, bytes]
    commit: str = ""
    gated: bool = False
    private: bool = False
    downloads: int = 0
    revisions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.commit:
            self.commit = hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()
        self.revisions.setdefault("main", self.commit)

    def listed(self, path: str) -> dict[str, Any]:
        data = self.files[path]
        sha1 = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        item: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": sha1}
        if len(data) >= LARGE:
            sha256 = hashlib.sha256(data).hexdigest()
            item["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
        return item

    def etag(self, path: str) -> str:
        item = self.listed(path)
        return str(item["lfs"]["oid"] if "lfs" in item else item["oid"])


@dataclass
class Trouble:
    """What goes wrong with the bytes of one path (or of all): each as often as `times` says."""

    cut_after: int | None = None  # close the connection after so many bytes of a body
    wrong_byte: int | None = None  # change the byte at this offset of the file
    status: int = 0  # answer this instead
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before each piece
    piece: int = 1 << 16
    no_range: bool = False
    extra: bytes = b""  # bytes sent beyond the end
    times: int = 1 << 30


class Hub:
    """The server; `log` holds (path, first byte, bytes sent) of every file answer."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}
        self.trouble: dict[str, Trouble] = {}
        self.log: list[tuple[str, int, int]] = []
        self.asked: list[str] = []
        self.leaked: list[str] = []  # tokens seen where they do not belong
        self.token = "hf_right"
        self.page = 3
        self.wrap: Callable[[Any], Any] = lambda answer: answer
        self._lock = threading.Lock()
        self._servers = [_Server(("127.0.0.1", 0), _handler(self, part)) for part in ("hub", "cdn")]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def add(self, name: str, files: dict[str, bytes], **facts: Any) -> Repo:
        self.repos[name] = Repo(files, **facts)
        return self.repos[name]

    def spent(self, path: str) -> Trouble | None:
        """The trouble of a path, counted."""
        with self._lock:
            known = [self.trouble.get(path), self.trouble.get("*") if path not in ("api", "json") else None]
            trouble = next((t for t in known if t is not None and t.times > 0), None)
            if trouble is None:
                return None
            trouble.times -= 1
            return trouble

    def sent(self, path: str) -> int:
        """Bytes of a file that left the server."""
        return sum(count for p, _, count in self.log if p == path)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is part of the tests, not worth a traceback."""


def _handler(hub: Hub, part: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            try:
                if part == "cdn":
                    self._cdn()
                else:
                    self._hub(urlsplit(self.path))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _refuse(self, status: int, code: str = "", said: str = "", **headers: str) -> None:
            names = {"X_Error_Code": code, "X_Error_Message": said}
            self._answer(status, b'{"error":"no"}', **{k: v for k, v in names.items() if v}, **headers)

        def _hub(self, url: Any) -> None:
            bits = unquote(url.path).strip("/").split("/")
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            if bits[:2] == ["api", "models"]:
                self._api(bits[2:], query, url)
            elif "resolve" in bits:
                at = bits.index("resolve")
                self._resolve("/".join(bits[:at]), bits[at + 1], "/".join(bits[at + 2 :]))
            else:
                self._refuse(404)

        def _api(self, bits: list[str], query: dict[str, str], url: Any) -> None:
            trouble = hub.spent("api")
            if trouble is not None:
                return self._refuse(trouble.status, **trouble.headers)
            if not bits:
                return self._search(query)
            name = "/".join(bits[:2])
            if name in hub.moved:
                where = url.path.replace(name, hub.moved[name], 1) + ("?" + url.query if url.query else "")
                return self._answer(307, Location=where)
            repo = self._repo(name)
            if repo is None:
                return None
            revision = bits[3] if len(bits) > 3 else "main"
            commit = repo.revisions.get(revision, revision)
            if commit not in repo.revisions.values():
                return self._refuse(404, "RevisionNotFound")
            if bits[2] == "revision":
                return self._json({"id": name, "sha": commit, "gated": repo.gated, "private": repo.private})
            return self._tree(name, repo, int(query.get("cursor", "0")))

        def _tree(self, name: str, repo: Repo, start: int) -> None:
            paths = sorted(repo.files)
            folders = [
                {"type": "directory", "path": p.rpartition("/")[0], "oid": "0" * 40, "size": 0} for p in paths[:1]
            ]
            items = [*(folders if "/" in paths[0] else []), *map(repo.listed, paths)]
            page, end = items[start : start + hub.page], start + hub.page
            extra = {}
            if end < len(items):
                extra["Link"] = (
                    f'<{hub.url}/api/models/{name}/tree/{repo.commit}?recursive=true&cursor={end}>; rel="next"'
                )
            self._json(page, **extra)

        def _search(self, query: dict[str, str]) -> None:
            words = query.get("search", "").lower().split()
            found = [(n, r) for n, r in hub.repos.items() if not r.private and all(w in n.lower() for w in words)]
            found = [
                (n, r) for n, r in found if n.startswith(query.get("author", "") + "/" if "author" in query else "")
            ]
            found.sort(key=lambda item: -item[1].downloads)
            items = [{"id": n, "modelId": n, "downloads": r.downloads, "likes": 1} for n, r in found]
            self._json(items[: int(query.get("limit", "50"))])

        def _json(self, value: Any, **headers: str) -> None:
            body = json.dumps(hub.wrap(value)).encode()
            trouble = hub.spent("json")
            if trouble is not None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            self._answer(200, body, Content_Type="application/json", **headers)

        def _repo(self, name: str) -> Repo | None:
            """The repository if the token may see it; else the hub's refusal is sent."""
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token and token != hub.token:
                self._refuse(401, said="Invalid credentials in Authorization header")
                return None
            repo = hub.repos.get(name)
            if repo is None or (repo.private and not token):
                self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
                return None
            return repo

        def _resolve(self, name: str, commit: str, path: str) -> None:
            repo = self._repo(name)
            if repo is None:
                return
            if repo.gated:
                return self._refuse(
                    403 if "Authorization" in self.headers else 401, "GatedRepo", "Access is restricted"
                )
            if path not in repo.files:
                return self._refuse(404, "EntryNotFound")
            size = len(repo.files[path])
            facts = {"X_Repo_Commit": commit, "ETag": f'"{repo.etag(path)}"'}
            if size >= LARGE:
                facts |= {"X_Linked_Etag": f'"{repo.etag(path)}"', "X_Linked_Size": str(size)}
                return self._answer(302, Location=f"{hub.cdn}/{name}//{path}?sig=1", **facts)
            self._send(name, path, facts)

        def _cdn(self) -> None:
            if "Authorization" in self.headers:
                hub.leaked.append(self.headers["Authorization"])
                return self._refuse(400, said="Only one auth mechanism allowed")
            name, _, path = unquote(urlsplit(self.path).path).strip("/").partition("//")
            self._send(name, path, {})

        def _send(self, name: str, path: str, facts: dict[str, str]) -> None:
            data = hub.repos[name].files[path]
            trouble = hub.spent(path) or Trouble()
            if trouble.status:
                return self._refuse(trouble.status, **trouble.headers)
            start, end, status = 0, len(data), 200
            wanted = self.headers.get("Range", "")
            if wanted and not trouble.no_range:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end, status = int(first), min(int(last) + 1 if last else end, end), 206
                if start >= len(data):
                    return self._refuse(416)
                facts = {**facts, "Content_Range": f"bytes {start}-{end - 1}/{len(data)}"}
            if trouble.wrong_byte is not None:
                changed = bytearray(data)
                changed[trouble.wrong_byte] ^= 0xFF
                data = bytes(changed)
            body = data[start:end] + trouble.extra
            self.send_response(status)
            for key, value in facts.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self._body(path, start, body, trouble)

        def _body(self, path: str, start: int, body: bytes, trouble: Trouble) -> None:
            entry, count = len(hub.log), 0
            with hub._lock:
                entry = len(hub.log)
                hub.log.append((path, start, 0))
            until = len(body) if trouble.cut_after is None else min(trouble.cut_after, len(body))
            while count < until:
                if trouble.delay:
                    time.sleep(trouble.delay)
                piece = body[count : min(count + trouble.piece, until)]
                self.wfile.write(piece)
                count += len(piece)
                hub.log[entry] = (path, start, count)
            if until < len(body):
                self.close_connection = True
                self.connection.close()

    return Handler
