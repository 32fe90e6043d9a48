"""Verification: the data is read anew and compared; no step's own word counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
from pymongo import MongoClient
from pymongo.database import Database

from ..document.collections import Collections
from ..document.definition import Definition
from ..document.value_sources import Scope
from ..errors import DefinitionError, MigrationError
from ..ledger import partial_restore, runs
from ..ledger.journal import Journal
from ..ledger.lease import Lease, hold
from ..ledger.runs import Run
from ..maintenance import mode
from ..operations import Check, Touched
from ..operations.current_values import holding
from ..support import processes
from ..support.progress import Meter, quiet
from ..values import compare
from ..values.compare import ABSENT
from ..values.digest import Digest
from . import baseline, conditions, migrate
from . import plan as plans

_SAMPLES = 5
_COMMENT = "migration-playbooks verify"


def verify(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    definition: Definition,
    expect: str = "applied",
    run: str | None = None,
    record: bool = True,
    operator: Mapping[str, Any] | None = None,
    lease_seconds: float = 30,
) -> dict[str, Any]:
    """Check the state that *expect* names; a run that passes as ``applied`` becomes ``verified``.

    Args:
        client: connected to the deployment.
        database: the database.
        definition: the migration, as it is today; the run's own is what is checked.
        expect: ``applied`` or ``rolled_back``.
        run: the run to check, where it isn't the newest.
        record: write the result into the run document.
        operator: who does it, for the lease.
        lease_seconds: life of the lease while the result is written.

    Raises:
        MigrationError: there is no run to verify, or it is in another phase than expected.
    """
    db = client[database]
    partial_restore.refuse(db)
    document = runs.latest(db, definition.id, run)
    _refuse_other_phase(document, definition, expect)
    assert document is not None
    bound = migrate.stored(document)
    scope = Scope(
        collections=Collections(db, bound.collections),
        now=document["now"],
        planned={},
        comment=_COMMENT,
    )
    done = list(
        _applied(db, document, bound, scope)
        if expect == "applied"
        else _rolled_back(db, document, scope)
    )
    results = [check if isinstance(check, dict) else check.as_dict() for check in done]
    failed = [item["name"] for item in results if item["status"] == "failed"]
    passed = not failed
    changed = False
    if record:
        changed = _record(
            db,
            document,
            expect=expect,
            passed=passed,
            results=results,
            operator=operator or {},
            lease_seconds=lease_seconds,
        )
    return {
        "changed": changed,
        "migration": definition.id,
        "run": document["_id"],
        "phase": "verified" if changed else document["phase"],
        "passed": passed,
        "checks": results,
        "failures": failed,
    }


def _refuse_other_phase(
    document: Mapping[str, Any] | None, definition: Definition, expect: str
) -> None:
    allowed = runs.DONE if expect == "applied" else (runs.ROLLED_BACK,)
    phase = "pending" if document is None else document["phase"]
    if phase in allowed:
        return
    command = (
        f"ansible-playbook {definition.command}"
        if expect == "applied"
        else f"ansible-playbook rollback.yml -e migration={definition.id}"
    )
    raise MigrationError(
        f"Migration {definition.id} is {phase}, not {' or '.join(allowed)}: there is nothing to "
        f"verify as {expect}. Next: {command}",
        phase=phase,
        next=command,
    )


def _record(
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    *,
    expect: str,
    passed: bool,
    results: list[dict[str, Any]],
    operator: Mapping[str, Any],
    lease_seconds: float,
) -> bool:
    """Write a first success into the run document; return whether its phase changed."""
    if expect != "applied" or not passed or document["phase"] != "applied":
        return False
    purpose = f"verify {document['migration']} {document['name']}"
    lease: Lease
    with hold(db, purpose=purpose, holder=dict(operator), seconds=lease_seconds) as lease:
        run = Run.adopt(db, document, lease.token)
        run.enter("verified", verified_at=runs.server_now(db), verification=len(results))
    return True


# -- applied ---------------------------------------------------------------------------------


def _applied(
    db: Database[dict[str, Any]], document: dict[str, Any], bound: Definition, scope: Scope
) -> Iterator[Check | dict[str, Any]]:
    before = document["plan"]["before"]
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digest") as other:
        # While the server counts for the other checks, this process hashes.
        present = other.submit(_present, db, document, whole=False)
        try:
            for _step, operation in plans.active(bound, scope, before):
                yield from _unless_emptied(operation.check(), before)
        except DefinitionError as error:  # a collection was dropped or renamed since
            yield Check(
                name="every collection of the migration exists",
                passed=False,
                expected="all exist",
                observed="one doesn't",
                examined=0,
                detail=error.message,
            )
        for spec, check in conditions.evaluate(
            bound.postconditions,
            scope,
            variables=bound.variables,
            before=before,
            where=f"{bound.source}: postconditions",
        ):
            yield _skipped(spec["name"], check) if isinstance(check, str) else check
        now = present.result()
    yield from _nothing_else(db, document, now, whole=False)
    yield from _counts(document, scope, now)


def _unless_emptied(found: Iterator[Check], before: Mapping[str, int]) -> Iterator[Check]:
    for check in found:
        name = check.name.partition(":")[0]
        if check.passed and not check.examined and before.get(name, 0):
            check.passed = False
            check.detail = f"{name} is empty, but had {before[name]:,} documents before"
        yield check


def _counts(
    document: Mapping[str, Any], scope: Scope, present: Mapping[str, Any] | None
) -> Iterator[Check | dict[str, Any]]:
    """No document came or went: exact while writers are stopped, said when they weren't."""
    inserts = {row["collection"] for row in document["plan"]["steps"] if "to_insert" in row}
    loose, removed = _loose(document), _removed(scope.collections.database, document)
    if present is None:
        why = "writers are not stopped, so documents may rightly come and go"
        yield _skipped("as many documents as before in every collection", why)
        return
    for name, was in document["plan"]["before"].items():
        real = scope.collections.real_name(name)
        if name in inserts or real in loose:
            continue
        label = f"{name}: as many documents as before"
        gone = len(removed.get(real, ()))
        now = 0
        if scope.collections.exists(name):
            now = _digest(present.get(real)).count
        yield Check(
            name=label + (f" but the {gone:,} removed" if gone else ""),
            passed=now == was - gone,
            expected=was - gone,
            observed=now,
            examined=now,
        )


