"""A ticket system: a real HTTP server that knows a few changes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "Bearer ticket-token-4711"
APPROVED, REQUESTED = "CHG0012345", "CHG0012346"


@dataclass
class TicketSystem:
    """Its address, and what it was asked."""

    base: str
    asked: list[str] = field(default_factory=list)

    def setting(self) -> dict[str, Any]:
        """Return what an inventory says of it, in ServiceNow's shape."""
        return {
            "url": f"{self.base}/api/now/table/change_request?sysparm_query=number={{ticket}}",
            "headers": {"Authorization": TOKEN},
            "expect": [
                {"path": "result[0].number", "value": "{ticket}"},
                {"path": "result[0].approval", "value": "approved"},
                {"path": "result[0].state", "value": ["-2", "-1"]},
            ],
            "timeout": 60,
        }


@contextmanager
def ticket_system() -> Iterator[TicketSystem]:
    """Answer while the block runs."""
    made: list[TicketSystem] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made[0].asked.append(self.path)
            url = urlsplit(self.path)
            if url.path == "/broken":
                self._answer(200, "<html>")
            elif url.path == "/login":
                self.send_response(302)
                self.send_header("Location", f"{made[0].base}/api")
                self.end_headers()
            elif self.headers["Authorization"] != TOKEN:
                self._answer(401, "{}")
            else:
                number = parse_qs(url.query)["sysparm_query"][0].removeprefix("number=")
                approval = {APPROVED: "approved", REQUESTED: "requested"}.get(number)
                found = {"number": number, "state": "-1", "approval": approval}
                self._answer(200, json.dumps({"result": [found] if approval else []}))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(TicketSystem(f"http://127.0.0.1:{server.server_port}"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made[0]
        finally:
            server.shutdown()
            thread.join()
