"""``set_field``: documents that lack a value for a field get the one that they should have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.client_session import ClientSession

from ...document import made_once, reads, value_sources
from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Found, Scope, Source, Unresolved
from ...errors import DefinitionError
from ...ledger.batches import Writer
from ...ledger.journal import LARGEST_ENTRY
from ...support.chunks import chunks
from ...support.tables import aligned, number, place
from ...values import compare
from ...values.compare import ABSENT
from .. import contradictions, previews
from ..base import Check, Need, Operation, Plan, Row, Touched, about_how_many
from ..bodies import Body, of_value, place_of
from ..field_rules import Rules, Target
from ..futures import Rewrite
from ..left_alone import by_set_field
from ..plan_rows import MOST_PAIRS, Tally
from ..referents import MOST, Referents
from ..refusals import inexact, journal_room, unique_indexes
from ..refusals.validators import Validator, too_large
from .field_walk import KIND, Walk

__all__ = ["KIND", "SetField"]

_SAMPLES, _OLDEST = 5, 2
# Of each kind of change, real documents before and after.
_PREVIEWS = 2


class SetField(Operation):
    """See the module. Options are those of the schema's ``set_field``."""

    KIND = KIND

    @classmethod
    def bodies(cls, step: Step) -> Iterator[Body]:
        """Yield what the server has to understand of *step*."""
        options, place = step.options, place_of(step)
        if "where" in options:
            yield f"{place}.where", "filter", options["where"], ()
        yield from of_value(options["value"], f"{place}.value")

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options, names = step.options, scope.collections
        self._references: str | None = options.get("references")
        self._previewed: Counter[tuple[str, str]] = Counter()
        self._rules = Rules.of(options, scope.now)
        named = options["collections"]
        owners: dict[str, str | None] = named if isinstance(named, dict) else dict.fromkeys(named)
        where = f"steps[{step.index}].{KIND}"
        value_sources.check(options["value"], where=where, resolve=names.target)
        if self._references:
            names.target(self._references)
        self._absent = [name for name in owners if names.absent(name)]
        self._targets = [
            Target(
                name=name,
                collection=names.get(name, write=True),
                source=value_sources.build(options["value"], scope, owner=owner),
                anew=partial(_source_in, options["value"], scope, owner),
            )
            for name, owner in owners.items()
            if not names.absent(name)
        ]
        if not self._targets and len(owners) > 1:
            # A deployment may lack the one collection of a step; to lack all of many is a mistake.
            raise DefinitionError(f"{where}: the inventory maps every collection to null")

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections that get the field."""
        return set(options["collections"])

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the one field of each collection."""
        return [
            Touched(collection=names.real_name(name), field=step.options["field"])
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    @staticmethod
    def runs_live(options: Mapping[str, Any]) -> bool:
        """Return True: whoever lacks the field is a candidate, at any time."""
        del options
        return True

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return the documents that get a field; columns of nothing but zeros are left out."""
        numbers = [{name: count(row) for name, count in _COLUMNS.items()} for row in rows]
        shown = [name for name in _COLUMNS if name in _ALWAYS or any(row[name] for row in numbers)]
        body = [
            [place(row), row["field"], *(number(counts[name]) for name in shown)]
            for row, counts in zip(rows, numbers, strict=True)
        ]
        if len(rows) > 1:
            sums = [number(sum(counts[name] for counts in numbers)) for name in shown]
            body.append(["total", "", *sums])
        return aligned([["collection", "field", *shown], *body], numeric_from=2)

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return how many documents have the field, and some before and after."""
        fine = row["documents"] - row["candidates"]
        label = f"{row['real_name']}.{row['field']}: {{:,}} of {row['documents']:,} documents set"
        before, after = [label.format(fine)], [label.format(fine + row["to_change"])]
        was, becomes = previews.lines(row["real_name"], row.get("preview", ()))
        return [*before, *was], [*after, *becomes]

    def needs(self) -> Iterator[Need]:
        """Yield what the values are made from."""
        options = self._step.options
        named = options["collections"]
        owners = named.values() if isinstance(named, dict) else ()
        read = reads.fields(
            filters=[options.get("where", {})],
            sources=[options["value"]],
            paths=[options["field"], *map(str, owners)],
        )
        for target in self._targets:
            yield Need(collection=target.collection.name, fields=read)
        yield from self.needs_of_sources(options["value"])

    def plan(self) -> Plan:
        """Count the candidates of each collection by why they are one and what they would get."""
        plan = Plan()
        self._previewed.clear()
        referents = Referents(self._references, self._scope)
        for name in self._absent:
            plan.warnings.append(f"{name}: left out, the inventory maps it to null")
        if referents.too_many:
            plan.warnings.append(
                f"{self._references} has more than {MOST:,} documents: values of "
                f"{self._rules.field} are judged by their type, not by whether what they name "
                "exists"
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
            Walk(
                self._rules,
                step=self._step.index,
                target=target,
                referents=referents,
                writer=writer,
            ).run(start)

    def check(self) -> Iterator[Check]:
        """Count what is left, and look at a few documents."""
        referents = Referents(self._references, self._scope)
        kind = self._rules.kind or "any"
        refers = f" that exists in {self._references}" if self._references else ""
        for target in self._targets:
            plan = Plan()
            self._plan_one(plan, target, referents)
            row = plan.rows[0]
            empty, wrong = sum(row["empty"].values()), sum(row["invalid"].values())
            # What a policy leaves alone is not a failure, but it is said.
            excused = row["skipped"]
            settled = row["to_change"] == 0 and not plan.problems
            facts = {
                "expected": f"at most {excused}" if excused else 0,
                "examined": row["documents"],
                "detail": f"{excused} left alone by policy" if excused else "",
                "samples": row["samples"],
            }
            yield Check(
                name=f"{target.name}: no document is without {self._rules.field}",
                passed=empty == 0 or settled,
                observed=empty,
                left_alone=list(
                    by_set_field(self._rules, target, referents, row, comment=self._scope.comment)
                ),
                **facts,
            )
            yield Check(
                name=f"{target.name}: every {self._rules.field} is of type {kind}{refers}",
                passed=wrong + empty == 0 or settled,
                observed=wrong,
                **facts,
            )
            if target.source.judges and self._references:
                yield self._agreement(target, row)
            yield self._sample(target, excused)

    def _agreement(self, target: Target, row: dict[str, Any]) -> Check:
        found = row["contradicting"]
        allowed = found if self._rules.when_contradicted == "skip" else row["excused"]
        return Check(
            name=f"{target.name}: no {self._rules.field} contradicts its document",
            passed=found <= allowed,
            expected=f"at most {allowed}" if allowed else 0,
            observed=found,
            examined=row["documents"],
            detail=f"{allowed} left alone by policy" if allowed else "",
            # The plan refused what there was; what users decide since is not a fault of the run.
            severity="warning",
        )

    @property
    def made_once(self) -> bool:
        """Whether chance or the clock decides about a value."""
        return any(made_once.varies(target.source.inputs) for target in self._targets)

    def unexplained(self, collection: str, ids: Sequence[Any]) -> list[Any]:
        """Return those whose field isn't what its source gives for them."""
        wrong: list[Any] = []
        for target in self._targets:
            if target.collection.name != collection or self._rules.reads_itself(target.source):
                continue
            wanted = {"now": f"${self._rules.field}", "key": target.source.inputs or []}
            for some in chunks(ids, 1000):
                rows = list(
                    target.collection.find(
                        {"_id": {"$in": some}}, wanted, comment=self._scope.comment
                    )
                )
                target.source.prepare([row["key"] for row in rows])
                for row in rows:
                    answer = target.source.resolve(row["key"])
                    value = answer.value if isinstance(answer, Found) else ABSENT
                    if not compare.same(row.get("now", ABSENT), value):
                        wrong.append(row["_id"])
        return wrong

    def _sample(self, target: Target, excused: int) -> Check:
        # The oldest and the newest. The server's own $sample takes longer than all other checks
        # together, right after a collection was written to, while writers may be stopped.
        found = {
            compare.hashable(row["_id"]): row
            for order, most in ((ASCENDING, _OLDEST), (DESCENDING, _SAMPLES - _OLDEST))
            for row in target.collection.find(
                self._rules.where or {},
                {self._rules.field: 1},
                sort=[("_id", order)],
                limit=most,
                comment=self._scope.comment,
            )
        }
        rows = list(found.values())
        have = [row for row in rows if row.get(self._rules.field) is not None]
        return Check(
            name=f"{target.name}: sample documents have {self._rules.field}",
            passed=len(have) == len(rows) or excused > 0,
            expected=len(rows),
            observed=len(have),
            # Where the step is about the field itself, a step well done leaves none to look at.
            examined=len(rows) or (self._count(target) if self._rules.where else 0),
            detail=""
            if rows
            else "no document matches"
            if self._rules.where
            else "the collection is empty",
            samples=rows[:2],
        )

    def _count(self, target: Target) -> int:
        return about_how_many(target.collection, self._scope.comment)

    # -- planning ----------------------------------------------------------------------------

    def _groups(self, target: Target, referents: Referents) -> Iterable[dict[str, Any]]:
        """Return the candidates by all that matters: those that are alike are judged together."""
        path = f"${self._rules.field}"
        # What a candidate holds matters where it is text or binary data.
        held = {"$cond": [{"$in": [{"$type": path}, ["string", "binData"]]}, path, None]}
        return target.collection.aggregate(
            [
                {"$match": self._rules.candidates(referents)},
                {
                    "$group": {
                        "_id": {
                            "why": compare.category(self._rules.field, self._rules.kind),
                            "key": target.source.inputs,
                            "held": held,
                        },
                        "count": {"$sum": 1},
                        "sample": {"$first": "$_id"},
                        "large": {"$max": {"$bsonSize": {"v": path}}},
                        "odd": {"$max": {"$cond": [inexact.possible(self._rules.field), 1, 0]}},
                    }
                },
            ],
            allowDiskUse=True,
            comment=self._scope.comment,
        )

    def _plan_one(self, plan: Plan, target: Target, referents: Referents) -> None:
        tally = Tally(
            plan, step=self._step.index, kind=KIND, name=target.name, field=self._rules.field
        )
        odd = large = 0
        for batch in chunks(self._groups(target, referents), 1000):
            target.source.prepare([row["_id"].get("key", []) for row in batch])
            for row in batch:
                odd += row["odd"]
                large = max(large, row["large"])
                self._judge(tally, row, target.source, referents)
        wrong = self._plan_contradicted(tally, target, referents)
        mine = self._rules.candidates(referents, wrong)
        self._plan_settled(tally, target, mine)
        if odd or wrong:
            found = inexact.find(
                target.collection, mine, self._rules.field, comment=self._scope.comment
            )
            tally.inexact(found.count, found.samples)
        if large > LARGEST_ENTRY:
            kept = {"v": f"${self._rules.field}"}
            ids = journal_room.larger(target.collection, mine, kept, comment=self._scope.comment)
            journal_room.tell(plan, ids, step=self._step.index, name=target.name)
        if tally.example is not ABSENT:
            self._foresee_refusals(tally, target, mine)
        self._foresee_twins(plan, tally, target, mine)
        self._warn_of_expressions(plan, target, tally)
        policies = {
            "unresolved": self._rules.when_unresolved,
            "unclear": self._rules.when_unclear,
            "contradicted": self._rules.when_contradicted,
            "invalid": self._rules.when_invalid,
            "encrypted": "fail",
            "old_type": "fail",
        }
        tally.finish(
            documents=target.collection.count_documents({}, comment=self._scope.comment),
            real=target.collection.name,
            policies=policies,
            preview=self._preview(tally, target),
        )
        # Some that a policy leaves alone are known: nothing mends what is wrong with them.
        plan.change(
            target.collection.name,
            {"$and": [mine, {"_id": {"$nin": tally.left(policies)}}]},
            self._rules.field,
        )

    def _preview(self, tally: Tally, target: Target) -> list[dict[str, Any]]:
        """Return a few real documents of each kind, in the field, before and after."""
        chosen = []
        for kind, some in tally.shown.items():
            # A few of a kind, whatever the collection: with many, the rest is more of the same.
            for identity, value in some[: _PREVIEWS - self._previewed[kind]]:
                self._previewed[kind] += 1
                chosen.append({"_id": identity, "value": value, "note": f"by {kind[1]}"})
        if not chosen:
            return []
        found = target.collection.find(
            {"_id": {"$in": [one["_id"] for one in chosen]}},
            {self._rules.field: 1},
            comment=self._scope.comment,
        )
        held = {compare.hashable([row.pop("_id")]): row for row in found}
        return [
            {
                "_id": one["_id"],
                "before": held[key],
                "after": {self._rules.field: one["value"]},
                "note": one["note"],
            }
            for one in chosen
            if (key := compare.hashable([one["_id"]])) in held
        ]

    def _plan_contradicted(self, tally: Tally, target: Target, referents: Referents) -> list[Any]:
        """Find documents whose value exists, but isn't what belongs to them.

        Returns:
            The values that are to be replaced, or complained of, in some documents.
        """
        policy, values = self._rules.when_contradicted, dict[bytes, Any]()
        if self._references is None:
            return []
        for key, value, count, sample, source in contradictions.find(
            self._rules, target, referents, comment=self._scope.comment
        ):
            tally.contradicting += count
            if policy != "skip":
                values[compare.hashable(value)] = value
            tally.category("contradicting", count)
            if policy != "replace":
                tally.problem("contradicted", self._rules.contradicts(source), count, sample)
                continue
            answer = self._rules.answer(target.source, key, referents)
            if isinstance(answer, Found):
                tally.found(answer, key, count, sample, why="contradicting")
            else:
                self._unresolved(tally, answer, count, sample)
                tally.excused += count
        return list(values.values())

    def _unresolved(self, tally: Tally, answer: Unresolved, count: int, sample: Any) -> None:
        repair = self._step.options.get("repair_text") if answer.is_text else None
        tally.problem(self._rules.policy(answer), answer.reason, count, sample, repair=repair)

    def _plan_settled(self, tally: Tally, target: Target, candidates: dict[str, Any]) -> None:
        """Count the candidates whose key a repair would fill, and that have no value without it."""
        rule = self._step.options.get("repair_empty")
        if rule is None or not tally.has_problem(f"{rule['field']} is empty"):
            return
        asked = {*reads.collections([rule["value"]]), rule["references"]}
        if not all(map(self._scope.collections.exists, asked)):
            return
        source = value_sources.build(rule["value"], self._scope, owner=None)
        right, settled = Referents(rule["references"], self._scope), 0
        empty = {rule["field"]: {"$in": [None, ""], "$not": {"$type": "array"}}}
        groups = target.collection.aggregate(
            [
                {"$match": {"$and": [candidates, empty]}},
                {"$group": {"_id": {"key": source.inputs}, "count": {"$sum": 1}}},
            ],
            allowDiskUse=True,
            comment=self._scope.comment,
        )
        for some in chunks(groups, 1000):
            source.prepare([row["_id"]["key"] for row in some])
            for row in some:
                answer = source.resolve(row["_id"]["key"])
                if isinstance(answer, Found) and right.has(answer.value):
                    settled += row["count"]
        tally.settles(f"{rule['field']} is empty", rule["repair"], settled)

    def _warn_of_expressions(self, plan: Plan, target: Target, tally: Tally) -> None:
        """Say that what is fine by its type isn't computed anew."""
        itself = any(name in str(target.source.inputs) for name in (f"${self._rules.field}",))
        if not isinstance(target.source, value_sources.Expression) or self._rules.where:
            return
        if tally.candidates and not itself:
            return
        if fine := target.collection.count_documents(
            {self._rules.field: {"$ne": None}}, comment=self._scope.comment
        ):
            plan.warnings.append(
                f"{target.name}: the expression is not evaluated for documents that hold a "
                f"{self._rules.kind or 'value'} in {self._rules.field} already (about {fine:,}): "
                "set_field sets what is missing or of another type"
            )

    def _foresee_twins(
        self, plan: Plan, tally: Tally, target: Target, candidates: dict[str, Any]
    ) -> None:
        """Find documents that would be the same to a unique index, and tell later steps."""
        rewrite = self._rewrite(tally, target, candidates)
        known = self._scope.rewrites.setdefault(target.collection.name, [])
        known.append(rewrite or Rewrite.untold(self._rules.field))
        for spec in unique_indexes.of(target.collection) if tally.pairs else ():
            fields = unique_indexes.fields_of(spec)
            if fields is not None and self._rules.field not in fields:
                continue
            unique_indexes.tell(
                plan,
                self._scope,
                spec,
                step=self._step.index,
                name=target.name,
                collection=target.collection,
            )

    def _rewrite(self, tally: Tally, target: Target, candidates: dict[str, Any]) -> Rewrite | None:
        """Return what the step sets in *target*, as the server can compute it."""
        field, source = self._rules.field, target.source
        value: Any
        if isinstance(source, value_sources.Expression):
            value = {"$ifNull": [source.inputs[0], f"${field}"]}
            return Rewrite.of_field(candidates, field, value)
        if not source.inputs:
            value = {"$literal": tally.example} if tally.pairs else f"${field}"
            return Rewrite.of_field(candidates, field, value)
        pairs = list(tally.pairs.values())
        if len(pairs) > MOST_PAIRS or unique_indexes.too_many(tally.candidates, len(pairs)):
            return None
        return Rewrite.by_key(candidates, field, source.inputs, pairs)

    def _foresee_refusals(self, tally: Tally, target: Target, candidates: dict[str, Any]) -> None:
        comment, what = self._scope.comment, (candidates, self._rules.field, tally.example)
        if validator := Validator(target.collection, self._scope):
            refusal = validator.refuses_change(*what)
            tally.refused(refusal.count, refusal.samples)
        refusal = too_large(target.collection, *what, comment=comment)
        tally.too_large(refusal.count, refusal.samples)

    def _judge(
        self, tally: Tally, row: dict[str, Any], source: Source, referents: Referents
    ) -> None:
        why, count, sample = row["_id"]["why"], row["count"], row["sample"]
        if why == compare.OLD_TYPE:
            tally.category("wrong_type", count)
            what = f"{self._rules.field} {_WORDS[why]}"
            tally.problem("old_type", what, count, sample)
            return
        tally.category(why, count)
        if compare.is_encrypted(row["_id"].get("held")):
            what = f"{self._rules.field} is encrypted on the client: nobody else knows its type"
            tally.problem("encrypted", what, count, sample)
            return
        if why in compare.INVALID and self._rules.when_invalid == "fail":
            tally.problem("invalid", f"{self._rules.field} {_WORDS[why]}", count, sample)
            return
        answer = self._rules.answer(source, row["_id"].get("key", []), referents)
        if not isinstance(answer, Found):
            self._unresolved(tally, answer, count, sample)
        elif self._rules.when_contradicted != "replace" and referents.names_another(
            row["_id"].get("held"), answer.value
        ):
            what = self._rules.contradicts_as_text(answer.source)
            tally.problem("contradicted", what, count, sample)
        else:
            tally.found(answer, row["_id"].get("key", []), count, sample, why=why)


_WORDS: dict[str, str] = {
    compare.OLD_TYPE: "is of a type that BSON no longer has and that can't be put back",
    "wrong_type": "is of another type",
    "dangling": "names something that doesn't exist",
}


def _source_in(
    spec: dict[str, Any], scope: Scope, owner: str | None, session: ClientSession
) -> Source:
    return value_sources.build(spec, replace(scope, session=session), owner=owner)


def _unresolved(row: Row) -> int:
    return sum(int(item["count"]) for item in row["unresolved"])


# Heading, and how the number is found in a row of the plan.
_ALWAYS = ("documents", "to change", "unresolved", "already fine")
_COLUMNS: dict[str, Callable[[Row], int]] = {
    "documents": lambda row: int(row["documents"]),
    "to change": lambda row: int(row["to_change"]),
    "missing": lambda row: int(row["empty"].get("missing", 0)),
    "null": lambda row: int(row["empty"].get("null", 0)),
    "empty": lambda row: int(row["empty"].get("empty_string", 0)),
    "wrong type": lambda row: int(row["invalid"].get("wrong_type", 0)),
    "dangling": lambda row: int(row["invalid"].get("dangling", 0)),
    "contradicting": lambda row: int(row.get("contradicting", 0)),
    "unresolved": lambda row: _unresolved(row) - int(row.get("skipped", 0)),
    "left alone": lambda row: int(row.get("skipped", 0)),
    "already fine": lambda row: int(row["documents"] - row["candidates"]),
}