# -- rolled back -----------------------------------------------------------------------------


def _rolled_back(
    db: Database[dict[str, Any]], document: dict[str, Any], scope: Scope
) -> Iterator[Check | dict[str, Any]]:
    yield from _journal_undone(db, document)
    yield from _nothing_else(db, document, _present(db, document, whole=True), whole=True)


def _journal_undone(
    db: Database[dict[str, Any]], document: Mapping[str, Any]
) -> Iterator[Check | dict[str, Any]]:
    """Nothing of what the run wrote is left, but for the conflicts that were told."""
    journal = Journal(db, document["_id"])
    examined: dict[str, int] = {}
    left: dict[str, int] = {}
    samples: dict[str, list[Any]] = {}
    told = pending = 0
    for entry in journal.entries():
        pending += not entry.get("reverted")
        if entry["kind"] == "command":
            yield _skipped(
                f"nothing is left of `{processes.line(entry['command']['argv'])}`",
                "no journal knows what it wrote; the digests, where there are any, do",
            )
            continue
        name = f"{entry['collection']}: nothing is left of {entry['kind']}"
        if entry["kind"] == "create_index":
            name += f" {entry['spec']['name']}"
        ids, found = _left(db, entry)
        kept = {compare.hashable(item) for item in entry.get("kept", ())}
        remaining = [item for item in found if compare.hashable(item) not in kept]
        told += len(entry.get("kept", ()))
        examined[name] = examined.get(name, 0) + ids
        left[name] = left.get(name, 0) + len(remaining)
        samples.setdefault(name, []).extend(remaining[:_SAMPLES])
    for name, count in left.items():
        yield Check(
            name=name,
            passed=count == 0,
            expected=0,
            observed=count,
            examined=examined[name],
            samples=samples[name][:_SAMPLES],
        )
    yield Check(
        name="every batch of the journal is undone",
        passed=pending == 0,
        expected=0,
        observed=pending,
        examined=sum(examined.values()),
        detail=f"{told} documents were changed since and kept" if told else "",
    )


def _left(db: Database[dict[str, Any]], entry: Mapping[str, Any]) -> tuple[int, list[Any]]:
    """Return how many things an entry is about and those that still are as the run made them."""
    collection = db[entry["collection"]]
    if entry["kind"] == "create_index":
        there = [i["name"] for i in collection.list_indexes() if i["name"] == entry["spec"]["name"]]
        return 1, there
    if entry["kind"] == "insert_for_each":
        ids = [item["_id"] for item in entry["documents"]]
        return len(ids), [row["_id"] for row in collection.find({"_id": {"$in": ids}}, {"_id": 1})]
    if "removed" in entry:
        # What is left of a removal is that a document is still missing.
        ids = [item["_id"] for item in entry["removed"]]
        rows = collection.find({"_id": {"$in": ids}}, {"_id": 1})
        back = {compare.hashable(row["_id"]) for row in rows}
        return len(ids), [item for item in ids if compare.hashable(item) not in back]
    groups = entry["groups"]
    changed = [g for g in groups if not compare.same(g["value"], g.get("before", ABSENT))]
    kept = holding(collection, entry["field"], changed, comment=_COMMENT)
    total = sum(len(group["ids"]) for group in groups)
    return total, [identity for group in kept for identity in group["ids"]]


