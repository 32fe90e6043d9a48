"""Postconditions that fail before the run, and that no step is going to mend.

Each is evaluated on what the steps leave alone, with what they insert beside it, as if all that
they complain of were settled. Documents that a step changes are taken to be right afterwards: what
it can't do right is among its own problems. So what fails here would fail afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.collection import Collection

from ..document import variables
from ..document.definition import Definition
from ..document.value_sources import Scope
from ..errors import DefinitionError
from ..operations.base import Changed, Check, Plan, Touched
from ..support.chunks import chunks
from ..values.compare import equal_token
from . import conditions

# So many documents to come take part in a query: each is looked at for each document that is there.
_MOST_PLANNED = 100
# So many that are to come beside the documents of a collection itself, or are counted together.
_MOST_BESIDE = 1000
_SAMPLES = 5
_PLANNED = "_planned"
# Stages that read another collection.
_READING = frozenset({"$lookup", "$graphLookup", "$unionWith"})


@dataclass(kw_only=True)
class Future:
    """What the steps of a plan do to the collections."""

    changed: dict[str, list[Changed]] = field(default_factory=dict)  # by the real name
    to_come: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by the document's name
    unknown: set[str] = field(default_factory=set)  # real names: anything may happen to them
    renamed: dict[str, str] = field(default_factory=dict)  # real names: from the new to the old

    def changes(self, collection: str, question: Any) -> list[dict[str, Any]]:
        """Return filters for what changes in *collection* (its real name) and matters here."""
        if collection in self.renamed.values():
            return [{}]  # all of it goes to the new name
        return [
            item.selector
            for name in (collection, self.now(collection))
            for item in self.changed.get(name, ())
            if item.field is None or _mentions(question, item.field)
        ]

    def now(self, collection: str) -> str:
        """Return where the documents are that *collection* (its real name) will have."""
        return self.renamed.get(collection, collection)

    def add(self, plan: Plan, touches: Iterable[Touched]) -> None:
        """Add what one step does."""
        touches = list(touches)
        self.renamed |= {
            item.into: self.now(item.collection) for item in touches if item.whole and item.into
        }
        for collection, selectors in plan.changed.items():
            self.changed.setdefault(collection, []).extend(selectors)
        for name, documents in plan.settled.items():
            self.to_come.setdefault(name, []).extend(documents)
        self.unknown |= {
            item.collection
            for item in touches
            if not item.inserts and item.collection not in plan.changed and _writes(item)
        }


def _writes(item: Touched) -> bool:
    return bool(item.label) or item.removes or item.command


def judge(
    definition: Definition, scope: Scope, future: Future, *, before: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the problems and the warnings that the postconditions make."""
    problems: list[dict[str, Any]] = []
    warnings: list[str] = []
    for name, documents in scope.planned.items():
        future.to_come.setdefault(name, []).extend(documents)
    values = {**definition.variables, "before": before}
    for index, spec in enumerate(definition.postconditions):
        where = f"{definition.source}: postconditions[{index}]"
        kind, body = conditions.body_of(spec, scope.now)
        if not variables.condition(spec.get("when", True), values, where=where):
            continue
        if scope.collections.absent(body["in"]):
            continue
        try:
            if not any(step.kind == "command" for step in definition.steps):
                # What a command brings into being, nobody knows; the other steps say it.
                scope.collections.get(body["in"])
            found = _Question(spec, kind, body, scope, future).answer()
        except DefinitionError as error:
            found = conditions.missing(spec, error)
        if found is None:
            continue
        said = f"{spec['name']}: {found.observed}"
        if found.severity == "warning":
            warnings.append(f"{said}. {found.detail}" if found.detail else said)
            continue
        problems.append(
            {
                "step": None,
                "collection": body["in"],
                "what": f"{said}, and no step mends that: the verification would fail"
                + (f". {found.detail}" if found.detail else ""),
                "count": max(1, found.examined),
                "samples": found.samples,
                "policy": "postcondition",
                "fix": spec.get("fix", "correct these documents first"),
                **({"repair": spec["repair"]} if "repair" in spec else {}),
            }
        )
    return problems, warnings


@dataclass(kw_only=True)
class _Rows:
    """Rows that a postcondition doesn't want: how many, and a few."""

    count: int = 0
    samples: list[Any] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        self.count += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(row.get("ids") or row.get("_id"))


