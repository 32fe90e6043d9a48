"""How an application can learn of maintenance mode: four kinds, as real applications have them.

- `env`: an environment-style file, read when it starts and on SIGHUP, never in between: whoever
  changes it must restart or reload the application.
- `file`: a file whose existence says it, looked for at each request.
- `http`: told by a request that carries the administrator's token; forgotten in a restart.
- `document`: the document {_id: maintenance} of the collection settings, read at each request.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pymongo.database import Database
from pymongo.errors import PyMongoError

KINDS = ("env", "file", "http", "document")
COLLECTION = "settings"
DOCUMENT = "maintenance"
FIELD = "enabled"


class Flag(Protocol):
    """What the application asks."""

    @property
    def on(self) -> bool:
        """Whether maintenance is on."""

    def reload(self) -> None:
        """Read again what is read only once."""

    def told(self, on: bool) -> bool:
        """Take the word of an administrator; return whether this kind listens."""


def flag(kind: str, path: Path, database: Database[dict[str, Any]]) -> Flag:
    """Return a flag of the given kind."""
    kinds: dict[str, Callable[[], Flag]] = {
        "env": lambda: EnvFile(path),
        "file": lambda: PlainFile(path),
        "http": Told,
        "document": lambda: InDocument(database),
    }
    return kinds[kind]()


def read_flag(path: Path) -> bool:
    """Return whether an env-style file says MAINTENANCE_MODE=true; no file says no."""
    if not path.exists():
        return False
    on = False
    for line in path.read_text().splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip() == "MAINTENANCE_MODE":
            on = value.strip().strip("\"'").lower() in ("true", "1", "yes", "on")
    return on


class EnvFile:
    """Read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.on = read_flag(path)

    def reload(self) -> None:
        """Read it again."""
        self.on = read_flag(self._path)

    def told(self, _on: bool) -> bool:
        """Don't listen."""
        return False


class PlainFile:
    """There or not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def on(self) -> bool:
        """Look for the file."""
        return self._path.exists()

    def reload(self) -> None:
        """Nothing is remembered."""

    def told(self, _on: bool) -> bool:
        """Don't listen."""
        return False


class Told:
    """As an administrator said last."""

    def __init__(self) -> None:
        self.on = False

    def reload(self) -> None:
        """Nothing is kept where it could be read again."""

    def told(self, on: bool) -> bool:
        """Listen."""
        self.on = on
        return True


class InDocument:
    """In the database that is migrated."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._documents = database[COLLECTION]
        self._last = False

    @property
    def on(self) -> bool:
        """Read the document; while the database is away, go on as before."""
        try:
            found = self._documents.find_one({"_id": DOCUMENT}) or {}
        except PyMongoError:
            return self._last
        self._last = bool(found.get(FIELD))
        return self._last

    def reload(self) -> None:
        """Nothing is remembered."""

    def told(self, _on: bool) -> bool:
        """Don't listen."""
        return False
