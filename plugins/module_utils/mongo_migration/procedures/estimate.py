"""How long a migration takes, what it writes, and whether the server's disk has room for that.

Orders of magnitude, measured on two cores with documents of about 500 bytes; docs/benchmarks.md
says how. A rehearsal on a copy replaces the times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..operations.refusals import unique_indexes
from ..support import listing
from . import cutover

Document = dict[str, Any]

_DOCUMENTS_PER_SECOND = 20_000
_LIVE_DOCUMENTS_PER_SECOND = 5_000  # while others write, it gives way to them
_DIGESTED_PER_SECOND = 150_000
_INDEXED_PER_SECOND = 400_000
# Of indexes that are there, entries that change. A few are in the rates above.
_ENTRIES_PER_SECOND = 20_000
_FREE_INDEXES = 3
_OPLOG_BYTES_PER_DOCUMENT = 190  # the change, and the document's part of the journal entry
# The journal and the oplog hold about the same; twice, since a checkpoint keeps both for a while.
_GROWTH_PER_OPLOG_BYTE = 3
#: What a disk should have left whatever happens.
RESERVE = 0.05
_MEGABYTE = 1_000_000


def estimate(facts: Mapping[str, Any], database: Database[Document]) -> dict[str, int]:
    """Return the times in seconds and the bytes that the plan *facts* comes to."""
    totals = facts["totals"]
    written = totals["to_change"] + totals["to_insert"] + totals["to_remove"] + totals["to_copy"]
    indexed = sum(row["documents"] for row in facts["steps"] if row["amounts"]["builds"])
    seconds = indexed / _INDEXED_PER_SECOND
    seconds += sum(_entries(row, database) for row in facts["steps"]) / _ENTRIES_PER_SECOND
    if facts["cutover"]["kind"] != cutover.STOPPED:
        seconds += written / _LIVE_DOCUMENTS_PER_SECOND
    else:
        seconds += written / _DOCUMENTS_PER_SECOND + totals["documents"] / _DIGESTED_PER_SECOND
    some = written or indexed
    stopped = cutover.seconds_stopped(
        facts["cutover"]["kind"], seconds=seconds, documents=totals["documents"]
    )
    return {
        "seconds": max(1, round(seconds)) if some else 0,
        "stopped_seconds": stopped if some else 0,
        "oplog_bytes": written * _OPLOG_BYTES_PER_DOCUMENT,
    }


def _entries(row: Mapping[str, Any], database: Database[Document]) -> int:
    """Return how many entries of indexes a row of the plan changes, beyond those of a few."""
    amounts = row["amounts"]
    whole = amounts["inserts"] + amounts["removes"] + amounts["copies"]
    if not (whole or amounts["changes"]):
        return 0
    specs = list(_indexes(database, row["real_name"]))
    changed = _changed(row)
    over = [
        spec
        for spec in specs
        if changed is None or (fields := unique_indexes.fields_of(spec)) is None or fields & changed
    ]
    extra = max(0, len(specs) - _FREE_INDEXES) * whole
    return int(extra + max(0, len(over) - _FREE_INDEXES) * amounts["changes"])


def _changed(row: Mapping[str, Any]) -> set[str] | None:
    """Return the top-level fields that a row changes; None where it is any."""
    paths = [row["field"]] if isinstance(row.get("field"), str) else row.get("paths", ())
    found = {path.split(".")[0] for path in paths}
    return found if found and found != {"document"} else None


def _indexes(database: Database[Document], name: str) -> Iterator[Document]:
    if not listing.collection(database, name):
        return
    for spec in listing.indexes(database, name):
        if spec["name"] != "_id_":
            yield spec


def growth(plan: Mapping[str, Any]) -> int:
    """Return by how many bytes the data grow while *plan* is carried out."""
    return int(plan["estimate"]["oplog_bytes"]) * _GROWTH_PER_OPLOG_BYTE


def no_room(facts: Mapping[str, Any], database: Database[Document]) -> list[Document]:
    """Return the problem of a disk on which the server would end before the migration does."""
    try:
        disk = database.command("dbStats")
    except OperationFailure:
        return []  # preflight says that it can't be seen
    total, used = disk.get("fsTotalSize"), disk.get("fsUsedSize")
    needed = growth(facts)
    if not (total and used and needed) or total - used >= needed:
        return []
    short = max(1, round((needed + total * RESERVE - (total - used)) / _MEGABYTE))
    return [
        {
            "step": None,
            "collection": database.name,
            "what": f"the server's disk has {(total - used) / _MEGABYTE:,.0f} MB free, and the "
            f"migration needs about {needed / _MEGABYTE:,.0f} MB for data, journal and oplog: a "
            "server without room ends",
            "count": 1,
            "samples": [],
            "policy": "room for the data",
            "fix": f"free or add {short:,} MB where MongoDB keeps its data",
        }
    ]
