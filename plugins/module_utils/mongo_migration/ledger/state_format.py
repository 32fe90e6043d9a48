"""The format of what we keep in the database, and its shape: read, upgraded, or refused by name.

Whoever may write to the migrated database may write to our state as well. So nothing that is read
from it is obeyed before it has the shape of its kind, and nothing in it is ever a command: those
come from the migration document on the controller (see :mod:`..procedures.authority`).

Format 1 is that of 1.0, which wrote no number. Format 2 adds ``format``, ``engine`` and
``revision`` to runs and ``format`` to entries; a run's entries are then numbered without holes. A
run that is live first has ``cutover``, and may be ``caught_up``.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from ..errors import MigrationError
from ..values import ejson
from .run_shape import RUN, SHORT
from .shapes import Shape, count, each, optional, wrong

FORMAT = 2
ENGINE = "1.1.0"

# What an entry has whatever its kind is: where it belongs, and how its undoing went.
_ENTRY: Shape = {
    "run": str,
    "seq": count,
    "step": count,
    "collection": str,
    "at": optional(datetime.datetime),
    "reverted": optional(bool),
    "undone": optional(count),
    "kept": optional(list),
    "conflicts": optional(each({"collection": str, "reason": str})),
    "created_collection": optional(bool),
}


class Kind(Protocol):
    """What a kind of entries says of one."""

    #: What an entry of it must look like, beside what all have.
    shape: ClassVar[Shape]

    def mistake(self, entry: dict[str, Any]) -> str:
        """Return in what the parts of an entry of the right shape contradict one another."""


class StateError(MigrationError):
    """A document of ours in the database isn't what we write, or is from a newer release."""


def read_run(found: Mapping[str, Any], *, place: str, short: bool = False) -> dict[str, Any]:
    """Return a run document that may be relied on, in the format of today.

    Args:
        found: as it is in the database.
        place: the collection with its database, for messages.
        short: it was read without its long parts.

    Raises:
        StateError: it isn't of the shape of a run, or of a newer format.
    """
    _refuse_newer(found, place)
    if why := wrong(found, SHORT if short else RUN):
        raise _odd(found, place, "a run", why)
    # Null is as good as missing, and so nobody has to ask for both.
    return {"revision": 0, **{key: value for key, value in found.items() if value is not None}}


def read_entry(
    found: Mapping[str, Any], kinds: Mapping[str, Kind], *, place: str
) -> dict[str, Any]:
    """Return a journal entry that may be relied on.

    Args:
        found: as it is in the database.
        kinds: of entries, by their names.
        place: the collection with its database, for messages.

    Raises:
        StateError: its kind is unknown, its shape isn't that of its kind, or its format is newer.
    """
    _refuse_newer(found, place)
    kind = found.get("kind")
    if type(kind) is not str or kind not in kinds:
        raise _odd(found, place, "a journal entry", f"its kind is {ejson.short(kind)}")
    entry = dict(found)
    if why := wrong(entry, {**_ENTRY, **kinds[kind].shape}) or kinds[kind].mistake(entry):
        raise _odd(found, place, f"a journal entry of kind {kind}", why)
    return entry


def _refuse_newer(found: Mapping[str, Any], place: str) -> None:
    number = found.get("format", 1)
    if not count(number) or number < 1:
        raise _odd(found, place, "a document of ours", f"its format is {ejson.short(number)}")
    if number > FORMAT:
        engine = found.get("engine")
        by = f" (written by {ejson.short(engine, 40)})" if isinstance(engine, str) else ""
        raise StateError(
            f"{place} {ejson.short(found.get('_id'))} has format {number}{by}; this release, "
            f"{ENGINE}, reads up to {FORMAT}. Use the release that wrote it.",
            id=found.get("_id"),
        )


def _odd(found: Mapping[str, Any], place: str, what: str, why: str) -> StateError:
    identity = ejson.short(found.get("_id"))
    return StateError(
        f"{place} {identity} isn't {what} that we wrote: {why}. Nothing was done by it. Someone "
        "else has written there: look who may (docs/privileges.md), keep a copy of the document, "
        "and remove it or put back what it was.",
        id=found.get("_id"),
    )


def too_many(what: str, place: str, selector: str) -> StateError:
    """Return the error of a place that holds more documents of a kind than we ever write."""
    return StateError(
        f"{place} holds more {what} than any database needs, or far larger ones: no such number is "
        "read, and nothing was done by them. Someone else has written there: look who may "
        f"(docs/privileges.md), find theirs ({selector}), keep a copy, and remove them."
    )


def checked(
    found: Mapping[str, Any] | None, rules: Shape, *, place: str, what: str
) -> dict[str, Any] | None:
    """Return another document of ours, such as the lease, if it is there and of its shape.

    Raises:
        StateError: it isn't.
    """
    if found is None:
        return None
    if why := wrong(found, rules):
        raise _odd(found, place, what, why)
    return dict(found)
