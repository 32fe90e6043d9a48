"""Verification: the data is read again and compared; no step's own word counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from ..document.collections import Collections, is_ours
from ..document.definition import Definition, Step
from ..document.value_sources import Scope
from ..errors import DefinitionError, MigrationError
from ..ledger import partial_restore, runs
from ..ledger.journal import Journal
from ..ledger.lease import Lease, hold
from ..ledger.runs import Run
from ..maintenance import mode
from ..operations import dependencies
from ..operations.base import Check, Operation, Touched
from ..operations.entries import Effect, Remaining
from ..operations.registry import foresee, kind_of, open_journal
from ..server import obstacles
from ..support import commands, retry
from ..support.progress import Meter, quiet
from ..values import compare, ejson
from ..values.digest import Digest
from . import authority, baseline, value_proof
from . import conditions as checks
from . import plan as plans
from .baseline import Expected

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
    alone: bool = False,
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
        alone: nobody else knows this database, so that nobody can have written to it.

    Raises:
        MigrationError: there is no run to verify, or it is in another phase than expected.
    """
    db = client[database]
    partial_restore.refuse(db)
    document = _of_phase(runs.latest(db, definition.id, run), definition, expect)
    journal = _journal(db, document, definition)
    done = list(
        _applied(db, document, journal, authority.bind(document, definition), alone=alone)
        if expect == "applied"
        else _rolled_back(db, document, journal, alone=alone)
    )
    results = [check if isinstance(check, dict) else check.as_dict() for check in done]
    failed = [item["name"] for item in results if item["status"] == "failed"]
    changed = record and _record(
        db,
        document,
        expect=expect,
        passed=not failed,
        results=results,
        operator=operator or {},
        lease_seconds=lease_seconds,
    )
    if not changed:  # then its own write was conditional on it
        _refuse_if_moved(db, document, lease_seconds)
    return {
        "changed": changed,
        "migration": definition.id,
        "run": document["_id"],
        "phase": "verified" if changed else document["phase"],
        "passed": not failed,
        "checks": results,
        "failures": failed,
    }


def _journal(
    db: Database[dict[str, Any]], document: Mapping[str, Any], definition: Definition
) -> Journal:
    """Return the journal, of which each entry must be one that the document allows.

    What was rolled back can be verified by a later revision of the document, too.
    """
    if document["digest"] != definition.digest:
        return open_journal(db, document["_id"])
    allowed = authority.Authority(db, document, definition)
    return open_journal(db, document["_id"], require=allowed.step)


def _of_phase(
    document: dict[str, Any] | None, definition: Definition, expect: str
) -> dict[str, Any]:
    allowed = runs.DONE if expect == "applied" else (runs.ROLLED_BACK,)
    phase = "pending" if document is None else document["phase"]
    if document is not None and phase in allowed:
        return document
    command = (
        commands.carry_out(definition.id, definition.name)
        if expect == "applied"
        else commands.roll_back(definition.id)
    )
    raise MigrationError(
        f"Migration {definition.id} is {phase}, not {' or '.join(allowed)}: there is nothing to "
        f"verify as {expect}. Next: {command}",
        phase=phase,
        next=command,
    )


