"""What other migration tools record in a database: read by the shape of each, and never written.

The shapes are those of their sources: migrate-mongo ``lib/actions/up.js`` and
``lib/utils/lock.js``, Mongock's and Flamingock's change entries and locks, liquibase-mongodb
``MongoRanChangeSet`` and ``MongoChangeLogLock``, mongodb-migrations ``cli.py``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
# Longer is not a name of a file or a person; what is taken over is kept, and shown.
_LONGEST = 1000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A migration as another tool recorded it."""

    id: str
    at: datetime.datetime | None
    by: str = ""
    state: str = ""
    #: Why it isn't taken over; nothing where it is.
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A migration tool.

    Args:
        name: as documents name it, before a colon.
        collections: where it may keep its changelog, by its own defaults.
        locks: where it may keep its lock.
        read: returns the entry in a document, or None where it isn't of the tool's shape.
        is_held: returns whether a document of a lock says that somebody works, at an instant.
    """

    name: str
    collections: tuple[str, ...]
    locks: tuple[str, ...]
    read: Callable[[Document], Entry | None]
    is_held: Callable[[Document, datetime.datetime], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def _date(value: Any) -> datetime.datetime | None:
    return value if isinstance(value, datetime.datetime) else None


def _migrate_mongo(found: Document) -> Entry | None:
    if not _text(found.get("fileName")) or _date(found.get("appliedAt")) is None:
        return None
    return Entry(id=found["fileName"], at=found["appliedAt"])


# Both tools say so of what was done, or was marked as done by hand.
_DONE = ("EXECUTED", "APPLIED", "MANUAL_MARKED_AS_EXECUTED", "MANUAL_MARKED_AS_APPLIED")


def _change_unit(found: Document) -> Entry | None:
    needed = ("executionId", "changeId", "author")
    if not all(_text(found.get(key)) for key in needed):
        return None
    # Mongock before 5 recorded only what was done, and no state.
    state = found.get("state", "EXECUTED")
    if not _text(state):
        return None
    why = "" if state in _DONE else f"its state is {state}"
    if found.get("systemChange") is True:
        why = "it is the tool's own"
    return Entry(
        id=found["changeId"],
        at=_date(found.get("timestamp")),
        by=found["author"],
        state=state,
        why=why,
    )


def _liquibase(found: Document) -> Entry | None:
    if not all(_text(found.get(key)) for key in ("id", "author", "fileName", "execType")):
        return None
    state = found["execType"]
    done = state in ("EXECUTED", "RERAN", "MARK_RAN")
    return Entry(
        # What Liquibase tells change sets apart by.
        id=f"{found['fileName']}::{found['id']}::{found['author']}",
        at=_date(found.get("dateExecuted")),
        by=found["author"],
        state=state,
        why="" if done else f"its state is {state}",
    )


def _mongodb_migrations(found: Document) -> Entry | None:
    if not _text(found.get("migration_datetime")) or _date(found.get("created_at")) is None:
        return None
    return Entry(id=found["migration_datetime"], at=found["created_at"])


def _expires(found: Document, now: datetime.datetime) -> bool:
    until = _date(found.get("expiresAt"))
    return until is not None and until.replace(tzinfo=datetime.UTC) > now


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            name="migrate-mongo",
            collections=("changelog",),
            locks=("changelog_lock",),
            read=_migrate_mongo,
            is_held=lambda found, _now: "createdAt" in found,
        ),
        Tool(
            name="mongock",
            collections=("mongockChangeLog",),
            locks=("mongockLock",),
            read=_change_unit,
            is_held=_expires,
        ),
        Tool(
            name="flamingock",
            collections=("flamingockAuditLog", "flamingockAuditLogs"),
            locks=("flamingockLock", "flamingockLocks"),
            read=_change_unit,
            is_held=_expires,
        ),
        Tool(
            name="liquibase",
            collections=("DATABASECHANGELOG",),
            locks=("DATABASECHANGELOGLOCK",),
            read=_liquibase,
            is_held=lambda found, _now: found.get("locked") is True,
        ),
        Tool(
            name="mongodb-migrations",
            collections=("database_migrations",),
            locks=(),
            read=_mongodb_migrations,
            is_held=lambda _found, _now: False,
        ),
    )
}


def is_theirs(migration: str) -> bool:
    """Return whether *migration*, as an ``after`` names it, is one of another tool."""
    tool, colon, rest = migration.partition(":")
    return bool(colon and rest) and tool in TOOLS