class _Question:
    """One postcondition, asked of the future."""

    def __init__(
        self, spec: dict[str, Any], kind: str, body: dict[str, Any], scope: Scope, future: Future
    ) -> None:
        self._spec = spec
        self._kind = kind
        self._body = body
        self._scope = scope
        self._future = future
        self._real = scope.collections.real_name(body["in"])
        self._fields = {key: value for key, value in body.items() if key != "in"}

    def answer(self) -> Check | None:
        """Return a failed check whose `examined` is how many rows violate it, or None."""
        if self._kind == "count":
            return self._count()
        pipeline = conditions.pipeline_of(self._kind, self._body, self._scope)
        read = _names_in(pipeline)
        joined = _joined(pipeline)
        to_come = {
            self._scope.collections.real_name(name): documents
            for name, documents in self._future.to_come.items()
            if documents and self._scope.collections.real_name(name) in joined
        }
        found = self._left(pipeline, to_come) if to_come else self._all(pipeline)
        if not found.count:
            return None
        changed = any(self._future.changes(name, pipeline) for name in read - {self._real})
        doubtful = changed or bool({self._real, *read} & self._future.unknown)
        return Check(
            name=self._spec["name"],
            passed=False,
            expected="no rows",
            observed=f"found {found.count:,}",
            examined=found.count,
            detail="Whether a step mends that can't be known beforehand" if doubtful else "",
            severity="warning" if doubtful else self._spec.get("severity", "error"),
            samples=found.samples,
        )

    def _all(self, pipeline: list[dict[str, Any]]) -> _Rows:
        found = _Rows()
        for row in self._rows(pipeline):
            found.add(row)
        return found

    def _left(
        self, pipeline: list[dict[str, Any]], to_come: dict[str, list[dict[str, Any]]]
    ) -> _Rows:
        """Return the rows that are left where lookups also find what is to come."""
        lookup = _of_each(pipeline, to_come)
        if lookup is None:
            if any(len(documents) > _MOST_PLANNED for documents in to_come.values()):
                return _Rows()  # too many to look at for each row: left to the verification
            return self._all(_extended(pipeline, to_come))
        # What none of the documents to come belongs to isn't mended by one; of the rest, a part
        # tells: it is about what the same step inserts.
        name, key = lookup["from"], lookup["foreignField"]
        known = {equal_token(document.get(key)) for document in to_come[name]}
        alone, ids = _Rows(), list[Any]()
        for row in self._rows(pipeline):
            if equal_token(row["_id"]) not in known:
                alone.add(row)
            elif len(ids) < _MOST_PLANNED:
                ids.append(row["_id"])
        if alone.count or not ids:
            return alone
        wanted = set(map(equal_token, ids))
        some = [item for item in to_come[name] if equal_token(item.get(key)) in wanted]
        return self._all(
            [
                {"$match": {"_id": {"$in": ids}}},
                *_extended(pipeline, {**to_come, name: some[: 2 * _MOST_PLANNED]}),
            ]
        )

    def _rows(self, pipeline: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        question = pipeline if self._kind == "no_rows" else self._fields
        selectors = self._future.changes(self._real, question)
        alone: list[dict[str, Any]] = [{"$match": {"$nor": selectors}}] if selectors else []
        if more := self._future.to_come.get(self._body["in"], []):
            alone.append({"$unionWith": {"pipeline": [_documents(more[:_MOST_BESIDE])]}})
        yield from self._collection(self._body["in"]).aggregate(
            [*alone, *self._renamed(pipeline)], allowDiskUse=True, comment=self._scope.comment
        )

    def _collection(self, name: str) -> Collection[dict[str, Any]]:
        """Return where the documents of *name* (the document's) are now."""
        there = self._scope.collections.target(name)
        return there.database[self._future.now(there.name)]

    def _renamed(self, tree: Any) -> Any:
        """Return a pipeline with the names that the collections which it reads have now."""
        if isinstance(tree, list):
            return [self._renamed(one) for one in tree]
        if not isinstance(tree, dict):
            return tree
        return {
            key: self._read_now(value) if key in _READING else self._renamed(value)
            for key, value in tree.items()
        }

    def _read_now(self, stage: Any) -> Any:
        if isinstance(stage, str):
            return self._future.now(stage)
        found = self._renamed(stage)
        return {
            **found,
            **{key: self._future.now(found[key]) for key in ("from", "coll") if key in found},
        }

    def _count(self) -> Check | None:
        """Compare the counts as they will be, where what is counted doesn't change itself."""
        expected = self._body.get("equals", self._body.get("at_least"))
        other = expected if isinstance(expected, dict) else None
        sides = [self._body, *([other] if other else [])]
        reals = {self._scope.collections.real_name(side["in"]) for side in sides}
        if reals & self._future.unknown or any(
            self._future.changes(name, self._fields) for name in reals
        ):
            return None
        found = self._counted(self._body)
        if other:
            expected = self._counted(other)
        if not isinstance(expected, int):
            raise AssertionError("a count is compared with a number")
        passed = found >= expected if "at_least" in self._body else found == expected
        least = "at least " if "at_least" in self._body else ""
        if passed:
            return None
        return Check(
            name=self._spec["name"],
            passed=False,
            expected=expected,
            observed=f"would be {found:,}, not {least}{expected:,}",
            examined=abs(found - expected),
            severity=self._spec.get("severity", "error"),
        )

    def _counted(self, side: Mapping[str, Any]) -> int:
        where = side.get("where", {})
        collection = self._collection(side["in"])
        count = collection.count_documents(where, comment=self._scope.comment)
        for some in chunks(self._future.to_come.get(side["in"], []), _MOST_BESIDE):
            rows = self._scope.collections.database.aggregate(
                [_documents(some), {"$match": where}, {"$count": "n"}], comment=self._scope.comment
            )
            count += sum(row["n"] for row in rows)
        return count


def _joined(pipeline: list[dict[str, Any]]) -> set[str]:
    """Return the collections in which a document that is to come can be found.

    Not by its ``_id``, which is new: nothing that is there names it.
    """
    lookups = [stage["$lookup"] for stage in pipeline if "$lookup" in stage]
    return {one["from"] for one in lookups if "from" in one and one.get("foreignField") != "_id"}


def _of_each(
    pipeline: list[dict[str, Any]], to_come: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any] | None:
    """Return the lookup by which each row is a document with what is to come for it, if so."""
    if any("$group" in stage or "$unwind" in stage for stage in pipeline):
        return None
    for stage in pipeline:
        lookup: dict[str, Any] = stage.get("$lookup", {})
        if lookup.get("from") in to_come and lookup.get("localField") == "_id":
            return lookup
    return None


def _extended(
    pipeline: list[dict[str, Any]], to_come: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return *pipeline* so that its lookups also find the documents to come."""
    stages: list[dict[str, Any]] = []
    for stage in pipeline:
        stages.append(stage)
        lookup = stage.get("$lookup", {})
        if not (documents := to_come.get(lookup.get("from", ""), [])):
            continue
        name, local = lookup["as"], lookup.get("localField")
        let, match = dict(lookup.get("let", {})), list[dict[str, Any]]()
        if local:
            let["planned_local"] = f"${local}"
            there, wanted = f"${lookup['foreignField']}", "$$planned_local"
            several = {"$cond": [{"$isArray": wanted}, wanted, [wanted]]}
            match = [{"$match": {"$expr": {"$in": [there, several]}}}]
        inner = [_documents(documents), *match, *lookup.get("pipeline", [])]
        stages += [
            {"$lookup": {"let": let, "pipeline": inner, "as": _PLANNED}},
            {"$set": {name: {"$concatArrays": [f"${name}", f"${_PLANNED}"]}}},
            {"$unset": _PLANNED},
        ]
    return stages


def _mentions(tree: Any, field: str) -> bool:
    """Return whether a pipeline looks at *field*, or at whole documents."""
    if isinstance(tree, dict):
        return any(_mentions(key, field) or _mentions(value, field) for key, value in tree.items())
    if isinstance(tree, list):
        return any(_mentions(item, field) for item in tree)
    if not isinstance(tree, str):
        return False
    return tree.startswith(("$$ROOT", "$$CURRENT")) or tree.lstrip("$").split(".")[0] == field


def _documents(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {"$documents": [{"$literal": document} for document in documents]}


def _names_in(tree: Any) -> set[str]:
    """Return the collections that a pipeline reads beside its own, by their real names."""
    if isinstance(tree, list):
        return set().union(*map(_names_in, tree)) if tree else set()
    if not isinstance(tree, dict):
        return set()
    found: set[str] = set()
    for key, value in tree.items():
        if key in _READING and isinstance(value, dict):
            found |= {value[one] for one in ("from", "coll") if one in value}
        elif key in _READING:
            found.add(value)
        found |= _names_in(value)
    return found