def _refuse_if_moved(
    db: Database[dict[str, Any]], document: Mapping[str, Any], seconds: float
) -> None:
    """What was looked at must have been the run's state until the end, as a majority knows it.

    Raises:
        MigrationError: another process has worked on it meanwhile.
        ConnectionFailedError: there is no majority that could say so.
    """
    now = retry.Patience(seconds=seconds).retry(
        lambda: runs.latest(db, document["migration"], document["_id"], sure=True),
        otherwise="Nothing was written.",
        obstacle=obstacles.namer(db.client),
    )
    known = ("phase", "revision", "seq")
    if now is None or [now[key] for key in known] != [document[key] for key in known]:
        raise MigrationError(
            f"Run {document['_id']} was worked on while it was being verified: what was looked at "
            f"is of no worth. {commands.STATUS} shows its state; then verify again.",
            run=document["_id"],
            next=commands.STATUS,
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
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    journal: Journal,
    bound: Definition,
    *,
    alone: bool,
) -> Iterator[Check | dict[str, Any]]:
    before = document["plan"]["before"]
    there = Collections(db, bound.collections)
    foresee(there, bound.steps)
    # What a step did away with, or took all documents from, is rightly empty.
    emptied = _emptied(document["plan"])
    before = {
        name: count
        for name, count in before.items()
        if not there.goes(name) and name not in emptied
    }
    scope = Scope(collections=there, now=document["now"], planned={}, comment=_COMMENT)
    operations: list[Operation] = []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digest") as other:
        # While the server counts for the other checks, this process hashes.
        present = other.submit(_present, db, document, journal, alone=alone)
        try:
            active = list(plans.active(bound, scope, document["plan"]["before"]))
            operations += [operation for _step, operation in active]
            for number, (_step, operation) in enumerate(active, 1):
                found = _unless_emptied(operation.check(), before)
                yield from _unless_blurred(found, operation, active[number:])
        except DefinitionError as error:  # a collection was dropped or renamed since
            yield Check(
                name="every collection of the migration exists",
                passed=False,
                expected="all exist",
                observed="one doesn't",
                examined=0,
                detail=error.message,
            )
        for spec, check in checks.evaluate(
            bound.postconditions,
            scope,
            variables=bound.variables,
            before=before,
            where=f"{bound.source}: postconditions",
        ):
            yield _skipped(spec["name"], check) if isinstance(check, str) else check
        now = present.result()
    if document["phase"] in (runs.PRUNING, runs.PRUNED):
        why = "its journal was removed on purpose, and the way back ended"
        yield _skipped("every value is as the journal says, and nothing else changed", why)
        return
    yield _whole_journal(journal, document)
    yield from _nothing_else(journal, document, now, rolled_back=False)
    yield from value_proof.prove(
        db, journal, operations, compared=now is not None, after=_proved(db, document)
    )
    yield from _counts(journal, document, scope, now)


def _emptied(plan: Mapping[str, Any]) -> set[str]:
    """Return the collections from which a plan takes every document, by the document's names."""
    left: dict[str, int] = {}
    for row in plan["steps"]:
        gone = row.get("amounts", {}).get("removes", 0)
        left[row["collection"]] = left.get(row["collection"], row.get("documents", 0)) - gone
    return {name for name, count in left.items() if count <= 0}


def _unless_blurred(
    found: Iterator[Check], operation: Operation, later: Sequence[tuple[Step, Operation]]
) -> Iterator[Check | dict[str, Any]]:
    """Yield checks; of one that fails, say where a later step rightly wrote since."""
    for check in found:
        blurring = None if check.passed else dependencies.blurring(operation, later)
        why = "writes there afterwards; the journal is what proves both"
        yield _skipped(check.name, f"{blurring} {why}") if blurring else check


def _proved(db: Database[dict[str, Any]], document: Mapping[str, Any]) -> int:
    """Return up to which entry documents were proved just before writers were stopped.

    Only while they still are: whoever verifies later looks at all of them.
    """
    if document["phase"] != "applied" or not mode.is_on(db):
        return 0
    return int((document.get("cutover") or {}).get("proved", 0))


def _unless_emptied(found: Iterator[Check], before: Mapping[str, int]) -> Iterator[Check]:
    for check in found:
        name = check.name.partition(":")[0]
        if check.passed and not check.examined and before.get(name, 0):
            check.passed = False
            check.detail = f"{name} is empty, but had {before[name]:,} documents before"
        yield check


def _counts(
    journal: Journal,
    document: Mapping[str, Any],
    scope: Scope,
    present: Mapping[str, Any] | None,
) -> Iterator[Check | dict[str, Any]]:
    """No document came or went: exact while writers are stopped, said when they weren't."""
    inserts = {row["collection"] for row in document["plan"]["steps"] if "to_insert" in row}
    loose, removed = _foreign(document), _removed(journal)
    if present is None:
        why = "writers are not stopped, so documents may legitimately come and go"
        yield _skipped("as many documents as before in every collection", why)
        return
    for name, was in document["plan"]["before"].items():
        real = scope.collections.real_name(name)
        if name in inserts or real in loose or scope.collections.goes(name):
            continue
        label = f"{name}: as many documents as before"
        if "until" in (present.get(real) or {}):
            yield _skipped(label, "a TTL index deletes documents by itself")
            continue
        gone = removed.get(real, 0)
        now = 0
        if scope.collections.exists(name):
            now = baseline.digest(present.get(real)).count
        yield Check(
            name=label
            + (f" but the {gone:,} removed" if gone > 0 else "")
            + (f" and the {-gone:,} inserted" if gone < 0 else ""),
            passed=now == was - gone,
            expected=was - gone,
            observed=now,
            examined=now,
        )


