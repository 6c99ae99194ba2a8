"""A small IDE on a unix socket, for tests of the gateway: it tells what reached it, echoes WebSockets, and streams."""

from __future__ import annotations

import contextlib
import json
import socketserver
import struct
import threading
import time
from base64 import b64encode
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

BLOCK = b"\0" * 1024 * 1024


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers that leave are part of the tests."""


class Ide:
    """``received`` is the number of body bytes that have arrived so far; ``requests`` their paths."""

    def __init__(self, path: Path) -> None:
        self.endpoint = f"unix:{path}"
        self.received = 0
        self.requests: list[str] = []
        self.server = Server(str(path), Handler)
        self.server.ide = self  # type: ignore[attr-defined]
        path.chmod(0o666)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    @property
    def ide(self) -> Ide:
        return self.server.ide  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        self.ide.requests.append(self.path)
        path, _, query = self.path.partition("?")
        if self.headers.get("Upgrade"):
            self.websocket()
        elif path == "/download":
            self.head(200, {"Content-Length": str(int(query) * len(BLOCK))})
            for _ in range(int(query)):
                self.wfile.write(BLOCK)
        elif path == "/events":
            self.head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"data: tick\n\n")
                    time.sleep(0.1)
        elif path == "/headers":
            self.text(json.dumps([[name.lower(), value] for name, value in self.headers.items()]))
        elif path == "/cookie":
            self.text("", {"Set-Cookie": "theirs=1; Domain=apps.localhost; Path=/; HttpOnly"})
        elif path == "/accel":
            self.text("mine", {"X-Accel-Redirect": "/_slipway/authorize"})
        elif path == "/redirect":
            self.text("", {"Location": "/lab?a=1"}, 302)
        elif path == "/status":
            self.text("the IDE's own words", status=int(query))
        else:
            self.text(f"hello from {self.path}")

    def do_POST(self) -> None:
        self.ide.requests.append(self.path)
        left = int(self.headers.get("Content-Length", 0))
        self.ide.received = 0
        while left and (data := self.rfile.read1(min(left, 256 * 1024))):
            left -= len(data)
            self.ide.received += len(data)
        self.text(str(self.ide.received))

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def text(self, body: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.head(status, {"Content-Length": str(len(body.encode())), **(headers or {})})
        self.wfile.write(body.encode())

    def websocket(self) -> None:
        """Says first which headers came, then echoes text frames (of less than 64 KB)."""
        accept = b64encode(sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.head(101, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept})
        self.frame(1, json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())
        self.close_connection = True
        while start := self.rfile.read(2):
            length = start[1] & 127
            if length == 126:
                length = struct.unpack(">H", self.rfile.read(2))[0]
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(length)))
            self.frame(start[0] & 15, data)
            if start[0] & 15 == 8:
                return

    def frame(self, kind: int, data: bytes) -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        self.wfile.write(bytes([0x80 | kind]) + size + data)
