"""Where the copy of a rehearsal lies: on the deployment, on another one, or on a server of ours.

And what killed ones have left in each of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from ..backup import scratch_left
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
        with _other(params) as other:
            yield other
    else:
        program = throwaway.find(params["mongod"])
        throwaway.require_series(program, connection.inspect(client).version)
        folder = _folder(params)
        throwaway.require_room(folder, size)
        if not start:
            yield None
            return
        with throwaway.running(program, folder) as own:
            yield own


def left(client: Client, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scratch databases and servers that are there, at work or left behind.

    Args:
        client: of the deployment that the migrations are for.
        params: the module's options.

    Raises:
        MigrationError: another deployment can't be reached.
    """
    found = scratch_left.find(client, [params["database"]])
    if params["server"] == "other":
        with _other(params) as other:
            found += scratch_left.find(other, [params["database"]])
    return found + [
        {
            "database": str(place),
            "of": params["database"],
            "purpose": "the data of a rehearsal's own server",
            "at_work": None,
        }
        for place in throwaway.leftovers(_folder(params))
    ]


def remove(client: Client, params: Mapping[str, Any], *, operator: Mapping[str, Any]) -> list[str]:
    """Remove what nobody uses any more of what :func:`left` returns; return the names of that.

    Raises:
        MigrationError: another deployment can't be reached, or a database can't be dropped.
    """
    of = [params["database"]]
    removed = scratch_left.remove(client, of, operator=operator)
    if params["server"] == "other":
        with _other(params) as other:
            removed += scratch_left.remove(other, of, operator=operator)
    folder = _folder(params)
    return removed + [str(folder / name) for name in throwaway.remove_leftovers(folder)]


def _folder(params: Mapping[str, Any]) -> Path:
    return Path(params["server_dir"] or Path(params["dest"]) / _FOLDER)


@contextmanager
def _other(params: Mapping[str, Any]) -> Iterator[Client]:
    other = connection.connect_as(params, params["rehearsal_uri"])
    try:
        yield other
    finally:
        other.close()
