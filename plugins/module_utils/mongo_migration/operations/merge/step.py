"""``merge_duplicates``: of documents that should be one, one stays; what named the others names it.

Group by group: first the references are pointed at the one that stays, in journalled batches as
those of a ``set_field``; then the others are removed, each with its whole before-image in the
journal. Which one stays is computed anew by a resumed run and comes out the same: pointing
references at the most referenced one makes it that the more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import DeleteOne, UpdateMany
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ..document.collections import Collections
from ..document.definition import Step
from ..document.value_sources import Scope
from ..errors import MigrationError
from ..ledger.batches import StaleBatchError, Write, Writer
from ..support import commands
from ..support.chunks import chunks
from ..support.tables import aligned, number, place
from ..values import compare, ejson
from ..values.compare import ABSENT, equal_token, hashable
from ..values.raw import raw_documents
from .base import Check, Operation, Plan, Row, Touched, amounts, problem
from .batch_proof import BatchProof
from .spans import Spans

KIND = "merge_duplicates"
# Undone like a set_field: that is what such a batch is.
REPOINT_KIND = "merge_duplicates_references"

_SAMPLES = 5
# Removals that a plan lists one by one.
_MOST_SHOWN = 1000
# Of one journal entry, which is one document of at most 16 MiB.
_MOST_BYTES = 4 << 20
# Writers may go on making duplicates, or references to one; this often is enough.
_MOST_PASSES = 20


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Documents that should be one."""

    key: dict[str, Any]
    keep: Any  # the _id of the one that stays
    remove: list[Any]
    counts: dict[bytes, int]  # references, by the _id that they name
    differing: list[str]  # fields in which they don't agree
    values: dict[bytes, dict[str, Any]]  # what a person tells them apart by, by the _id

    @property
    def references(self) -> int:
        """Return how many references name one that goes."""
        return sum(self.counts.get(equal_token(identity), 0) for identity in self.remove)

    def removals(self) -> list[dict[str, Any]]:
        """Return the documents that go, one by one, with what they are and where they go."""
        return [
            {
                "remove": identity,
                "keep": self.keep,
                "references": self.counts.get(equal_token(identity), 0),
                **self.values[hashable(identity)],
            }
            for identity in self.remove
        ]


