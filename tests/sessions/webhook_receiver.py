"""A real receiver of webhooks on loopback, which answers as the test wants it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """``answer`` is called with the handler once a request has been read."""

    answer: Callable[[BaseHTTPRequestHandler], None]
    requests: list[Received] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(Received(self.path, dict(self.headers.items()), body))
                try:
                    receiver.answer(self)
                except OSError:
                    self.close_connection = True  # the sender had enough

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=1"


def plain(status: int, text: str = "ok", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


def failing(times: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """500 so many times, and 200 from then on."""
    left = [times]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        left[0] -= 1
        plain(500 if left[0] >= 0 else 200, "sorry" if left[0] >= 0 else "thanks")(handler)

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    """An answer that does not end."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b"x" * 65536)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A header that comes a byte at a time, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)
