"""A proxy in front of an API server that makes trouble on demand. Clients speak plain HTTP to it, on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
DELAY = 4.0


class Mode(StrEnum):
    PASS = "pass"
    TOO_MANY = "every request is answered 429"
    BROKEN = "every request is answered 500"
    SLOW = "every request takes 4 s more"
    CUT = "every connection is cut"


class FaultProxy:
    """Use as a context manager. ``mode`` counts from the next request on; :meth:`turn` also ends what is under way."""

    def __init__(self, server: str) -> None:
        self.upstream = urlsplit(server)
        self.mode = Mode.PASS
        self.answered: dict[int, int] = {}
        self.expired = 0  # watches that were answered 410, as their status or as an event
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.http = _Server(("127.0.0.1", 0), _Handler)
        self.http.proxy = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.turn(Mode.CUT)

    def turn(self, mode: Mode) -> None:
        """Change the mode and cut every connection, watches too."""
        self.mode = mode
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def kubeconfig(self, token: str) -> str:
        """A kubeconfig (JSON is YAML) whose one context leads through the proxy."""
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "proxied",
                "clusters": [{"name": "proxied", "cluster": {"server": self.url}}],
                "users": [{"name": "proxied", "user": {"token": token}}],
                "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}],
            }
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    proxy: FaultProxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.proxy = self.server.proxy
        self.to_server: http.client.HTTPSConnection | None = None
        with self.proxy.lock:
            self.proxy.open.add(self.connection)

    def finish(self) -> None:
        with self.proxy.lock:
            self.proxy.open.discard(self.connection)
        if self.to_server is not None:
            self.to_server.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # either side has gone: so does the connection
            super().handle()

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mode = self.proxy.mode
        if mode == Mode.CUT:
            self.close_connection = True
        elif mode in (Mode.TOO_MANY, Mode.BROKEN):
            self._refuse(429 if mode == Mode.TOO_MANY else 500)
        else:
            if mode == Mode.SLOW:
                time.sleep(DELAY)
            self._forward(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def _refuse(self, status: int) -> None:
        words = "The server is currently unable to handle the request."
        body = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": words}).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self._count(status)

    def _forward(self, body: bytes) -> None:
        if self.to_server is None:
            trusting = ssl._create_unverified_context()  # a test cluster's own certificate
            self.to_server = http.client.HTTPSConnection(
                str(self.proxy.upstream.hostname), self.proxy.upstream.port, context=trusting, timeout=400
            )
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        self.to_server.request(self.command, self.path, body or None, headers)
        answer = self.to_server.getresponse()
        self._count(answer.status)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while part := answer.read1(65536):
            if b'"code":410' in part:
                self.proxy.expired += 1
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        answer.close()  # or else the connection takes no other request
        self.wfile.write(b"0\r\n\r\n")

    def _count(self, status: int) -> None:
        with self.proxy.lock:
            self.proxy.answered[status] = self.proxy.answered.get(status, 0) + 1

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests look at ``answered``."""
