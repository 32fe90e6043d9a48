"""What is typed in mongosh, about things whose names came from a database.

A name may hold whatever ends a string, and one that begins with `_` is no property of `db`
(https://jira.mongodb.org/browse/MONGOSH-428).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def collection(name: str) -> str:
    """Return what stands for the collection *name*."""
    return f"db.getCollection({text(name)})"


def drop_index(name: str, index: str) -> str:
    """Return the command that drops *index* of the collection *name*."""
    return f"{collection(name)}.dropIndex({text(index)})"


def run(command: Mapping[str, Any], *, database: str | None = None) -> str:
    """Return what runs *command*, which holds plain values; in the present database, or another."""
    place = "db" if database is None else sibling(database)
    return f"{place}.runCommand({text(command)})"


def sibling(database: str) -> str:
    """Return what stands for another *database*."""
    return f"db.getSiblingDB({text(database)})"


def text(value: Any) -> str:
    """Return a plain value, as it is written there."""
    return json.dumps(value, ensure_ascii=True)
