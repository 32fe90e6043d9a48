"""The process of the small HTTP application: an old release that doesn't know organizationId.

How it learns of maintenance mode is in app_flags.py; by default as in real life, from a file that
it reads when it starts and on SIGHUP: whoever changes the file must restart or reload it.
"""

from __future__ import annotations

import hmac
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bson import ObjectId, json_util
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from . import app_flags
from .app_flags import Flag
from .processes import LOOPBACK

VERSION = "1.4.2"

USER_WRITES_BLOCKED = 371
PAGE = 20
LARGEST_BODY = 100_000

Answer = tuple[HTTPStatus, dict[str, Any]]


@dataclass
class Counters:
    """What became of the background writer's writes."""

    acknowledged: int = 0
    refused: int = 0
    failed: int = 0


@dataclass
class Application:
    """What the application does, without HTTP."""

    name: str
    flag: Flag
    database: Database[dict[str, Any]]
    # What an administrator shows; without one, nobody is.
    token: str = ""
    counters: Counters = field(default_factory=Counters)

    @property
    def maintenance(self) -> bool:
        """Whether maintenance is on."""
        return self.flag.on

    def administer(self, authorization: str, sent: dict[str, Any]) -> Answer:
        """Take an administrator's word that maintenance begins or ends."""
        if not self.token or not hmac.compare_digest(authorization, f"Bearer {self.token}"):
            return HTTPStatus.UNAUTHORIZED, {"error": "Administrators only."}
        if not isinstance(sent.get("maintenance"), bool) or not self.flag.told(sent["maintenance"]):
            return HTTPStatus.BAD_REQUEST, {"error": "Nobody listens to that here."}
        return HTTPStatus.OK, {"maintenance": self.maintenance}

    def health(self) -> Answer:
        """Say that the process lives, whatever the database does."""
        return HTTPStatus.OK, {
            "status": "ok",
            "name": self.name,
            "version": VERSION,
            "maintenance": self.maintenance,
            "writes": vars(self.counters),
        }

    def live(self) -> Answer:
        """Say that the process lives."""
        return HTTPStatus.OK, {"status": "alive", "maintenance": self.maintenance}

    def ready(self) -> Answer:
        """Say whether requests can be answered: only with a database."""
        try:
            self.database.command("ping")
        except PyMongoError:
            return HTTPStatus.SERVICE_UNAVAILABLE, {
                "status": "database unreachable",
                "maintenance": self.maintenance,
            }
        return HTTPStatus.OK, {"status": "ready", "maintenance": self.maintenance}

    def items(self) -> Answer:
        """Return the newest items."""
        found = list(self.database["items"].find().sort("_id", -1).limit(PAGE))
        return HTTPStatus.OK, {"items": found, "maintenance": self.maintenance}

    def add_item(self, sent: dict[str, Any]) -> Answer:
        """Store an item as this old release does: without an organization."""
        if self.maintenance:
            return HTTPStatus.SERVICE_UNAVAILABLE, {
                "maintenance": True,
                "error": "We are working on the system. Please try again later.",
            }
        try:
            document = item(self._some_user(), str(sent.get("name", "New item")))
            self.database["items"].insert_one(document)
        except OperationFailure as error:
            if error.code != USER_WRITES_BLOCKED:
                raise
            return HTTPStatus.SERVICE_UNAVAILABLE, {
                "maintenance": False,
                "error": "The database refuses writes.",
                "code": error.code,
            }
        return HTTPStatus.CREATED, {"_id": document["_id"], "maintenance": False}

    def write_once(self, number: int) -> None:
        """Make one write of the daily business: every other one is a journal entry."""
        try:
            user = self._some_user()
            if number % 2:
                self.database["items"].insert_one(item(user, f"Live item {number}"))
            else:
                self.database["journalentries"].insert_one(journal_entry(user, number))
            self.counters.acknowledged += 1
        except OperationFailure as error:
            if error.code == USER_WRITES_BLOCKED:
                self.counters.refused += 1
            else:
                self.counters.failed += 1
        except PyMongoError:
            # A failover: the business goes on with the next write.
            self.counters.failed += 1

    def write_on(self, per_second: float, stopped: threading.Event) -> None:
        """Write at a steady rate, except in maintenance."""
        number = 0
        while not stopped.wait(1 / per_second):
            if not self.maintenance:
                number += 1
                self.write_once(number)

    def _some_user(self) -> dict[str, Any]:
        user = self.database["users"].aggregate(
            [{"$match": {"organizationId": {"$type": "objectId"}}}, {"$sample": {"size": 1}}]
        )
        return next(iter(user), {"_id": ObjectId(), "organizationId": None})