class MergeDuplicates(Operation):
    """See the module. Options are those of the schema's ``merge_duplicates``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options, names = step.options, scope.collections
        self._name: str = options["in"]
        self._collection = names.get(self._name, write=True)
        self._by: list[str] = options["by"]
        self._where: dict[str, Any] = compare.bind_now(options.get("where", {}), scope.now)
        self._keep: str = options["keep"]
        self._same: list[str] = options.get("same", [])
        span = options.get("overlapping")
        self._spans = Spans(first=span["from"], last=span["to"]) if span else None
        self._otherwise: list[str] = span.get("otherwise", []) if span else []
        self._when_different: str = options.get("when_different", "fail")
        self._referenced = [
            (names.get(name, write=True), field)
            for name, field in options["referenced_by"].items()
            if not names.absent(name)
        ]

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return where the duplicates are."""
        return {options["in"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the references' fields, and the collection that loses documents."""
        options = step.options
        return [
            *(
                Touched(collection=names.real_name(name), field=field)
                for name, field in options["referenced_by"].items()
                if not names.absent(name)
            ),
            Touched(collection=names.real_name(options["in"]), removes=True),
        ]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would go, and how many references would move."""
        heads = ["merges in", "duplicated", "to remove", "references to move", "stays"]
        keys = ("groups", "to_remove", "to_repoint")
        body = [
            [place(row), *(number(row[key]) for key in keys), row["keep"].replace("_", " ")]
            for row in rows
        ]
        return [*aligned([heads, *body], numeric_from=1), *_removals(rows)]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return how many documents the collection has."""
        label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
        return [label.format(total)], [label.format(total - row["to_remove"])]

    def plan(self) -> Plan:
        """Count what would go and which references would be pointed elsewhere."""
        plan = Plan()
        found = merged = list(self._groups())
        self._plan_differing(plan, [group for group in merged if group.differing])
        if self._when_different != "merge":
            merged = [group for group in merged if not group.differing]
        self._plan_impossible(plan, [identity for group in merged for identity in group.remove])
        removed = sum(len(group.remove) for group in merged)
        also: dict[str, int] = {}
        for some in chunks((i for group in merged for i in group.remove), 500):
            for collection, field in self._referenced:
                count = sum(self._counts(collection, field, some).values())
                also[collection.name] = also.get(collection.name, 0) + count
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": self._name,
                "real_name": self._collection.name,
                "documents": self._collection.count_documents({}, comment=self._scope.comment),
                "candidates": removed,
                "to_remove": removed,
                "to_repoint": sum(group.references for group in merged),
                "amounts": amounts(
                    changes=sum(group.references for group in merged), removes=removed
                ),
                "also": also,
                "groups": len(merged),
                "keep": self._keep,
                # Each of them, also those that a policy of `merge` would remove.
                "removals": [
                    {**item, "differs": bool(group.differing)}
                    for group in found
                    for item in group.removals()
                ][:_MOST_SHOWN],
                "samples": [
                    {**group.key, "keep": group.keep, "remove": group.remove[:_SAMPLES]}
                    for group in merged[:_SAMPLES]
                ],
            }
        )
        ids = [identity for group in merged for identity in (group.keep, *group.remove)]
        plan.change(self._collection.name, {"_id": {"$in": ids}})
        for collection, field in self._referenced:
            plan.change(collection.name, {field: {"$in": ids}}, field)
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Merge group by group, until there are no duplicates."""
        here = {"step": self._step.index}
        for _pass in range(_MOST_PASSES):
            found = [
                g for g in self._groups() if self._when_different == "merge" or not g.differing
            ]
            if not found:
                return
            for group in found:
                self._merge(writer, group, here)
            if writer.settings.writers_stopped:
                return
        raise MigrationError(
            f"{self._name}: writers make duplicates faster than they can be merged. Stop the "
            f"writers ({commands.STOP_WRITERS}), then run the same command again."
        )

    def check(self) -> Iterator[Check]:
        """Look for duplicates anew."""
        groups = list(self._groups())
        left = [g for g in groups if self._when_different != "skip" or not g.differing]
        excused = len(groups) - len(left)
        yield Check(
            name=f"{self._name}: no two {self._words()}",
            passed=not left,
            expected=0,
            observed=len(left),
            examined=self._collection.count_documents({}, comment=self._scope.comment),
            detail=f"{excused} left alone by policy" if excused else "",
            samples=[group.key for group in left[:_SAMPLES]],
        )

    # -- finding -----------------------------------------------------------------------------

    def _words(self) -> str:
        overlap = f" overlap in {self._spans.first} to {self._spans.last}" if self._spans else ""
        return f"of the same {', '.join(self._by)}{overlap}"

    def _groups(self) -> Iterator[_Group]:
        told = {*self._by, *self._same}
        if self._spans:
            told |= {self._spans.first, self._spans.last, *self._otherwise}
        stages: list[dict[str, Any]] = [
            # What lacks a part of the key is no duplicate of anything.
            {"$match": {"$and": [{field: {"$ne": None}} for field in self._by]}},
            {"$match": self._where},
            {"$sort": {"_id": 1}},
            {
                "$group": {
                    "_id": {field: f"${field}" for field in self._by},
                    "documents": {"$push": {field: f"${field}" for field in ("_id", *told)}},
                }
            },
            {"$match": {"documents.1": {"$exists": True}}},
            {"$sort": {"_id": 1}},
        ]
        rows = self._collection.aggregate(stages, allowDiskUse=True, comment=self._scope.comment)
        for some in chunks(rows, 500):
            counts = self._references([d["_id"] for row in some for d in row["documents"]])
            for row in some:
                yield from self._split(row, counts)

    def _split(self, row: dict[str, Any], counts: dict[bytes, int]) -> Iterator[_Group]:
        """Yield the documents of one key that should be one: all, or what overlaps one of them."""
        left = row["documents"]  # the oldest first
        while len(left) > 1:
            keep = self._stays(left, counts)
            others = [d for d in left if d is not keep]
            if self._spans:
                others = [d for d in others if self._doubles(keep, d)]
            if others:
                yield self._group(row["_id"], keep, others, counts)
            left = [d for d in left if d is not keep and all(d is not other for other in others)]

    def _doubles(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Return whether two documents of one key should be one."""
        assert self._spans is not None
        if not self._otherwise or self._spans.length(one) or self._spans.length(other):
            return self._spans.overlap(one, other)
        # Neither says when it is.
        return all(
            one.get(field) is not None and not _differ(one[field], other.get(field, ABSENT))
            for field in self._otherwise
        )

    def _stays(self, documents: list[dict[str, Any]], counts: dict[bytes, int]) -> dict[str, Any]:
        if self._keep == "most_referenced":
            return max(documents, key=lambda found: counts.get(equal_token(found["_id"]), 0))
        return documents[0 if self._keep == "oldest" else -1]

    def _group(
        self,
        key: dict[str, Any],
        keep: dict[str, Any],
        others: list[dict[str, Any]],
        counts: dict[bytes, int],
    ) -> _Group:
        return _Group(
            key=key,
            keep=keep["_id"],
            remove=[other["_id"] for other in others],
            counts=counts,
            differing=[
                field
                for field in self._same
                if any(
                    _differ(other.get(field, ABSENT), keep.get(field, ABSENT)) for other in others
                )
            ],
            values={
                hashable(found["_id"]): {k: v for k, v in found.items() if k != "_id"}
                for found in others
            },
        )

    def _references(self, ids: list[Any]) -> dict[bytes, int]:
        """Return how many references there are to each of *ids*."""
        counts: dict[bytes, int] = {}
        for collection, field in self._referenced:
            for token, count in self._counts(collection, field, ids).items():
                counts[token] = counts.get(token, 0) + count
        return counts

    def _counts(
        self, collection: Collection[dict[str, Any]], field: str, ids: list[Any]
    ) -> dict[bytes, int]:
        rows = collection.aggregate(
            [
                {"$match": {field: {"$in": ids, "$not": {"$type": "array"}}}},
                {"$group": {"_id": f"${field}", "count": {"$sum": 1}}},
            ],
            comment=self._scope.comment,
        )
        counts: dict[bytes, int] = {}
        for row in rows:
            token = equal_token(row["_id"])
            counts[token] = counts.get(token, 0) + row["count"]
        return counts

    # -- planning ----------------------------------------------------------------------------

    def _plan_differing(self, plan: Plan, groups: list[_Group]) -> None:
        if not groups:
            return
        fields = ", ".join(sorted({field for group in groups for field in group.differing}))
        what = f"duplicates {self._words()} differ in {fields}"
        if self._when_different == "fail":
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=self._name,
                    what=what,
                    count=len(groups),
                    samples=[[group.keep, *group.remove] for group in groups[:_SAMPLES]],
                    policy="when_different: fail",
                    fix="make them agree, or choose to merge or to skip such; the plan lists each "
                    "that merging would remove",
                )
            )
            return
        done = "left alone" if self._when_different == "skip" else "merged all the same"
        plan.warnings.append(f"{self._name}: {len(groups):,} {done} by policy: {what}")

    def _plan_impossible(self, plan: Plan, ids: list[Any]) -> None:
        """Find what could not be put back, or would be left pointing at nothing."""
        lossy = [
            d["_id"] for some in chunks(ids, 1000) for d, exact in self._read(some) if not exact
        ]
        if lossy:
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=self._name,
                    what="holds a value of a type that BSON no longer has and that can't be put "
                    "back",
                    count=len(lossy),
                    samples=lossy[:_SAMPLES],
                    policy="a rollback is exact",
                    fix="correct these documents",
                )
            )
        for collection, field in self._referenced:
            inside = {field: {"$in": ids, "$type": "array"}}
            if ids and (count := collection.count_documents(inside, comment=self._scope.comment)):
                rows = collection.find(inside, {"_id": 1}).limit(_SAMPLES)
                plan.problems.append(
                    problem(
                        step=self._step.index,
                        collection=collection.name,
                        what=f"{field} is an array that names a document to remove",
                        count=count,
                        samples=[row["_id"] for row in rows],
                        policy="nothing is left pointing at what was removed",
                        fix=f"make {field} a single reference in these documents",
                    )
                )

    def _read(self, ids: list[Any]) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield documents, each with whether it can be written back as the server holds it."""
        options: CodecOptions[dict[str, Any]] = self._collection.codec_options
        for raw in raw_documents(
            self._collection.database,
            self._collection.name,
            filter={"_id": {"$in": ids}},
            comment=self._scope.comment,
        ):
            document = bson.decode(raw, options)
            yield document, bson.encode(document, codec_options=options) == raw

    # -- applying ----------------------------------------------------------------------------

    def _merge(self, writer: Writer, group: _Group, here: dict[str, Any]) -> None:
        for _attempt in range(_MOST_PASSES):
            for identity in group.remove:
                self._repoint(writer, group.keep, identity, here)
            try:
                self._remove(writer, group.remove, here)
            except StaleBatchError:
                continue  # changed, or referred to anew, in the meantime
            return
        raise MigrationError(
            f"{self._name}: {ejson.short(group.remove[0])} is changed or referred to faster than "
            f"it can be merged. Stop the writers ({commands.STOP_WRITERS}), then run the same "
            "command again."
        )

    def _repoint(self, writer: Writer, keep: Any, identity: Any, here: dict[str, Any]) -> None:
        for collection, field in self._referenced:
            # Whatever the server calls equal names it: 1.0 also names 1.
            selector = {field: {"$eq": identity, "$not": {"$type": "array"}}}
            while rows := list(
                collection.find(selector, {field: 1}, comment=writer.comment).limit(
                    writer.settings.batch_size
                )
            ):
                before = rows[0][field]
                ids = [row["_id"] for row in rows if compare.same(row[field], before)]
                entry = {
                    "kind": REPOINT_KIND,
                    "step": self._step.index,
                    "collection": collection.name,
                    "field": field,
                    "groups": [{"value": keep, "before": before, "ids": ids}],
                }
                try:
                    writer.commit(entry, self._update(writer, collection, entry), position=here)
                except StaleBatchError:
                    continue
                self._advance(writer, len(ids), collection.name)

    def _update(
        self, writer: Writer, collection: Collection[dict[str, Any]], entry: dict[str, Any]
    ) -> Write:
        """Return the write of one batch of references."""
        field, (group,) = entry["field"], entry["groups"]
        statement = UpdateMany(
            {"_id": {"$in": group["ids"]}, **compare.holds(field, group["before"])},
            {"$set": {field: group["value"]}},
        )

        proof = BatchProof(
            collection=collection, field=field, ids=group["ids"], comment=writer.comment
        )

        def write(session: ClientSession | None) -> dict[str, int]:
            # With writers about, a batch alone can prove that it changed nothing else.
            alone = session if "baseline" not in writer.run.document else None
            before = proof.rest(alone) if alone else None
            count: int = collection.bulk_write(
                [statement], session=session, comment=writer.comment
            ).matched_count
            if count != len(group["ids"]):
                if session is not None:
                    raise StaleBatchError
                held = {"_id": {"$in": group["ids"]}, **compare.holds(field, group["value"])}
                ids = [row["_id"] for row in collection.find(held, {"_id": 1})]
                writer.journal.amend(writer.seq + 1, groups=[{**group, "ids": ids}])
            if alone and before is not None:
                proof.refuse_other(before, alone, read_ahead=False)
            return {"modified": count, **({"proved": count} if alone else {})}

        return write

    def _remove(self, writer: Writer, ids: list[Any], here: dict[str, Any]) -> None:
        documents, size = list[dict[str, Any]](), 0
        for document, exact in self._read(ids):
            if not exact:
                raise MigrationError(
                    f"{self._name} {ejson.short(document['_id'])} came or changed after the plan: "
                    "it holds a value that could not be put back. Correct it, then run the same "
                    "command again."
                )
            length = len(bson.encode(document))
            if documents and size + length > _MOST_BYTES:
                self._remove_some(writer, documents, here)
                documents, size = [], 0
            documents.append(document)
            size += length
        if documents:
            self._remove_some(writer, documents, here)

    def _remove_some(
        self, writer: Writer, documents: list[dict[str, Any]], here: dict[str, Any]
    ) -> None:
        ids = [document["_id"] for document in documents]
        entry = {
            "kind": KIND,
            "step": self._step.index,
            "collection": self._collection.name,
            "removed": documents,
        }
        statements = [
            # As it was journalled, or not at all.
            DeleteOne(
                {"_id": document["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}}
            )
            for document in documents
        ]

        def write(session: ClientSession | None) -> dict[str, int]:
            for collection, field in self._referenced:
                if collection.find_one({field: {"$in": ids}}, {"_id": 1}, session=session):
                    if session is None:
                        writer.journal.discard(writer.seq + 1)
                    raise StaleBatchError
            count = self._collection.bulk_write(
                statements, session=session, comment=writer.comment
            ).deleted_count
            if count != len(documents):
                if session is not None:
                    raise StaleBatchError
                left = {
                    hashable(row["_id"])
                    for row in self._collection.find({"_id": {"$in": ids}}, {"_id": 1})
                }
                gone = [d for d in documents if hashable(d["_id"]) not in left]
                writer.journal.amend(writer.seq + 1, removed=gone)
            return {"deleted": count}

        writer.commit(entry, write, position=here)
        self._advance(writer, len(documents), self._name)

    def _advance(self, writer: Writer, count: int, collection: str) -> None:
        writer.meter.advance(
            count, step=self._step.index, kind=KIND, collection=collection, batch=count
        )


def _differ(one: Any, other: Any) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is not other
    return equal_token(one) != equal_token(other)


def _removals(rows: Sequence[Row]) -> list[str]:
    """Return each document that goes, or would by the policy `merge`, with what it is."""
    lines = []
    known = ("remove", "keep", "references", "differs")
    for row in rows:
        for item in row.get("removals", ()):
            what = ", ".join(f"{k} {ejson.short(v)}" for k, v in item.items() if k not in known)
            lines.append(
                f"  {ejson.short(item['remove'])} ({what}; {item['references']:,} references) "
                f"for {ejson.short(item['keep'])}" + (", differing" if item["differs"] else "")
            )
    return ["", "Removes, or would if differing ones were merged", *lines] if lines else []
