"""How the supervisor sees that an IDE answers."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path

import pytest

from compute.clusters.local.supervisor import answers


@pytest.mark.parametrize(
    ("line", "statuses", "expected"),
    [
        (b"HTTP/1.1 200 OK", [200], True),
        (b"HTTP/1.1 302 Found", [200], False),
        (b"HTTP/1.1 302 Found", [], True),
        (b"HTTP/1.1 403 Forbidden", [], False),
        (b"HTTP/1.1 500 Oh", [], False),
        (b"SSH-2.0-OpenSSH", [], False),
        (b"", [], False),
    ],
)
def test_an_answer_counts_by_its_status(line: bytes, statuses: list[int], expected: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = Path(folder) / "ide.sock"
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(line + b"\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        assert answers(path, "/ready", statuses) is expected
