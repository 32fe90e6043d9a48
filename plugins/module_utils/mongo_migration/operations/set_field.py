"""``set_field``: documents that lack a value for a field get the one that they should have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import bson
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from pymongo import ASCENDING
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from .. import ejson, matching, sources
from ..chunks import chunks
from ..definition import Step
from ..digest import Digest
from ..errors import DefinitionError, MigrationError, PlanBlockedError
from ..matching import ABSENT
from ..raw import RAW_CODEC, raw_documents
from ..sources import Found, Key, Resolution, Scope, Source, Unresolved
from ..writer import StaleBatchError, Write, Writer
from . import statements
from .ahead import Ahead, Position
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
# What is proved batch by batch is written in small ones, but read so many documents at a time: a
# command costs the server as much as the reading of some hundred.
_PAGE = 1000
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
    rest: Digest | None  # of all else in these rows, where it was read

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
        most = _most_documents(target.collection)

        def read(start: Position, fresh: bool) -> list[_Batch]:
            size = min(most, writer.settings.batch_size)
            proving = _proves(writer) and not fresh
            page = min(most, max(size, _PAGE)) if proving else size
            return self._prepare(target, referents, start, page=page, size=size, proving=proving)

        # A walk that is resumed has written before: it, too, looks behind itself at its end.
        written, stale = int("last" in position), 0
        with Ahead(read, position) as batches:
            while True:
                batch = batches.next()
                if batch is None:
                    # Writers may have added candidates behind the walk: look again from the start.
                    if writer.settings.frozen or not written or position["pass"] >= _MOST_PASSES:
                        return
                    position = self._next_pass(writer, position)
                    written = 0
                    batches.restart(position)
                    continue
                if batch.count > writer.settings.batch_size:  # the throttle has made them smaller
                    batches.restart(position)
                    continue
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
                    batches.restart(position, fresh=True)
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
        self,
        target: _Target,
        referents: Referents,
        position: Position,
        *,
        page: int,
        size: int,
        proving: bool,
    ) -> list[_Batch]:
        """Read the next candidates and find their values; none where there are no more.

        Args:
            target: where.
            referents: what values may name.
            position: behind the last one.
            page: how many are read and looked up at once.
            size: how many are written at once.
            proving: whether to read all of them, for the proof of what is written.
        """
        rows = self._read(target, referents, position, page, proving=proving)
        rests = [row.pop("rest", None) for row in rows]
        # What a value names may have been created since the step began: an application that
        # already writes the field must never be overwritten.
        referents.refresh([r["before"] for r in rows if isinstance(r.get("before"), ObjectId)])
        target.source.prepare([alike[0].get("key", []) for alike in _alike(rows)])
        batches, start = [], 0
        while start < len(rows):
            some = _fitting(rows[start : start + size])
            groups, skipped = self._group(target, some, referents)
            position = {**position, "last": some[-1]["_id"]}
            if skipped:
                position["skipped"] = position.get("skipped", 0) + skipped
            end = start + len(some)
            batches.append(
                _Batch(
                    rows=some,
                    groups=groups,
                    skipped=skipped,
                    after=position,
                    rest=sum(rests[start:end], Digest()) if proving else None,
                )
            )
            start = end
        return batches

    def _read(
        self,
        target: _Target,
        referents: Referents,
        position: Position,
        limit: int,
        *,
        proving: bool,
    ) -> list[dict[str, Any]]:
        """Return the next candidates along ``_id``.

        Each with its present value as ``before``, unless it has none, the ``key`` of its source,
        unless that takes none, and, where *proving*, the digest of all else in it as ``rest``.
        """
        candidates = self._candidates(referents)
        collection: Collection[Any] = target.collection
        wanted: dict[str, Any] = {"_id": "$_id", "before": f"${self._field}"}
        if target.source.inputs:
            wanted["key"] = target.source.inputs
        if proving:
            rest = {"$unsetField": {"field": {"$literal": self._field}, "input": "$$ROOT"}}
            projection = {"_id": 0, "wanted": wanted, "rest": rest}
            collection = collection.with_options(codec_options=RAW_CODEC)
        else:
            projection = {**wanted, "_id": 1}

        def find(selector: dict[str, Any], **bounds: Any) -> list[dict[str, Any]]:
            rows: Iterable[Any] = collection.find(
                {"$and": [candidates, selector]},
                projection,
                hint=[("_id", ASCENDING)],
                sort=[("_id", ASCENDING)],
                comment=self._scope.comment,
                **bounds,
            )
            if proving:
                codec = target.collection.codec_options
                rows = (
                    {
                        **bson.decode(row["wanted"].raw, codec),
                        "rest": Digest.of((row["rest"].raw,)),
                    }
                    for row in rows
                )
            return list(rows)

        if "last" not in position:
            return find({}, limit=limit)
        if isinstance(position["last"], MaxKey):
            return []  # nothing comes after it
        # An index bound, not a filter: `$gt` would stop at the end of one BSON type.
        last = {"_id": position["last"]}
        rows = find({"_id": {"$ne": last["_id"]}}, min=last, limit=limit)
        if len(rows) < limit:
            # A bound on one side reaches up to the greatest key of all, without that key.
            rows += find({"_id": MaxKey()})
        return rows

    def _group(
        self, target: _Target, rows: list[dict[str, Any]], referents: Referents
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the documents by (value to write, value before), and how many a policy skips."""
        groups: dict[bytes, dict[str, Any]] = {}
        skipped = 0
        for alike in _alike(rows):
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
        if _proves(writer):
            write = self._proved(writer, target, batch, write)
        writer.commit(entry, write, position=batch.after)

    def _update(
        self,
        writer: Writer,
        collection: Collection[dict[str, Any]],
        batch: _Batch,
    ) -> Write:
        writes = statements.of(self._field, batch.groups)

        def write(session: ClientSession | None) -> dict[str, int]:
            result = collection.bulk_write(writes, session=session, comment=writer.comment)
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
        of its own transaction. What the documents were is known from when they were read ahead:
        if that is true no more, the batch is read again, and once more in the transaction itself.
        """
        collection = target.collection
        ids = [identity for group in batch.groups for identity in group["ids"]]
        ahead = batch.rest if batch.count == len(batch.rows) else None

        def refuse_if_moved(session: ClientSession) -> None:
            # The value was found for the owner that was read; it may be another one's by now.
            if not target.source.inputs:
                return
            keys = {matching.hashable(row["_id"]): row["key"] for row in batch.rows}
            for row in collection.find(
                {"_id": {"$in": ids}},
                {"key": target.source.inputs},
                session=session,
                comment=writer.comment,
            ):
                if not matching.same(row["key"], keys[matching.hashable(row["_id"])]):
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
            assert session is not None  # without transactions, nothing is proved
            if (before := ahead) is None:
                refuse_if_moved(session)
                before = digest(session)
            counts = write(session)
            if digest(session) != before:
                if ahead is not None:  # most likely by somebody else, since it was read
                    raise StaleBatchError
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


def _proves(writer: Writer) -> bool:
    """Return whether each batch has to prove itself: the whole collections won't be compared."""
    whole = writer.settings.frozen and "baseline" in writer.run.document
    return writer.server.transactions and not whole


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
        token = bson.encode({**row, "_id": None}) if len(row) > 1 else b""
        found.setdefault(token, []).append(row)
    return found.values()


_WORDS: dict[str, str] = {
    matching.OLD_TYPE: "is of a type that BSON no longer has and that can't be put back",
    "wrong_type": "is of another type",
    "dangling": "names something that doesn't exist",
}
