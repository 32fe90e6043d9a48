"""``set_field``: documents that lack a value for a field get the one that they should have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import bson
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from pymongo import ASCENDING, UpdateMany
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from .. import ejson, matching, sources
from ..chunks import chunks
from ..definition import Step
from ..digest import Digest
from ..errors import DefinitionError, MigrationError, PlanBlockedError
from ..matching import ABSENT
from ..raw import raw_documents
from ..sources import Found, Key, Resolution, Scope, Source, Unresolved
from ..writer import StaleBatchError, Write, Writer
from .base import Check, Plan, Touched
from .referents import MOST, Referents
from .tally import Tally
from .validators import Validator, too_large

KIND = "set_field"

_SAMPLES = 5
# Documents that writers add behind the walk are picked up by another one; this many in all.
_MOST_PASSES = 20
# What a batch rewrites is in the server's cache until it is committed.
_BATCH_BYTES = 64 << 20
# A journal entry is one document, of which MongoDB allows 16 MB.
_ENTRY_BYTES = 8 << 20
# A statement costs the server as much as the writing of some documents. Groups of at most so few
# documents, where there are so many, are written by one statement for so many documents together;
# it looks through the list for each, so that longer lists cost more than they save.
_FEW, _MANY, _TOGETHER = 8, 4, 128
# A batch that changes under our eyes is read again; this often in a row.
_MOST_STALE = 50


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One of the collections: its name in the document, itself, and where values come from."""

    name: str
    collection: Collection[dict[str, Any]]
    source: Source


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Candidates that were read, by the value that they get and the one that they had."""

    rows: list[dict[str, Any]]  # as they were read
    groups: list[dict[str, Any]]
    skipped: int
    after: dict[str, Any]  # the position behind them

    @property
    def count(self) -> int:
        """Return how many documents are to be written."""
        return sum(len(group["ids"]) for group in self.groups)


class SetField:
    """See the module. Options are those of the schema's ``set_field``."""

    def __init__(self, step: Step, scope: Scope) -> None:
        self._step = step
        self._scope = scope
        options, names = step.options, scope.collections
        self._field: str = options["field"]
        self._references: str | None = options.get("references")
        self._kind: str | None = options.get("type") or ("objectId" if self._references else None)
        self._where = matching.bind_now(options.get("where", {}), scope.now)
        self._when_invalid: str = options.get("when_invalid", "replace")
        self._when_contradicted: str = options.get("when_contradicted", "fail")
        self._when_unresolved: str = options.get("when_unresolved", "fail")
        named = options["collections"]
        owners: dict[str, str | None] = named if isinstance(named, dict) else dict.fromkeys(named)
        where = f"steps[{step.index}].{KIND}"
        sources.check(options["value"], where=where, resolve=names.target)
        if self._references:
            names.target(self._references)
        self._absent = [name for name in owners if names.absent(name)]
        self._targets = [
            _Target(
                name=name,
                collection=names.get(name, write=True),
                source=sources.build(options["value"], scope, owner=owner),
            )
            for name, owner in owners.items()
            if not names.absent(name)
        ]
        if not self._targets and len(owners) > 1:
            # A deployment may lack the one collection of a step; to lack all of many is a mistake.
            raise DefinitionError(f"{where}: the inventory maps every collection to null")

    def touches(self) -> list[Touched]:
        """Return the collections and the one field."""
        return [Touched(collection=t.collection.name, field=self._field) for t in self._targets]

    def plan(self) -> Plan:
        """Count the candidates of each collection by why they are one and what they would get."""
        plan = Plan()
        referents = Referents(self._references, self._scope)
        for name in self._absent:
            plan.warnings.append(f"{name}: left out, the inventory maps it to null")
        if referents.too_many:
            plan.warnings.append(
                f"{self._references} has more than {MOST:,} documents: values of {self._field} "
                "are judged by their type, not by whether what they name exists"
            )
        for target in self._targets:
            self._plan_one(plan, target, referents)
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Walk each collection along ``_id`` until no candidate is left."""
        referents = Referents(self._references, self._scope)
        first, kept = position.get("target", 0), ("pass", "last", "skipped")
        for index, target in enumerate(self._targets):
            if index < first:
                continue
            start = {"step": self._step.index, "target": index, "pass": 1}
            if index == first:
                start |= {key: position[key] for key in kept if key in position}
            self._walk(writer, target, referents, start)

    def check(self) -> Iterator[Check]:
        """Count what is left, and look at a few documents."""
        referents = Referents(self._references, self._scope)
        refers = f" that exists in {self._references}" if self._references else ""
        for target in self._targets:
            plan = Plan()
            self._plan_one(plan, target, referents)
            row = plan.rows[0]
            empty, wrong = sum(row["empty"].values()), sum(row["invalid"].values())
            # What a policy leaves alone is no failure, but it is said.
            excused = row["skipped"]
            settled = row["to_change"] == 0 and not plan.problems
            facts = {
                "expected": f"at most {excused}" if excused else 0,
                "examined": row["documents"],
                "detail": f"{excused} left alone by policy" if excused else "",
                "samples": row["samples"],
            }
            yield Check(
                name=f"{target.name}: no document is without {self._field}",
                passed=empty == 0 or settled,
                observed=empty,
                **facts,
            )
            yield Check(
                name=f"{target.name}: every {self._field} is of type {self._kind or 'any'}{refers}",
                passed=wrong + empty == 0 or settled,
                observed=wrong,
                **facts,
            )
            yield self._sample(target, excused)

    def _sample(self, target: _Target, excused: int) -> Check:
        rows = list(
            target.collection.aggregate(
                [
                    # Only as the first stage does a sample cost less than reading everything.
                    *([{"$match": self._where}] if self._where else []),
                    {"$sample": {"size": _SAMPLES}},
                    {"$project": {self._field: 1}},
                ],
                comment=self._scope.comment,
            )
        )
        have = [row for row in rows if row.get(self._field) is not None]
        return Check(
            name=f"{target.name}: sample documents have {self._field}",
            passed=len(have) == len(rows) or excused > 0,
            expected=len(rows),
            observed=len(have),
            # Where the step is about the field itself, a step well done leaves none to look at.
            examined=len(rows) or (self._count(target) if self._where else 0),
            detail=""
            if rows
            else "no document matches"
            if self._where
            else "the collection is empty",
            samples=rows[:2],
        )

    def _count(self, target: _Target) -> int:
        return target.collection.estimated_document_count(comment=self._scope.comment)

    def _candidates(self, referents: Referents) -> dict[str, Any]:
        keep = self._when_invalid == "keep"
        mine = matching.candidate(self._field, self._kind, referents.ids, keep)
        return {"$and": [mine, self._where]} if self._where else mine

    def _answer(self, source: Source, key: Key, referents: Referents) -> Resolution:
        answer = source.resolve(key)
        if not isinstance(answer, Found):
            return answer
        if not referents.has(answer.value):
            return Unresolved(f"{answer.source} gives a value that isn't in {referents.name}")
        kind = matching.bson_type(answer.value)
        if self._kind is not None and kind != self._kind:
            return Unresolved(f"{answer.source} gives a value of type {kind}, not {self._kind}")
        return answer

    # -- planning ----------------------------------------------------------------------------

    def _plan_one(self, plan: Plan, target: _Target, referents: Referents) -> None:
        path = f"${self._field}"
        text = {"$cond": [{"$eq": [{"$type": path}, "string"]}, path, None]}
        # Documents that are alike in all that matters are judged together.
        groups = target.collection.aggregate(
            [
                {"$match": self._candidates(referents)},
                {
                    "$group": {
                        "_id": {
                            "why": matching.category(self._field, self._kind),
                            "key": target.source.inputs,
                            "text": text,
                        },
                        "count": {"$sum": 1},
                        "sample": {"$first": "$_id"},
                    }
                },
            ],
            allowDiskUse=True,
            comment=self._scope.comment,
        )
        tally = Tally(plan, step=self._step.index, kind=KIND, name=target.name, field=self._field)
        for batch in chunks(groups, 1000):
            target.source.prepare([row["_id"].get("key", []) for row in batch])
            for row in batch:
                self._judge(tally, row, target.source, referents)
        if tally.example is not ABSENT:
            self._foresee_refusals(tally, target, self._candidates(referents))
        tally.finish(
            documents=target.collection.count_documents({}, comment=self._scope.comment),
            real=target.collection.name,
            policies={
                "unresolved": self._when_unresolved,
                "contradicted": self._when_contradicted,
                "invalid": self._when_invalid,
                "old_type": "fail",
            },
        )

    def _foresee_refusals(self, tally: Tally, target: _Target, candidates: dict[str, Any]) -> None:
        comment, what = self._scope.comment, (candidates, self._field, tally.example)
        if validator := Validator(target.collection, comment):
            refusal = validator.refuses_change(*what)
            tally.refused(refusal.count, refusal.samples)
        refusal = too_large(target.collection, *what, comment=comment)
        tally.too_large(refusal.count, refusal.samples)

    def _judge(
        self, tally: Tally, row: dict[str, Any], source: Source, referents: Referents
    ) -> None:
        why, count, sample = row["_id"]["why"], row["count"], row["sample"]
        if why == matching.OLD_TYPE:
            tally.category("wrong_type", count)
            what = f"{self._field} {_WORDS[why]}"
            tally.problem("old_type", what, count, sample)
            return
        tally.category(why, count)
        if why in matching.INVALID and self._when_invalid == "fail":
            tally.problem("invalid", f"{self._field} {_WORDS[why]}", count, sample)
            return
        answer = self._answer(source, row["_id"].get("key", []), referents)
        if not isinstance(answer, Found):
            tally.problem("unresolved", answer.reason, count, sample)
        elif self._when_contradicted != "replace" and referents.names_another(
            row["_id"].get("text"), answer.value
        ):
            what = f"{self._field} is, as text, the id of another one than {answer.source} gives"
            tally.problem("contradicted", what, count, sample)
        else:
            tally.found(answer, count, sample)

    # -- applying ----------------------------------------------------------------------------

    def _walk(
        self, writer: Writer, target: _Target, referents: Referents, position: dict[str, Any]
    ) -> None:
        # While one batch is written, the next one is read: the server does both at once.
        most = _most_documents(target.collection)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader") as reader:

            def ahead(start: dict[str, Any]) -> Future[_Batch | None]:
                size = min(most, writer.settings.batch_size)
                return reader.submit(self._prepare, target, referents, start, size)

            # A walk that is resumed has written before: it, too, looks behind itself at its end.
            written, stale = int("last" in position), 0
            coming = ahead(position)
            while True:
                batch = coming.result()
                if batch is None:
                    # Writers may have added candidates behind the walk: look again from the start.
                    if writer.settings.frozen or not written or position["pass"] >= _MOST_PASSES:
                        return
                    position = self._next_pass(writer, position)
                    written = 0
                    coming = ahead(position)
                    continue
                coming = ahead(batch.after)
                try:
                    self._write(writer, target, batch)
                except StaleBatchError:
                    # Someone changed a document of the batch in the meantime. Read it again.
                    stale += 1
                    if stale > _MOST_STALE:
                        raise MigrationError(
                            f"{target.name}: the documents around "
                            f"{ejson.short(batch.rows[0]['_id'])} change faster than they can be "
                            f"written ({stale} attempts). Stop the "
                            "writers (maintenance.yml -e state=on), then run the same command "
                            "again."
                        ) from None
                    coming.cancel()
                    coming = ahead(position)
                    continue
                stale = 0
                written += batch.count
                position = batch.after
                writer.meter.advance(
                    batch.count,
                    step=self._step.index,
                    kind=KIND,
                    collection=target.name,
                    batch=batch.count,
                )

    def _next_pass(self, writer: Writer, position: dict[str, Any]) -> dict[str, Any]:
        start = {
            "step": self._step.index,
            "target": position["target"],
            "pass": position["pass"] + 1,
        }
        # What this pass skipped, the next one meets again: it counts it anew.
        writer.move(start, {"skipped": -position.get("skipped", 0)})
        return start

    def _prepare(
        self, target: _Target, referents: Referents, position: dict[str, Any], limit: int
    ) -> _Batch | None:
        """Read the next candidates and find their values; None where there are no more."""
        rows = self._read(target, referents, position, limit)
        if not rows:
            return None
        groups, skipped = self._group(target, rows, referents)
        after = {**position, "last": rows[-1]["_id"]}
        if skipped:
            after["skipped"] = after.get("skipped", 0) + skipped
        return _Batch(rows=rows, groups=groups, skipped=skipped, after=after)

    def _read(
        self, target: _Target, referents: Referents, position: dict[str, Any], limit: int
    ) -> list[dict[str, Any]]:
        """Return the next candidates along ``_id`` with their present value and source key."""
        candidates = self._candidates(referents)

        def find(selector: dict[str, Any], **bounds: Any) -> list[dict[str, Any]]:
            return list(
                target.collection.find(
                    {"$and": [candidates, selector]},
                    {"before": f"${self._field}", "key": target.source.inputs},
                    hint=[("_id", ASCENDING)],
                    sort=[("_id", ASCENDING)],
                    comment=self._scope.comment,
                    **bounds,
                )
            )

        if "last" not in position:
            rows = find({}, limit=limit)
        elif isinstance(position["last"], MaxKey):
            rows = []  # nothing comes after it
        else:
            # An index bound, not a filter: `$gt` would stop at the end of one BSON type.
            last = {"_id": position["last"]}
            rows = find({"_id": {"$ne": last["_id"]}}, min=last, limit=limit)
            if len(rows) < limit:
                # A bound on one side reaches up to the greatest key of all, without that key.
                rows += find({"_id": MaxKey()})
        return _fitting(rows)

    def _group(
        self, target: _Target, rows: list[dict[str, Any]], referents: Referents
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the documents by (value to write, value before), and how many a policy skips."""
        # What a value names may have been created since the step began: an application that
        # already writes the field must never be overwritten.
        referents.refresh([r["before"] for r in rows if isinstance(r.get("before"), ObjectId)])
        groups: dict[bytes, dict[str, Any]] = {}
        skipped = 0
        judged = list(_alike(rows))
        target.source.prepare([alike[0].get("key", []) for alike in judged])
        for alike in judged:
            row = alike[0]
            before = row.get("before", ABSENT)
            if isinstance(before, ObjectId) and referents.ids is not None and referents.has(before):
                continue
            answer = self._answer(target.source, row.get("key", []), referents)
            if (why := self._objection(before, answer, referents)) is not None:
                policy, reason = why
                if policy == "fail":
                    raise PlanBlockedError(
                        f"{target.name} {ejson.short(row['_id'])} came or changed after the plan: "
                        f"{reason}. Correct it, then run the same command again."
                    )
                skipped += len(alike)
                continue
            assert isinstance(answer, Found)
            shape: dict[str, Any] = {"value": answer.value}
            if before is not ABSENT:
                shape["before"] = before
            group = groups.setdefault(bson.encode(shape), {**shape, "ids": []})
            group["ids"] += [item["_id"] for item in alike]
        return list(groups.values()), skipped

    def _objection(
        self, before: Any, answer: Resolution, referents: Referents
    ) -> tuple[str, str] | None:
        """Return the policy and the reason why a document can't just be written."""
        empty = before is ABSENT or before is None or before == ""
        if not empty and self._when_invalid == "fail":
            return "fail", f"its {self._field} is {ejson.short(before)}"
        if not isinstance(answer, Found):
            return self._when_unresolved, answer.reason
        if self._when_contradicted != "replace" and referents.names_another(before, answer.value):
            reason = f"its {self._field} names another one than {answer.source} gives"
            return self._when_contradicted, reason
        return None

    def _write(self, writer: Writer, target: _Target, batch: _Batch) -> None:
        if not batch.groups:
            writer.move(batch.after, {"skipped": batch.skipped})
            return
        entry = {
            "kind": KIND,
            "step": self._step.index,
            "collection": target.collection.name,
            "field": self._field,
            "groups": batch.groups,
        }
        write = self._update(writer, target.collection, batch)
        if not (writer.settings.frozen and "baseline" in writer.run.document):
            write = self._proved(writer, target, batch, write)
        writer.commit(entry, write, position=batch.after)

    def _update(
        self,
        writer: Writer,
        collection: Collection[dict[str, Any]],
        batch: _Batch,
    ) -> Write:
        statements = _statements(self._field, batch.groups)

        def write(session: ClientSession | None) -> dict[str, int]:
            result = collection.bulk_write(statements, session=session, comment=writer.comment)
            if result.matched_count != batch.count:
                if session is not None:
                    raise StaleBatchError
                self._amend(writer, collection, batch.groups)
            return {"modified": result.matched_count, "skipped": batch.skipped}

        return write

    def _proved(
        self,
        writer: Writer,
        target: _Target,
        batch: _Batch,
        write: Write,
    ) -> Write:
        """Return *write* with the proof that it left the rest of each document as it was.

        With writers about, whole collections can't be compared; one batch can, in the snapshot
        of its own transaction.
        """
        collection = target.collection
        ids = [identity for group in batch.groups for identity in group["ids"]]
        keys = {matching.hashable(row["_id"]): row.get("key", []) for row in batch.rows}

        def refuse_if_moved(session: ClientSession) -> None:
            # The value was found for the owner that was read; it may be another one's by now.
            if not target.source.inputs:
                return
            for row in collection.find(
                {"_id": {"$in": ids}},
                {"key": target.source.inputs},
                session=session,
                comment=writer.comment,
            ):
                if not matching.same(row.get("key", []), keys[matching.hashable(row["_id"])]):
                    raise StaleBatchError

        def digest(session: ClientSession) -> Digest:
            return Digest.of(
                raw_documents(
                    collection.database,
                    collection.name,
                    filter={"_id": {"$in": ids}},
                    projection={self._field: 0},
                    session=session,
                    comment=writer.comment,
                )
            )

        def proved(session: ClientSession | None) -> dict[str, int]:
            if session is None:
                return dict(write(None))
            refuse_if_moved(session)
            before = digest(session)
            counts = write(session)
            if digest(session) != before:
                raise MigrationError(
                    f"{collection.name}: a batch changed more than {self._field}. It was not "
                    "committed. This should be impossible; keep the evidence and tell the "
                    "database admin."
                )
            return {**counts, "proved": len(ids)}

        return proved

    def _amend(
        self, writer: Writer, collection: Collection[dict[str, Any]], groups: list[dict[str, Any]]
    ) -> None:
        """Without a transaction the journal already says more than was done: correct it."""
        for group in groups:
            held = collection.find(
                {"_id": {"$in": group["ids"]}, **matching.holds(self._field, group["value"])},
                {"_id": 1},
            )
            group["ids"] = [item["_id"] for item in held]
        writer.journal.amend(writer.seq + 1, groups=groups)


