"""A team's webhook: a real HTTP server that remembers what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Channel:
    """What was posted, in order."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def channel(secret: str) -> Iterator[Channel]:
    """Listen while the block runs; *secret* is a part of the address, as with real services."""
    made: list[Channel] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made[0].messages.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Channel(f"http://127.0.0.1:{server.server_port}/{secret}"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made[0]
        finally:
            server.shutdown()
            thread.join()
