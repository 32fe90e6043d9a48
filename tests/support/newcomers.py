"""Somebody with a database of their own, and a checkout that knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

from pymongo import MongoClient

# Of what YAML, Jinja, a shell and a connection string each make something else.
PASSWORD = "p'a:s/s {{ 1 }} #0123%"
USER = "newcomer"


@contextmanager
def login(
    client: MongoClient[dict[str, Any]], uri: str, roles: list[dict[str, str]]
) -> Iterator[str]:
    """Give the connection string of a user with *roles*, at the server of *uri*."""
    client.admin.command("createUser", USER, pwd=PASSWORD, roles=roles)
    try:
        address = urlsplit(uri).netloc.rpartition("@")[2]
        query = urlsplit(uri).query
        yield f"mongodb://{USER}:{quote_plus(PASSWORD)}@{address}/?{query}"
    finally:
        client.admin.command("dropUser", USER)


def checkout(folder: Path) -> Path:
    """Make what `make init` needs of a checkout."""
    (folder / "inventories").mkdir(parents=True)
    return folder