# -- rolled back -----------------------------------------------------------------------------


def _rolled_back(
    db: Database[dict[str, Any]], document: dict[str, Any], journal: Journal, *, alone: bool
) -> Iterator[Check | dict[str, Any]]:
    now = _present(db, document, journal, alone=alone)
    if document.get("pruned_at"):
        why = "its journal was removed on purpose, and the way back ended"
        yield _skipped("every batch of the journal is undone", why)
        yield from _nothing_else(journal, document, now, rolled_back=True)
        return
    yield _whole_journal(journal, document)
    yield from _journal_undone(db, journal)
    yield from _nothing_else(journal, document, now, rolled_back=True)


def _whole_journal(journal: Journal, document: Mapping[str, Any]) -> Check:
    """Nothing is proved by a journal of which a part is gone."""
    missing = journal.missing(document["seq"])
    # 1.0 removed entries of what was never begun.
    excused = document.get("format", 1) == 1 and missing < document["seq"]
    return Check(
        name="the journal holds every entry that the run wrote",
        passed=missing == 0 or excused,
        expected=document["seq"],
        observed=document["seq"] - missing,
        examined=document["seq"] - missing,
        detail="entries were removed by someone: no rollback can undo what they were about"
        if missing and not excused
        else "",
    )


def _journal_undone(
    db: Database[dict[str, Any]], journal: Journal
) -> Iterator[Check | dict[str, Any]]:
    """Nothing of what the run wrote is left, but for the conflicts that were reported."""
    found: dict[str, Remaining] = {}
    told = pending = 0
    for entry in journal.entries():
        pending += not entry.get("reverted")
        left = kind_of(entry).remaining(db, entry)
        if left.unknown:
            yield _skipped(left.what, left.unknown)
            continue
        kept = {compare.hashable(item) for item in entry.get("kept", ())}
        remaining = [item for item in left.left if compare.hashable(item) not in kept]
        told += len(kept)
        sofar = found.get(left.what, Remaining(what=left.what))
        found[left.what] = replace(
            left, examined=sofar.examined + left.examined, left=sofar.left + remaining
        )
    for what, left in found.items():
        yield Check(
            name=what,
            passed=not left.left,
            expected=0,
            observed=len(left.left),
            examined=left.examined,
            samples=left.left[:_SAMPLES],
        )
    yield Check(
        name="every batch of the journal is undone",
        passed=pending == 0,
        expected=0,
        observed=pending,
        examined=sum(left.examined for left in found.values()),
        detail=f"{told} documents were changed since and kept" if told else "",
    )


# -- nothing else changed --------------------------------------------------------------------


def _present(
    db: Database[dict[str, Any]], document: Mapping[str, Any], journal: Journal, *, alone: bool
) -> dict[str, dict[str, Any]] | None:
    """Return what the collections hold now; None if that can't be compared with before."""
    if "baseline" not in document:
        return None
    began = document.get("batches_began", document["started"])
    if not alone and not mode.is_on_since(db, began):
        return None  # on again, perhaps, but users have written in between
    touched = [
        Touched(collection=item["collection"], field=field, places="whole" in item)
        for item in document["baseline"]
        for field in item["without"]
    ]
    touched += _renamed(journal, touched)
    taken = baseline.take(
        db,
        touched,
        meter=Meter(quiet, phase="verify", total=0),
        comment=_COMMENT,
        expiring={
            item["collection"]: item["until"] for item in document["baseline"] if "until" in item
        },
    )
    return {item["collection"]: item for item in taken}