def item(user: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an item that a user adds."""
    now = datetime.now(UTC)
    return {
        "addedBy": user["_id"],
        "name": name,
        "sku": f"LIVE-{time.time_ns():x}",
        "unit": "pcs",
        "price": round(random.uniform(10, 5000), 2),
        "stockQty": random.randrange(100),
        "createdAt": now,
        "updatedAt": now,
    }


def journal_entry(user: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a balanced journal entry of a user's organization."""
    now = datetime.now(UTC)
    amount = round(random.uniform(100, 20000), 2)
    return {
        "organization": user["organizationId"],
        "entryNumber": f"LIVE-{number:06d}",
        "date": now,
        "description": "Cash sale",
        "status": "posted",
        "lines": [
            {"account": "Cash", "debit": amount, "credit": 0.0},
            {"account": "Sales", "debit": 0.0, "credit": amount},
        ],
        "createdBy": user["_id"],
        "createdAt": now,
    }


class Handler(BaseHTTPRequestHandler):
    """HTTP around one :class:`Application`."""

    application: Application
    protocol_version = "HTTP/1.1"
    server_version = f"bizzai/{VERSION}"

    def do_GET(self) -> None:
        """Answer health checks and reads."""
        routes: dict[str, Callable[[], Answer]] = {
            "/api/health": self.application.health,
            "/api/health/live": self.application.live,
            "/api/health/ready": self.application.ready,
            "/api/items": self.application.items,
        }
        self._answer(routes.get(self.path.partition("?")[0]))

    def do_POST(self) -> None:
        """Answer writes."""
        self._take({"/api/items": self.application.add_item})

    def do_PUT(self) -> None:
        """Answer administrators."""
        shown = self.headers.get("Authorization") or ""
        self._take({"/api/admin/maintenance": partial(self.application.administer, shown)})

    def _take(self, routes: dict[str, Callable[[dict[str, Any]], Answer]]) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST_BODY))
        try:
            sent = json.loads(body or b"{}")
        except ValueError:
            sent = None
        route = routes.get(self.path)
        if route and not isinstance(sent, dict):
            self._answer(lambda: (HTTPStatus.BAD_REQUEST, {"error": "Send a JSON object."}))
        else:
            self._answer(route and partial(route, sent))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Write the access log: the process's standard output is its log file."""
        print(datetime.now(UTC).isoformat(timespec="milliseconds"), format % args, flush=True)

    def _answer(self, route: Callable[[], Answer] | None) -> None:
        try:
            status, content = (
                route() if route else (HTTPStatus.NOT_FOUND, {"error": "No such path."})
            )
        except PyMongoError as error:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            content = {"error": f"database: {type(error).__name__}"}
        body = json_util.dumps(content, json_options=json_util.RELAXED_JSON_OPTIONS).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "60")
        self.end_headers()
        self.wfile.write(body)


def serve(
    *,
    name: str,
    port: int,
    uri: str,
    flag: Path,
    flag_kind: str = "env",
    token: str = "",
    writes_per_second: float,
) -> None:
    """Answer requests until SIGTERM.

    Args:
        name: what the instance calls itself.
        port: on the loopback address.
        uri: how the application's own user reaches its database, which the URI names.
        flag: the file of the kinds env and file.
        flag_kind: one of app_flags.KINDS.
        token: what an administrator shows.
        writes_per_second: of a background writer; 0 for none.
    """
    client: MongoClient[dict[str, Any]] = MongoClient(
        uri, serverSelectionTimeoutMS=2000, appname=name, tz_aware=True
    )
    database = client.get_default_database()
    application = Application(name, app_flags.flag(flag_kind, flag, database), database, token)
    handler = type("BoundHandler", (Handler,), {"application": application})
    server = ThreadingHTTPServer((LOOPBACK, port), handler)
    stopped = threading.Event()

    def reload(_number: int, _frame: object) -> None:
        application.flag.reload()
        print(f"SIGHUP: maintenance {'on' if application.maintenance else 'off'}", flush=True)

    def end(_number: int, _frame: object) -> None:
        stopped.set()
        # shutdown() waits for the loop, which runs in this very thread.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGTERM, end)
    if writes_per_second > 0:
        threading.Thread(
            target=application.write_on, args=(writes_per_second, stopped), daemon=True
        ).start()
    with server:
        server.serve_forever(poll_interval=0.1)
    client.close()
