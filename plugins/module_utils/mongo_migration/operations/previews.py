"""Real documents before and after, as two texts that differ below the same headings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bson.objectid import ObjectId

from ..values import ejson

_LONGEST = 400


def lines(collection: str, previews: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return *previews* as lines before and after.

    Each has a heading of its own, the same in both: so a difference shows a document's two states
    one below the other.

    Args:
        collection: the real name.
        previews: ``_id``, ``before``, ``after`` and ``note``.
    """
    before: list[str] = []
    after: list[str] = []
    for shown in previews:
        heading = f"{collection} {_name(shown['_id'])}"
        note = f"  ({shown['note']})" if shown["note"] else ""
        before += [heading, f"  {ejson.short(shown['before'], _LONGEST)}"]
        after += [heading, f"  {ejson.short(shown['after'], _LONGEST)}{note}"]
    return before, after


def _name(identity: Any) -> str:
    """Return an id as a person would look for it."""
    if isinstance(identity, Mapping) and set(identity) == {"$oid"}:
        identity = ObjectId(identity["$oid"])  # a plan that was stored as JSON
    return str(identity) if isinstance(identity, ObjectId) else ejson.short(identity)