def _renamed(journal: Journal, touched: list[Touched]) -> list[Touched]:
    """Return what is touched in collections that have another name by now."""
    found: list[Touched] = []
    for entry in journal.entries(into={"$exists": True}):
        for effect in kind_of(entry).effects(entry):
            if effect.becomes is not None:
                found += [
                    replace(item, collection=effect.becomes)
                    for item in (*touched, *found)
                    if item.collection == effect.collection
                ]
    return found


def _nothing_else(
    journal: Journal,
    document: dict[str, Any],
    now: Mapping[str, dict[str, Any]] | None,
    *,
    rolled_back: bool,
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
    wanted = {
        # A collection that has come or gone is compared with an empty one.
        name: Expected(was.get(name), (was.get(name) or now[name])["without"])
        for name in set(was) | set(now)
    }
    if not rolled_back:
        for entry in journal.entries():
            for effect in kind_of(entry).effects(entry):
                _take_in(wanted, effect)
    foreign = {} if rolled_back else _foreign(document)
    for name in sorted(wanted):
        if is_ours(name):
            continue  # set aside
        if name in foreign:
            yield _skipped(f"{name}: {label}", f"`{foreign[name]}` may write anything to it")
            continue
        yield from _compared(name, wanted[name], now.get(name), label, rolled_back=rolled_back)
        if rolled_back and name in was and name in now:
            yield from _at_their_places(name, was[name], now[name])


def _at_their_places(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Check]:
    """Yield a check of whole documents, where fields may have changed their places."""
    if "whole" not in was or "whole" not in now:
        return
    before, after = baseline.digest(was["whole"]), baseline.digest(now["whole"])
    yield Check(
        name=f"{name}: every document is as it was, each field at its place",
        passed=before == after,
        expected=_said(before),
        observed=_said(after),
        examined=after.count,
    )


def _take_in(wanted: dict[str, Expected], effect: Effect) -> None:
    """Let *wanted* be what it is after *effect*."""
    if effect.collection not in wanted:
        return
    mine = wanted[effect.collection]
    if effect.becomes is None:
        mine.add(effect)
        return
    wanted[effect.becomes] = mine
    wanted[effect.collection] = Expected(None, mine.touched)


def _compared(
    name: str,
    wanted: Expected,
    now: Mapping[str, Any] | None,
    label: str,
    *,
    rolled_back: bool,
) -> Iterator[Check]:
    """Yield a check of the rest of the documents, and one for each touched field."""
    after, touched = baseline.digest(now), ", ".join(wanted.fields)
    until = None if now is None else now.get("until")
    yield Check(
        name=f"{name}: {label}" + (f" but {touched}" if touched and not rolled_back else ""),
        passed=wanted.rest == after,
        expected=_said(wanted.rest),
        observed=_said(after),
        examined=after.count + wanted.removed,
        detail=f"without what a TTL index deletes before {ejson.short(until)}" if until else "",
    )
    present = {} if now is None else now["fields"]
    for field, digest in wanted.fields.items():
        found = baseline.digest(present.get(field))
        yield Check(
            name=f"{name}: every {field} is as it was before"
            if rolled_back
            else f"{name}: every {field} is as it was, or as the journal says",
            passed=digest == found,
            expected=_said(digest),
            observed=_said(found),
            examined=found.count,
        )


def _said(digest: Digest) -> str:
    return f"{digest.count:,} documents, digest {digest.hexdigest()[:12]}"


def _each_batch(document: Mapping[str, Any], label: str) -> Check | dict[str, Any]:
    """The proof of a live run: each batch was compared in the snapshot of its transaction."""
    counts = document["counts"]
    if _foreign(document):
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


def _removed(journal: Journal) -> dict[str, int]:
    """Return how many documents less the run left, by collection."""
    removed: dict[str, int] = {}
    for entry in journal.entries():
        kind = kind_of(entry)
        for effect in kind.effects(entry) if kind.holds_documents else ():
            less = len(effect.removed) - len(effect.inserted)
            removed[effect.collection] = removed.get(effect.collection, 0) + less
    return removed


def _foreign(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the collections that a foreign command writes to, with the command."""
    return {
        name: row["command"]
        for row in document["plan"]["steps"]
        if "command" in row
        for name in row.get("foreign", row.get("writes", ()))
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
