"""The sandbox: a MongoDB, two applications, and the file from which its inventory reads both.

Everything is in one git-ignored folder. `sandbox.json` in it is what inventories/sandbox looks
into; it holds passwords, so only its owner can read it.

With MONGO_URI in the environment that server is used instead of the embedded one, and
MONGO_DATABASE (default bizzai_sandbox) on it; MONGO_APP_URI may name an ordinary user of that
database, whose writes the maintenance mode then proves to be refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from .app import PORT, ROOT, App
from .files import private_folder, read_json, write_json, write_private
from .mongod import DATABASE, ReplicaSet, open_folder
from .processes import ProcessError, free_ports

Client = MongoClient[dict[str, Any]]

FOLDER = ROOT / ".sandbox"
APPS = ("app1", "app2")
EXTERNAL_DATABASE = "bizzai_sandbox"

_WRITE_BLOCK_OFF = {"setUserWriteBlockMode": 1, "global": False}


class Sandbox:
    """The servers of one folder.

    Args:
        folder: where everything is kept.
        environment: where MONGO_URI may be.
    """

    def __init__(self, folder: Path = FOLDER, environment: Mapping[str, str] = os.environ):
        self.folder = folder
        self.file = folder / "sandbox.json"
        self.facts: dict[str, Any] = read_json(self.file) or {}
        self._environment = environment

    @property
    def external(self) -> bool:
        """Whether the server is the user's own."""
        return bool(self._environment.get("MONGO_URI"))

    @property
    def database(self) -> str:
        """The name of the database that is migrated."""
        return str(self.facts["database"])

    @property
    def apps(self) -> list[App]:
        """The applications, running or not."""
        return [App(self.folder / "apps", name) for name in self.facts.get("apps", {})]

    def start_mongodb(self) -> None:
        """Start the server, or take the user's own, and note how to reach it."""
        private_folder(self.folder)
        if self.external:
            uri = self._environment["MONGO_URI"]
            database = self._environment.get("MONGO_DATABASE", EXTERNAL_DATABASE)
            app_uri = self._environment.get("MONGO_APP_URI", "")
            self._note(
                external=True,
                database=database,
                admin_uri=uri,
                migrator_uri=uri,
                app_uri=app_uri or _with_database(uri, database),
                probe_uri=app_uri,
            )
            return
        servers = ReplicaSet(self.folder / "mongodb").start()
        app_uri = servers.uri("app", database=DATABASE)
        self._note(
            external=False,
            database=DATABASE,
            admin_uri=servers.uri("admin"),
            migrator_uri=servers.uri("migrator"),
            app_uri=app_uri,
            probe_uri=app_uri,
        )

    def client(self) -> Client:
        """Return a connection of the administrator; close it after use."""
        return MongoClient(
            self.facts["admin_uri"], serverSelectionTimeoutMS=10000, tz_aware=True, appname="demo"
        )

    def empty(self, client: Client) -> bool:
        """Make the database empty, whatever an earlier run left; return whether it was not.

        Raises:
            ProcessError: it is a database on the user's own server that we didn't fill.
        """
        for app in self.apps:
            app.stop()
            app.set_flag(False)
        used = bool(client[self.database].list_collection_names())
        if used and self.external and self.facts.get("filled") != self._place():
            raise ProcessError(
                f"The database '{self.database}' at {self._place()} isn't empty, and this sandbox "
                "didn't fill it. Set MONGO_DATABASE to a name that is free."
            )
        # The block of an interrupted migration would refuse the application's writes. No replica
        # set, an older server or no right to it: then no block is on either.
        with contextlib.suppress(OperationFailure):
            client.admin.command(_WRITE_BLOCK_OFF)
        client.drop_database(self.database)
        self._note(filled=self._place())
        return used

    def start_apps(self) -> list[App]:
        """Start the applications; return them."""
        folder = private_folder(self.folder / "apps")
        uri_file = folder / "uri"
        write_private(uri_file, self.facts["app_uri"] + "\n")
        known = self.facts.get("apps", {})
        ports = free_ports(len(APPS), tuple(PORT + number for number in range(len(APPS))))
        started = []
        for name, port in zip(APPS, ports, strict=True):
            app = App(folder, name, port=known.get(name, {}).get("port", port), uri_file=uri_file)
            if not app.flag.exists():
                app.set_flag(False)
            started.append(app.start())
        self._note(apps={app.name: {"port": app.port, "flag": str(app.flag)} for app in started})
        return started

    def remove(self) -> list[str]:
        """Stop and delete everything; return what was done, for people."""
        done = []
        for app in self.apps:
            app.stop()
            done.append(f"stopped {app.name}")
        if self.facts.get("external"):
            with self.client() as client:
                client.drop_database(self.database)
            done.append(f"dropped the database {self.database} on {self._place()}")
        if (self.folder / "mongodb" / "state.json").exists():
            open_folder(self.folder / "mongodb").stop()
            done.append("stopped MongoDB")
        if self.folder.exists():
            shutil.rmtree(self.folder)
            done.append(f"removed {self.folder.name}/")
        self.facts = {}
        return done

    def _place(self) -> str:
        """The server's address, without any secret."""
        return urlsplit(str(self.facts["admin_uri"])).netloc.rpartition("@")[2]

    def _note(self, **facts: Any) -> None:
        self.facts |= facts
        write_json(self.file, self.facts)


def _with_database(uri: str, database: str) -> str:
    """Return a URI that names a database, its login still against the one it named before."""
    parts = urlsplit(uri)
    query = parts.query
    if "@" in parts.netloc and "authSource" not in query:
        query = "&".join(filter(None, [query, f"authSource={parts.path.strip('/') or 'admin'}"]))
    return urlunsplit(parts._replace(path=f"/{database}", query=query))
