"""Where the copy of a rehearsal lies: on the deployment, on another one, or on a server of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from ..server import connection, throwaway

Client = MongoClient[dict[str, Any]]

_FOLDER = "rehearsal"


@contextmanager
def open_place(
    client: Client, params: Mapping[str, Any], *, size: int, start: bool
) -> Iterator[Client | None]:
    """Yield a client of the deployment that holds the copy; None where it isn't to be started.

    Args:
        client: of the deployment that the migration is for.
        params: the module's options.
        size: of the data in bytes.
        start: whether a server of ours is started.

    Raises:
        MigrationError: it can't be reached or started, is of another series, or has no room.
    """
    if params["server"] == "deployment":
        yield client
    elif params["server"] == "other":
        other = connection.connect_as(params, params["rehearsal_uri"])
        try:
            yield other
        finally:
            other.close()
    else:
        program = throwaway.find(params["mongod"])
        throwaway.require_series(program, connection.inspect(client).version)
        folder = Path(params["server_dir"] or Path(params["dest"]) / _FOLDER)
        throwaway.require_room(folder, size)
        if not start:
            yield None
            return
        with throwaway.running(program, folder) as own:
            yield own
