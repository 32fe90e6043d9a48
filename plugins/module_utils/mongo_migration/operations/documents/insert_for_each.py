"""``insert_for_each``: one new document for each document of another collection, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import bson
from bson.objectid import ObjectId
from pymongo import InsertOne
from pymongo.client_session import ClientSession

from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import DefinitionError
from ...ledger.batches import Write, Writer
from ...ledger.journal import MOST_BYTES
from ...support.chunks import bounded, chunks
from ...support.tables import aligned, number, place
from ...values import compare, ejson
from ...values.as_value import as_value
from .. import left_alone
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts, problem
from ..bodies import Body, place_of
from ..refusals import journal_room, unique_indexes
from ..refusals.validators import tell_new
from . import timezones
from .row_inputs import Inputs, is_zone
from .span_names import Names
from .spans import Spans

KIND = "insert_for_each"

_BATCH = 500
_SAMPLES = 5
_PREVIEWS = 2


@dataclass(frozen=True, kw_only=True)
class _Computed:
    """A document that should exist, and what it should contain."""

    document: dict[str, Any]
    instants: list[Any]
    boundaries: list[Any]
    zones: list[Any]  # in which it was computed
    zone: Any  # in which its dates are told


@dataclass(kw_only=True)
class _Sorted:
    """What should exist, by whether it does."""

    new: list[dict[str, Any]] = field(default_factory=list)
    existing: int = 0
    # With the existing one that it overlaps.
    overlapping: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    # None contains what they should contain, and something is in the way: with the ones that are
    # there, and what would fit between them.
    gaps: list[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = field(
        default_factory=list
    )
    beside: int = 0  # of the new ones, those that join others, none of which contains the instant
    fitted: list[dict[str, Any]] = field(default_factory=list)  # those that are or would be shorter


class InsertForEach(Operation):
    """See the module. Options are those of the schema's ``insert_for_each``."""

    KIND = KIND

    @classmethod
    def bodies(cls, step: Step) -> Iterator[Body]:
        """Yield what the server has to understand of *step*."""
        options, place = step.options, place_of(step)
        if "where" in options:
            yield f"{place}.where", "filter", options["where"], ()
        if "pipeline" in options:
            yield f"{place}.pipeline", "pipeline", options["pipeline"], ()
        for name, spec in options.get("inputs", {}).items():
            yield f"{place}.inputs.{name}.value", "expression", spec["value"], ()
        known: tuple[str, ...] = tuple(options.get("inputs", {}))
        for name, body in options.get("let", {}).items():
            yield f"{place}.let.{name}", "expression", body, known
            known = (*known, name)
        if each := options.get("for_each"):
            yield f"{place}.for_each.in", "expression", each["in"], known
            known = (*known, each["as"])
        yield f"{place}.document", "expression", options["document"], known

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options: dict[str, Any] = compare.bind_now(step.options, scope.now)
        self._options = options
        self._from = (
            None
            if scope.collections.absent(options["from"])
            else scope.collections.get(options["from"])
        )
        self._into_name: str = options["into"]
        self._into = scope.collections.target(options["into"], write=True)
        self._key: list[str] = options["key"]
        self._span: dict[str, Any] | None = options.get("not_overlapping")
        self._spans = Spans(first=self._span["from"], last=self._span["to"]) if self._span else None
        self._when_gap: str = (self._span or {}).get("when_gap", "fail")
        self._named: str | None = (self._span or {}).get("named", {}).get("field")
        if not set(self._key) <= set(options["document"]):
            raise DefinitionError(
                f"steps[{step.index}].{KIND}.key: {', '.join(self._key)} must all be fields of "
                "'document'"
            )
        self._inputs = Inputs(
            options, scope, step=step.index, stages=self._source_stages(), read=self._rows
        )

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return where documents come from and where they go."""
        return {options["from"], options["into"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collection that documents are inserted into."""
        return [Touched(collection=names.real_name(step.options["into"]), inserts=True)]

    @staticmethod
    def runs_live(options: Mapping[str, Any]) -> bool:
        """Return True: what exists is kept, so that a repetition inserts nothing."""
        del options
        return True

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would be inserted."""
        heads = ["inserts into", "to insert", "kept as they are"]
        body = [
            [place(row), number(row["to_insert"]), number(row.get("existing", 0))] for row in rows
        ]
        return aligned([heads, *body], numeric_from=1)

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return how many documents the collection has, and some that come."""
        label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
        new = [f"{row['real_name']}: {ejson.short(one, 400)}" for one in row.get("preview", ())]
        return [label.format(total)], [label.format(total + row["to_insert"]), *new]

    def needs(self) -> Iterator[Need]:
        """Yield what the documents are made from, and what decides which exist."""
        if self._from is not None:
            yield Need(collection=self._from.name, fields=None)
        yield Need(collection=self._into.name, fields=None, documents=False)
        yield from self.needs_of_sources(self._options.get("pipeline", []))

    def plan(self) -> Plan:
        """Count what would be inserted and what exists, and find invalid inputs."""
        plan = Plan()
        self._inputs.plan(plan)
        instants: dict[str, set[datetime]] = {}
        found = self._sort_out(_watched(self._computed(), instants))
        self._inputs.plan_zones(plan, instants)
        self._plan_gaps(plan, found)
        planned = self._scope.planned.setdefault(self._into_name, [])
        planned += found.new
        self._plan_refused(plan, found.new)
        self._plan_twins(plan, found.new)
        for document, other in found.overlapping[:_SAMPLES]:
            plan.warnings.append(
                f"{self._into_name}: kept {ejson.short(other['_id'])}, which overlaps what "
                f"{self._label(document)} would get"
            )
        if len(found.overlapping) > _SAMPLES:
            plan.warnings.append(
                f"{self._into_name}: {len(found.overlapping):,} existing documents overlap new ones"
            )
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": self._into_name,
                "real_name": self._into.name,
                "documents": self._into.count_documents({}, comment=self._scope.comment),
                "candidates": len(found.new),
                "to_insert": len(found.new),
                "amounts": amounts(inserts=len(found.new)),
                "existing": found.existing + len(found.overlapping),
                "overlapping": len(found.overlapping),
                "gaps": len(found.gaps),
                "samples": [{key: item[key] for key in self._key} for item in found.new[:_SAMPLES]],
                # Its _id is made anew by each plan, and by the run.
                "preview": [
                    {key: value for key, value in item.items() if key != "_id"}
                    for item in found.new[:_PREVIEWS]
                ],
            }
        )
        return plan

    def _plan_refused(self, plan: Plan, new: list[dict[str, Any]]) -> None:
        large = journal_room.coming(new, self._key)
        journal_room.tell(plan, large, step=self._step.index, name=self._into_name)
        tell_new(
            plan,
            self._scope,
            new,
            self._key,
            step=self._step.index,
            name=self._into_name,
            collection=self._into,
        )

    def _plan_twins(self, plan: Plan, new: list[dict[str, Any]]) -> None:
        """Find documents to insert that are the same as others to a unique index."""
        for spec in unique_indexes.of(self._into) if new else ():
            refusal = unique_indexes.refuses(
                self._into,
                spec,
                inserted=new[: unique_indexes.MOST_INSERTED],
                comment=self._scope.comment,
            )
            if refusal.count:
                plan.problems.append(
                    unique_indexes.problem_of(
                        self._step.index, self._into_name, spec["name"], refusal
                    )
                )

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Insert what is missing. What exists is kept, so that a repetition inserts nothing."""
        here = {"step": self._step.index}
        created = not self._scope.collections.exists(self._into_name)

        def insert(some: Sequence[dict[str, Any]]) -> None:
            nonlocal created
            entry = {
                "kind": KIND,
                "step": self._step.index,
                "collection": self._into.name,
                "documents": list(some),
                "referenced_by": self._referenced_by(),
                "created_collection": created,
            }
            write = self._insert(writer, some)
            writer.commit(entry, write, position=here, documents=len(some))
            created = False
            writer.meter.advance(
                len(some), step=self._step.index, kind=KIND, collection=self._into_name
            )

        for computed in chunks(self._computed(), _BATCH):
            new = self._sort_out(computed).new
            for some in bounded(new, lambda document: len(bson.encode(document)), MOST_BYTES):
                writer.capacity.in_parts(some, insert)

    def _insert(self, writer: Writer, documents: Sequence[dict[str, Any]]) -> Write:
        def write(session: ClientSession | None) -> dict[str, int]:
            writer.write(self._into, [InsertOne(document) for document in documents], session)
            return {"inserted": len(documents)}

        return write

    def check(self) -> Iterator[Check]:
        """Compute anew what should exist and look for it."""
        computed = list(self._computed())
        found = self._sort_out(computed)
        new, gaps = found.new, len(found.gaps)
        left = gaps if self._when_gap == "leave" else 0
        yield Check(
            name=f"{self._into_name}: one for each of {self._options['from']} "
            f"({', '.join(self._key)})",
            passed=not new and left == gaps,
            expected=len(computed) - left,
            observed=found.existing + len(found.overlapping),
            examined=len(computed),
            detail=f"{left} gaps left by policy" if left else "",
            left_alone=self._left(found) if left else [],
            samples=[{key: item[key] for key in self._key} for item in new[:_SAMPLES]],
        )

    def _left(self, found: _Sorted) -> list[dict[str, Any]]:
        """Return the gaps that were left, by what belongs to each."""
        span = self._span or {}
        what = f"a gap: no document there contains {_named(span.get('containing'))}"
        of = [{key: document[key] for key in span["within"]} for document, *_ in found.gaps]
        return [
            left_alone.item(self._into_name, what, policy="when_gap: leave", count=len(of), ids=of)
        ]

    # -- computing ---------------------------------------------------------------------------

    def _source_stages(self) -> list[dict[str, Any]]:
        stages: list[dict[str, Any]] = []
        if self._options.get("where"):
            stages.append({"$match": self._options["where"]})
        return stages + self._scope.collections.map_pipeline(self._options.get("pipeline", []))

    def _rows(self, stages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if self._from is not None:
            yield from self._from.aggregate(stages, allowDiskUse=True, comment=self._scope.comment)

    def _computed(self) -> Iterator[_Computed]:
        """Yield the documents that should exist, each key once, in the order of the keys."""
        span = self._span or {}
        body: Any = {
            "document": self._options["document"],
            "instants": span.get("containing"),
            "boundaries": span.get("boundaries"),
            "zones": self._inputs.zones,
            "zone": span.get("named", {}).get("timezone"),
        }
        if each := self._options.get("for_each"):
            body = {"$map": {"input": each["in"], "as": each["as"], "in": body}}
        # Each `let` may use the ones above it: one nested in the other.
        for name, expression in reversed(list(self._options.get("let", {}).items())):
            body = {"$let": {"vars": {name: expression}, "in": body}}
        if known := self._inputs.expressions():
            body = {"$let": {"vars": known, "in": body}}
        # An expression, in which true and 1 are values: in a projection they would name a path.
        stages = [*self._source_stages(), {"$project": {"_id": 0, "made": as_value(body)}}]
        if each:
            stages.append({"$unwind": "$made"})
        stages += [
            {
                "$group": {
                    "_id": [f"$made.document.{key}" for key in self._key],
                    "document": {"$first": "$made.document"},
                    "instants": {"$push": "$made.instants"},
                    "boundaries": {"$first": "$made.boundaries"},
                    "zones": {"$first": "$made.zones"},
                    "zone": {"$first": "$made.zone"},
                }
            },
            {"$sort": {"_id": 1}},
        ]
        for row in self._rows(stages):
            yield _Computed(
                document={"_id": ObjectId(), **row["document"]},
                instants=list(_flat(row["instants"])),
                boundaries=row["boundaries"] or [],
                zones=row["zones"],
                zone=row["zone"],
            )

    def _sort_out(self, computed: Iterable[_Computed]) -> _Sorted:
        """Tell what is new from what exists."""
        found = _Sorted()
        for chunk in chunks(computed, _BATCH):
            by = self._span["within"] if self._span else self._key
            present: dict[bytes, list[dict[str, Any]]] = {}
            for item in self._present([one.document for one in chunk], by):
                present.setdefault(_token(item, by), []).append(item)
            # In the order of the keys, what belongs together may lie in two chunks.
            for item in found.new[-_BATCH:]:
                present.setdefault(_token(item, by), []).append(item)
            for one in chunk:
                self._sort_one(found, one, present.setdefault(_token(one.document, by), []))
        self._refresh(found.fitted)
        return found

    def _sort_one(self, found: _Sorted, one: _Computed, others: list[dict[str, Any]]) -> None:
        """Sort out one document; what is new is added to *others*, which are there."""
        document, spans = one.document, self._spans
        key = _token(document, self._key)
        same = [other for other in others if _token(other, self._key) == key]
        over = [other for other in others if spans and spans.overlap(document, other)]
        if spans and self._span and "containing" in self._span and others:
            instants = [
                instant
                for instant in one.instants
                if spans.contains(document, instant)
                and not any(spans.contains(other, instant) for other in others)
            ]
            if instants:
                self._fill(found, replace(one, instants=instants), others, whole=not (same or over))
                return
        if same:
            found.existing += 1
        elif over:
            found.overlapping.append((document, over[0]))
        else:
            found.new.append(document)
            others.append(document)

    def _fill(
        self, found: _Sorted, one: _Computed, others: list[dict[str, Any]], *, whole: bool
    ) -> None:
        """Sort out a document that would contain *instants*, which none of *others* does."""
        spans, document = self._spans, one.document
        if spans is None:
            raise AssertionError("only periods are judged by their spans")
        if whole and not spans.much_shorter(others, document):
            # Nothing is in its way, and what is there isn't of another kind, such as months.
            found.beside += 1
            self._name(document, others, one)
            found.new.append(document)
            others.append(document)
            return
        pieces: list[dict[str, Any]] = []
        for instant in one.instants:
            if not any(spans.contains(piece, instant) for piece in pieces):
                piece = spans.fit(document, [*others, *pieces], instant, one.boundaries)
                piece = {**piece, "_id": ObjectId()}
                self._name(piece, [*others, *pieces], one)
                pieces.append(piece)
        found.fitted += pieces
        if self._when_gap == "fit":
            found.new += pieces
            others += pieces
        else:
            found.gaps.append((document, list(others), pieces))

    def _name(
        self, document: dict[str, Any], others: Sequence[dict[str, Any]], one: _Computed
    ) -> None:
        """Name *document*, which joins *others*, for what it is."""
        if self._named and self._spans:
            document[self._named] = Names(self._spans, self._named).of(
                document, others, whole=one.document, timezone=one.zone
            )

    def _refresh(self, fitted: Sequence[dict[str, Any]]) -> None:
        """Compute what depends on the span of documents that were made to fit, by the server."""
        if not (fresh := (self._span or {}).get("fitted")):
            return
        database = self._scope.collections.database
        for some in chunks(fitted, _BATCH):
            stages: list[dict[str, Any]] = [
                {"$documents": [{"$literal": document} for document in some]},
                {"$project": {"_id": 0, "made": as_value(fresh)}},
            ]
            rows = database.aggregate(stages, comment=self._scope.comment)
            for document, row in zip(some, rows, strict=True):
                document.update(row["made"])

    def _present(self, chunk: list[dict[str, Any]], by: list[str]) -> Iterator[dict[str, Any]]:
        wanted = {
            _token(document, by): {key: {"$eq": document.get(key)} for key in by}
            for document in chunk
        }
        fields = {*self._key, *by}
        if self._span:
            fields |= {self._span["from"], self._span["to"], *filter(None, [self._named])}
        yield from self._into.find(
            {"$or": list(wanted.values())},
            dict.fromkeys(fields, 1),
            sort=[("_id", 1)],
            comment=self._scope.comment,
        )
        for document in self._scope.planned.get(self._into_name, ()):
            if _token(document, by) in wanted:
                yield document

    def _plan_gaps(self, plan: Plan, found: _Sorted) -> None:
        if not self._span:
            return
        words = f"none of which contains {_named(self._span.get('containing'))}"
        within = ", ".join(self._span["within"])
        if found.beside:
            plan.warnings.append(
                f"{self._into_name}: {found.beside:,} of the documents to insert join others of "
                f"the same {within}, {words}"
            )
        if not found.gaps:
            return
        what = (
            f"there are documents of the same {within}, {words}, and a new one "
            f"({', '.join(self._key)}) would lie over them or be of another length"
        )
        if self._when_gap == "leave":
            count = len(found.gaps)
            plan.warnings.append(f"{self._into_name}: {count:,} left alone by policy: {what}")
            return
        # As if it were settled: what it leads to is not a problem of its own.
        plan.settle(self._into_name, [piece for *_, pieces in found.gaps for piece in pieces])
        plan.problems.append(
            problem(
                step=self._step.index,
                collection=self._into_name,
                what=what,
                count=len(found.gaps),
                samples=[others[-1]["_id"] for _, others, _ in found.gaps[:_SAMPLES]],
                policy="when_gap: fail",
                fix=f"correct their {self._span['from']} and {self._span['to']}, or choose to make "
                "one that fits between them, or to leave it so",
            )
        )

    # -- small things ------------------------------------------------------------------------

    def _referenced_by(self) -> list[dict[str, str]]:
        names = self._scope.collections
        return [
            {"collection": names.target(name).name, "field": field}
            for name, field in self._options.get("referenced_by", {}).items()
            if not names.absent(name)
        ]

    def _label(self, document: dict[str, Any]) -> str:
        return ", ".join(f"{key} {ejson.short(document.get(key))}" for key in self._key)


def _watched(
    computed: Iterable[_Computed], instants: dict[str, set[datetime]]
) -> Iterator[_Computed]:
    """Yield what is *computed*, and note its *instants* by the timezone."""
    for one in computed:
        for name in filter(is_zone, one.zones):
            instants.setdefault(name, set()).update(
                timezones.instants_of([one.document, one.boundaries])
            )
        yield one


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        elif value is not None:
            yield value


def _named(instant: Any) -> str:
    """Return how a message calls what should be contained: the same for all, or each its own."""
    return ejson.short(instant) if isinstance(instant, datetime) else "what it should"


def _token(document: dict[str, Any], fields: list[str]) -> bytes:
    """Return the fields' values as something to compare: 2026 and 2026.0 name the same year."""
    values = [document.get(name) for name in fields]
    plain = [
        int(value) if isinstance(value, (int, float)) and value == value // 1 else value
        for value in values
    ]
    return bson.encode({"k": plain})
