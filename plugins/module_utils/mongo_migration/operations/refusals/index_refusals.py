"""Whether the server would take an index: asked of it without building any.

It reads all specifications of one command before it builds the first of them. So each is sent with
a second one that no server takes: by what the answer is about, one knows what it thinks of the
first. Nothing is built, and the collection that the command names doesn't come to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bson import SON
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ...support.retry import is_retryable

_NEVER = "_migrations_never"
# https://www.mongodb.com/docs/manual/core/index-partial/#restrictions
_REFUSED = {
    "key": {_NEVER: 1},
    "name": _NEVER,
    "sparse": True,
    "partialFilterExpression": {_NEVER: 1},
}
# Who may not build indexes, or not now, learns nothing here; the preflight says so.
_NOT_ASKED = {13, 371}
_PREFIX = re.compile(r"^Error in specification .*? :: caused by :: ", re.DOTALL)


def refusals(database: Database[dict[str, Any]], spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the server refuses of *spec*: its place among the step's options, and its words.

    Args:
        database: any that we may build indexes in.
        spec: of the index, as for ``createIndexes``.
    """
    said = _refused(database, spec)
    if not said:
        return
    options = {name: value for name, value in spec.items() if name not in ("key", "name")}
    bare = {"key": spec["key"], "name": spec["name"]}
    if _refused(database, bare):
        yield f".keys: the server refuses it: {said}"
        return
    for name in options:
        rest = {other: value for other, value in options.items() if other != name}
        if not _refused(database, {**bare, **rest}):
            yield f".options.{name}: the server refuses it: {said}"
            return
    yield f".options: the server refuses them: {said}"


def _refused(database: Database[dict[str, Any]], spec: Mapping[str, Any]) -> str:
    try:
        database.command(
            "createIndexes", _NEVER, indexes=[{**spec, "key": SON(spec["key"])}, _REFUSED]
        )
    except OperationFailure as error:
        said = str(error).split(", full error:")[0]
        if is_retryable(error):
            raise
        if _NEVER in said or error.code in _NOT_ASKED:
            return ""
        return " ".join(_PREFIX.sub("", said).split())
    database.drop_collection(_NEVER)  # a server to come, which takes it: nothing stays behind
    return ""
