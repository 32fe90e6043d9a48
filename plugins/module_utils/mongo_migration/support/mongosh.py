"""What is typed in mongosh, about collections and indexes whose names came from a database.

A name may hold whatever ends a string, and one that begins with `_` is no property of `db`
(https://jira.mongodb.org/browse/MONGOSH-428).
"""

from __future__ import annotations

import json


def collection(name: str) -> str:
    """Return what stands for the collection *name*."""
    return f"db.getCollection({_text(name)})"


def drop_index(name: str, index: str) -> str:
    """Return the command that drops *index* of the collection *name*."""
    return f"{collection(name)}.dropIndex({_text(index)})"


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=True)
