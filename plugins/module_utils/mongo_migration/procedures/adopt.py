"""Coming from another tool: what it has applied is taken over, so that ours can build upon it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from ..document.other_tools import TOOLS, Entry, Tool
from ..errors import MigrationError
from ..ledger import adopted, partial_restore, runs
from ..ledger.fence import Fence
from ..support import commands, listing
from ..values import ejson
from .work import Job

_SAMPLES = 5
# Of one changelog.
_MOST = 20_000
Db = Database[dict[str, Any]]


def plan(
    client: MongoClient[dict[str, Any]],
    database: str,
    *,
    tool: str | None = None,
    collection: str | None = None,
    lock_collection: str | None = None,
    present: bool = True,
) -> dict[str, Any]:
    """Return what would be taken over, or forgotten. Read only; what is theirs isn't touched.

    Args:
        client: connected to the deployment.
        database: the database.
        tool: whose changelog; None: those that are found.
        collection: where *tool* keeps it, if not where it does by default.
        lock_collection: where it keeps its lock, if not where it does by default.
        present: take over; otherwise, forget what was taken over.

    Raises:
        MigrationError: there is no changelog, documents in it aren't of the tool's shape, or
            somebody holds its lock; or a migration of ours builds on what is to be forgotten.
    """
    db = client[database]
    partial_restore.refuse(db)
    known = {row["migration"]: row for row in adopted.read(db)}
    if not present:
        gone = [row for row in known.values() if tool in (None, row["tool"])]
        _refuse_if_built_upon(db, gone)
        return _result(db, [], removed=[row["migration"] for row in gone])
    found = list(_sources(db, tool, collection))
    if not found:
        looked = collection or ", ".join(
            name for one in TOOLS.values() if tool in (None, one.name) for name in one.collections
        )
        raise MigrationError(
            f"There is no changelog of {tool or 'another tool'} in database '{database}'; looked "
            f"for {looked}. Name it: -e adopt_tool=… -e adopt_collection=…"
        )
    now = runs.server_now(db).replace(tzinfo=datetime.UTC)
    rows: list[dict[str, Any]] = []
    for one, place in found:
        _refuse_held(db, one, lock_collection, now)
        rows += _rows(db, one, place, known)
    return _result(db, rows, removed=[])


def adopt(job: Job, *, present: bool = True, **wanted: Any) -> dict[str, Any]:
    """Take over what :func:`plan` lists, or forget it; whatever is so already is left as it is.

    Args:
        job: what to work with.
        present: as in :func:`plan`, and so are the others.
        wanted: whose changelog, and where.
    """
    started, db = time.monotonic(), job.db
    with job.lease("adopt") as lease:
        made = plan(job.client, job.database, present=present, **wanted)
        fence = Fence(lease)
        at = runs.server_now(db)
        for row in made["entries"]:
            if row["new"]:
                adopted.add(
                    db,
                    fence,
                    row["migration"],
                    tool=row["tool"],
                    applied=row["at"],
                    by=row["by"],
                    adopted_at=at,
                    operator=dict(job.operator),
                    change=dict(job.change),
                )
        if made["removed"]:
            gone = [row for row in adopted.read(db) if row["migration"] in made["removed"]]
            adopted.remove(db, fence, gone)
    return {**made, "elapsed": round(time.monotonic() - started, 1)}


def _result(db: Db, rows: list[dict[str, Any]], *, removed: list[str]) -> dict[str, Any]:
    new = sum(row["new"] for row in rows)
    return {
        "changed": bool(new or removed),
        "database": db.name,
        "entries": rows,
        "new": new,
        "removed": removed,
        "next": commands.STATUS,
    }


def _sources(db: Db, tool: str | None, collection: str | None) -> Iterable[tuple[Tool, str]]:
    """Yield each tool with the collection that is its changelog."""
    names = {found["name"] for found in listing.collections(db, {"type": "collection"})}
    if collection is not None:
        if tool is None:
            raise MigrationError("Name the tool, too: -e adopt_tool=…, one of " + ", ".join(TOOLS))
        if collection in names:
            yield TOOLS[tool], collection
        return
    for one in TOOLS.values():
        for place in one.collections:
            if tool in (None, one.name) and place in names and _is_its(db, one, place, tool):
                yield one, place


def _is_its(db: Db, one: Tool, place: str, asked: str | None) -> bool:
    """Return whether *place* is the changelog of a tool: one of such a name may be anybody's."""
    if asked is not None:
        return True
    newest = db[place].find({}, sort=[("_id", -1)]).limit(_SAMPLES)
    return any(one.read(row) is not None for row in newest)


def _rows(
    db: Db, one: Tool, place: str, known: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return what the changelog says, one row a migration: its newest entry counts."""
    newest: dict[str, Entry] = {}
    odd: list[Any] = []
    reader = db[place].with_options(codec_options=ejson.CODEC)
    for number, found in enumerate(reader.find({}, sort=[("_id", 1)])):
        if number == _MOST:
            raise MigrationError(
                f"{db.name}.{place} has more than {_MOST:,} documents: no changelog of {one.name} "
                "is as long. Look what they are, or name the right collection: "
                "-e adopt_collection=…"
            )
        entry = one.read(found)
        if entry is None:
            odd.append(found["_id"])
        elif entry.id not in newest or not _older(entry, newest[entry.id]):
            newest[entry.id] = entry
    if odd:
        samples = ", ".join(ejson.short(item) for item in odd[:_SAMPLES])
        raise MigrationError(
            f"{len(odd):,} documents of {db.name}.{place} aren't entries of {one.name} as it "
            f"writes them, such as {samples}. Nothing was taken over. Look what they are, or name "
            "the right collection: -e adopt_collection=…",
            samples=odd[:_SAMPLES],
        )
    return [
        {
            "migration": f"{one.name}:{entry.id}",
            "tool": one.name,
            "at": entry.at,
            "by": entry.by,
            "state": entry.state,
            "why": entry.why,
            "new": not entry.why and f"{one.name}:{entry.id}" not in known,
        }
        for entry in sorted(newest.values(), key=lambda entry: (str(entry.at), entry.id))
    ]


def _older(one: Entry, other: Entry) -> bool:
    return one.at is not None and other.at is not None and one.at < other.at


def _refuse_held(db: Db, one: Tool, lock_collection: str | None, now: datetime.datetime) -> None:
    for place in (lock_collection,) if lock_collection else one.locks:
        for found in db[place].find().limit(100):
            if one.is_held(found, now):
                raise MigrationError(
                    f"{one.name} is at work, or was killed: {db.name}.{place} "
                    f"{ejson.short(found['_id'])} says that its lock is held. Wait for it, or, if "
                    "nobody works, release the lock by the tool's own means, then run the same "
                    "command again."
                )


def _refuse_if_built_upon(db: Db, gone: list[dict[str, Any]]) -> None:
    names = {row["migration"] for row in gone}
    for newest in runs.newest_of_each(db):
        if newest["phase"] in ("planned", runs.ROLLED_BACK):
            continue
        if built := sorted(names & set(newest.get("after") or ())):
            raise MigrationError(
                f"Migration {newest['migration']} is {newest['phase']} and builds on {built[0]}: "
                "it can't be forgotten. Nothing was removed.",
                blocked_by=newest["migration"],
            )
