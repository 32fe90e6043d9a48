"""Our two collections are plain ones, which hold what was written into them, and all of it.

Who may write to the database may also put a view in their place that shows what its author likes,
or let the server itself refuse or delete what we write: by a validator, by an index that is unique
or takes no arrays, by one after whose time documents are removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.database import Database

from ..document.collections import JOURNAL, STATE
from ..support import listing, mongosh
from .state_format import StateError

_OURS = (STATE, JOURNAL)
#: No two runs have one number.
NUMBER = IndexModel(
    [("number", ASCENDING)],
    name="run_number",
    unique=True,
    partialFilterExpression={"kind": "run"},
)
#: No two entries of a run have one number, and they are read in its order.
ENTRY = IndexModel([("run", ASCENDING), ("seq", ASCENDING)], name="run_seq", unique=True)
_INDEXES = {STATE: NUMBER.document, JOURNAL: ENTRY.document}
# Of the server's, and of no influence on what is kept.
_INDIFFERENT = frozenset({"v", "ns", "background", "hidden"})


def refuse_odd(database: Database[dict[str, Any]]) -> None:
    """Go no further where one of them isn't of the kind that we make.

    Raises:
        StateError: it is a view, a time series, or has options or indexes that we never give.
    """
    for found in listing.collections(database, {"name": {"$in": list(_OURS)}}):
        name, remedy = found["name"], _remedy(found)
        if remedy is not None:
            raise StateError(
                f"{database.name}.{name} is {remedy[0]}, which this tool never makes: what it "
                f"shows can't be believed, and what is written there may be lost. Look who put it "
                f"there, and {remedy[1]}; then run the same command again. Nothing was written.",
                collection=name,
            )
        for index in listing.indexes(database, name):
            if (harm := _harm(name, index)) is not None:
                raise StateError(
                    f"{database.name}.{name} has the index {str(index.get('name'))!r}, which this "
                    f"tool never makes: {harm}. Look who made it, and drop it "
                    f"({mongosh.drop_index(name, str(index.get('name')))}); then run the same "
                    "command again. Nothing was written.",
                    collection=name,
                )


def _harm(name: str, index: Mapping[str, Any]) -> str | None:
    """Return what an index of the collection *name* does to what we write there, if it does."""
    ours = _INDEXES[name]
    given = {key: value for key, value in index.items() if key not in _INDIFFERENT}
    key = dict(given.get("key", {}))
    if key == {"_id": 1} or _same(given, ours):
        return None
    if "expireAfterSeconds" in given:
        return "by it, the server removes documents after a time, and with them the way back"
    if given.get("name") == ours["name"] or key == dict(ours["key"]):
        return "it stands in the place of ours, and isn't like it"
    if given.get("unique") or given.get("prepareUnique"):
        return "it is unique, so that the server refuses what we have to write"
    # One over two arrays, of words or of places refuses some documents.
    if len(key) > 1 or not all(_plain(kind) for kind in key.values()):
        return "by it, the server may refuse what we have to write"
    return None


def _same(given: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    return {**given, "key": list(given["key"].items())} == {
        **ours,
        "key": list(ours["key"].items()),
    }


def _plain(kind: Any) -> bool:
    return isinstance(kind, int | float) and not isinstance(kind, bool)


def _made_anew(name: str, what: str) -> str:
    return (
        f"make it {what}: copy it ({mongosh.collection(name)}.aggregate([{{$out: 'was'}}])), drop "
        f"it, and rename the copy to {name}"
    )


def _remedy(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is odd about a collection, and what to do about it; None for a plain one."""
    name, options = found["name"], found.get("options", {})
    if found.get("type", "collection") != "collection":
        kind = "a view" if found["type"] == "view" else "a time series"
        return kind, (
            f"drop it ({mongosh.collection(name)}.drop()) and put back the collection that was "
            "there before: it was renamed, or is in the newest backup"
        )
    if options.get("clusteredIndex"):
        return "a clustered collection", _made_anew(name, "a plain one")
    if options.get("capped"):
        return "a capped collection", _made_anew(name, "a plain one")
    if options.get("collation"):
        return "a collection with a collation", _made_anew(name, "one without")
    if options.get("validator"):
        return "a collection with a validator", (
            f"remove that ({mongosh.run({'collMod': name, 'validator': {}})})"
        )
    return None