# -- nothing else changed --------------------------------------------------------------------


def _present(
    db: Database[dict[str, Any]], document: Mapping[str, Any], *, whole: bool
) -> dict[str, dict[str, Any]] | None:
    """Return what the collections hold now; None if that can't be compared with before."""
    if "baseline" not in document:
        return None
    if not mode.is_on_since(db, document.get("batches_began", document["started"])):
        return None  # on again, perhaps, but users have written in between
    touched = [
        Touched(collection=item["collection"], field=field)
        for item in document["baseline"]
        for field in item["without"]
    ]
    taken = baseline.take(
        db, touched, meter=Meter(quiet, phase="verify", total=0), comment=_COMMENT, whole=whole
    )
    return {item["collection"]: item for item in taken}


def _nothing_else(
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    now: Mapping[str, dict[str, Any]] | None,
    *,
    whole: bool,
) -> Iterator[Check | dict[str, Any]]:
    """Compare digests from before the run with the data now, while writers are still stopped."""
    label = "nothing else changed"
    if "baseline" not in document:
        yield _each_batch(document, label)
        return
    if now is None:
        yield _skipped(label, "writers have been let in again since")
        return
    was = {item["collection"]: item for item in document["baseline"]}
    inserted = {} if whole else _inserted(db, document)
    removed = {} if whole else _removed(db, document)
    loose = {} if whole else _loose(document)
    for name in sorted(set(was) | set(now)):
        old, new = was.get(name), now.get(name)
        if name in loose:
            yield _skipped(f"{name}: {label}", f"`{loose[name]}` may write anything to it")
            continue
        # A collection that has come or gone is compared with an empty one.
        before, after = _digest(old), _digest(new)
        if name in inserted:
            fields = set((new or {}).get("without", ()))
            after = baseline.without_inserted(
                after,
                [{k: v for k, v in item.items() if k not in fields} for item in inserted[name]],
            )
        if name in removed:
            fields = set((new or {}).get("without", ()))
            after = after + Digest.of(
                bson.encode({key: value for key, value in item.items() if key not in fields})
                for item in removed[name]
            )
        fields_same = not whole or _digest(old, "fields") == _digest(new, "fields")
        without = ", ".join((old or new or {}).get("without", ()))
        yield Check(
            name=f"{name}: {label}" + (f" but {without}" if without and not whole else ""),
            passed=before == after and fields_same,
            expected=f"{before.count:,} documents, digest {before.hexdigest()[:12]}",
            observed=f"{after.count:,} documents, digest {after.hexdigest()[:12]}",
            examined=after.count,
            detail="" if fields_same else f"{without} differs from before",
        )


def _each_batch(document: Mapping[str, Any], label: str) -> Check | dict[str, Any]:
    """The proof of a live run: each batch was compared in the snapshot of its transaction."""
    counts = document["counts"]
    if _loose(document):
        return _skipped(label, "a command of another tool wrote, and writers were not stopped")
    if not document["server"]["transactions"]:
        return _skipped(label, "writers were not stopped, and this server has no transactions")
    return Check(
        name=f"{label} in any document of a batch",
        passed=counts.get("proved", 0) == counts["modified"],
        expected=counts["modified"],
        observed=counts.get("proved", 0),
        examined=counts.get("proved", 0),
        detail="compared in each batch's own transaction, because writers were not stopped",
    )


def _digest(item: Mapping[str, Any] | None, key: str | None = None) -> Digest:
    part = None if item is None else item[key] if key else item
    return Digest() if part is None else Digest.parse(part["digest"], part["count"])


def _inserted(db: Database[dict[str, Any]], document: Mapping[str, Any]) -> dict[str, list[Any]]:
    inserted: dict[str, list[Any]] = {}
    for entry in Journal(db, document["_id"]).entries(kind="insert_for_each"):
        inserted.setdefault(entry["collection"], []).extend(entry["documents"])
    return inserted


def _removed(db: Database[dict[str, Any]], document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the documents that the run removed, by collection."""
    removed: dict[str, list[Any]] = {}
    for entry in Journal(db, document["_id"]).entries(kind="merge_duplicates"):
        removed.setdefault(entry["collection"], []).extend(entry["removed"])
    return removed


def _loose(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the collections that a foreign command writes to, with the command."""
    return {
        name: row["command"]
        for row in document["plan"]["steps"]
        if "command" in row
        for name in row["writes"]
    }


def _skipped(name: str, why: str) -> dict[str, Any]:
    return {
        "name": name,
        "status": "skipped",
        "expected": None,
        "observed": None,
        "examined": 0,
        "detail": why,
        "samples": [],
    }