def _statements(field: str, groups: list[dict[str, Any]]) -> list[UpdateMany]:
    """Return what writes *groups*: one statement a group, but one for many of a few documents."""
    small = [one for one in groups if "before" not in one and len(one["ids"]) <= _FEW]
    if len(small) < _MANY:
        small = []
    statements = [
        UpdateMany(
            {
                "_id": {"$in": group["ids"]},
                **matching.holds(field, group.get("before", ABSENT)),
            },
            {"$set": {field: group["value"]}},
        )
        for group in groups
        if not small or "before" in group or len(group["ids"]) > _FEW
    ]
    pairs = ((identity, group["value"]) for group in small for identity in group["ids"])
    for some in chunks(pairs, _TOGETHER):
        ids, values = ([pair[0] for pair in some], [pair[1] for pair in some])
        place = {"$indexOfArray": [{"$literal": ids}, "$_id"]}
        statements.append(
            UpdateMany(
                {"_id": {"$in": ids}, **matching.holds(field, ABSENT)},
                [{"$set": {field: {"$arrayElemAt": [{"$literal": values}, place]}}}],
            )
        )
    return statements


def _most_documents(collection: Collection[dict[str, Any]]) -> int:
    """Return how many documents of average size a batch may have."""
    stats = next(collection.aggregate([{"$collStats": {"storageStats": {}}}]))["storageStats"]
    return max(1, _BATCH_BYTES // max(1, int(stats.get("avgObjSize", 1))))


def _fitting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first of *rows*, as many as their values from before fit one journal entry."""
    size = 0
    for index, row in enumerate(rows):
        if "before" in row:
            size += len(bson.encode({"before": row["before"]}))
        if size > _ENTRY_BYTES and index:
            return rows[:index]
    return rows


def _alike(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Return the rows by what their judgement rests on: the value before and the source's key."""
    found: dict[bytes, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(bson.encode({**row, "_id": None}), []).append(row)
    return found.values()


_WORDS: dict[str, str] = {
    matching.OLD_TYPE: "is of a type that BSON no longer has and that can't be put back",
    "wrong_type": "is of another type",
    "dangling": "names something that doesn't exist",
}
