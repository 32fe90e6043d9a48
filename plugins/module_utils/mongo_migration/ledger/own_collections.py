"""Our two collections are plain ones, which hold what was written into them, and all of it.

Who may write to the database may also put a view in their place that shows what its author likes,
or let the server itself refuse or delete what we write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.database import Database

from ..document.collections import JOURNAL, STATE
from ..support import listing
from .state_format import StateError

_OURS = (STATE, JOURNAL)


def refuse_odd(database: Database[dict[str, Any]]) -> None:
    """Go no further where one of them isn't of the kind that we make.

    Raises:
        StateError: it is a view, a time series, or has options that we never give.
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


def _remedy(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is odd about a collection, and what to do about it; None for a plain one."""
    name, options = found["name"], found.get("options", {})
    if found.get("type", "collection") != "collection":
        kind = "a view" if found["type"] == "view" else "a time series"
        return kind, (
            f"drop it (db.{name}.drop()) and put back the collection that was there before: it was "
            "renamed, or is in the newest backup"
        )
    if options.get("capped"):
        return "a capped collection", (
            f"make it a plain one: copy it (db.{name}.aggregate([{{$out: 'was'}}])), drop it, and "
            f"rename the copy to {name}"
        )
    if options.get("collation"):
        return "a collection with a collation", (
            f"make it one without: copy it (db.{name}.aggregate([{{$out: 'was'}}])), drop it, and "
            f"rename the copy to {name}"
        )
    if options.get("validator"):
        return "a collection with a validator", (
            f"remove that (db.runCommand({{collMod: '{name}', validator: {{}}}}))"
        )
    return None
