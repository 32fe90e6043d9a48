"""Documents as they are and as they would be, read at once, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from pymongo import ASCENDING
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ...document import reads
from ...document.update_sources import Source
from ...document.value_sources import Found, Unresolved
from ...support.chunks import chunks
from ...support.retry import is_about_a_document
from ...values import twice
from ...values.as_value import as_value
from ...values.compare import hashable
from ...values.raw import embedded, raw_documents
from ..fields.candidates import along_id
from .expressions import Compiled

#: What the server says of a document for which it can't compute an expression begins with this.
REFUSED = "the server can't compute it: "
#: What is said of a document that holds a field twice.
TWICE = "stands twice in one document, and MongoDB ends itself where an expression changes that"
# Whether it does so at the top level: merging leaves one of each, and costs less than counting.
_TWICE = {"$ne": [{"$bsonSize": "$$ROOT"}, {"$bsonSize": {"$mergeObjects": ["$$ROOT"]}}]}
_IS_TWICE = bson.encode({"t": True})


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What is wrong with one document, and the policy for it."""

    path: str
    policy: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One document: the touched top-level fields before and after, as raw BSON."""

    identity: Any
    key: bytes  # {_id: …}
    before: bytes
    after: bytes
    troubles: tuple[Trouble, ...] = ()
    names: tuple[str, ...] = ()  # of all its fields, where their places matter
    skipped: bool = False
    document: bytes = b""  # all of it, where that was asked for
    extra: bytes = b""  # what else was asked for

    @property
    def changes(self) -> bool:
        """Whether writing it makes a difference."""
        return not self.skipped and self.before != self.after


@dataclass(kw_only=True)
class Reader:
    """Reads documents of one collection through what an update makes of them.

    Args:
        collection: of the documents.
        where: which of them.
        compiled: what becomes of them.
        sources: by variable, where its value is found.
        labels: by variable, the path or name to tell, and its policy.
        comment: for the server's operations.
        on_error: the policy for a document for which the server can't compute an expression.
        constants: variables that are the same for all documents.
        whole: whether to read all of each document, too.
        extra: an expression for a document that is read beside what they become.
        computes: whether the server computes what they become.
        only_if: an expression that is true for documents that are meant; None: all that match.
    """

    collection: Collection[dict[str, Any]]
    where: Mapping[str, Any]
    compiled: Compiled
    sources: Mapping[str, Source]
    labels: Mapping[str, tuple[str, str]]
    comment: str
    on_error: str = "fail"
    constants: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    extra: Any = None
    computes: bool = True
    only_if: Any = None
    _names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = list(self.compiled.fields)

    def page(self, position: Mapping[str, Any], limit: int) -> list[Row]:
        """Return the next documents along ``_id``, at most *limit*."""
        if not self.sources:
            try:
                return [self._row(raw) for raw in self._along(position, limit, self._wanted({}))]
            except OperationFailure as error:
                if not is_about_a_document(error):
                    raise
        ids = [self._decoded(raw)["_id"] for raw in self._along(position, limit, {"_id": 1})]
        return self.of(ids)

    def of(self, ids: Sequence[Any], session: ClientSession | None = None) -> list[Row]:
        """Return those of *ids* that match, in their order; a bad one costs nobody else."""
        if not ids:
            return []
        try:
            return self._some(ids, session)
        except OperationFailure as error:
            if session is not None or not is_about_a_document(error):
                raise
            if len(ids) == 1:
                said = REFUSED + str(error).split(", full error:")[0].split(" :: caused by :: ")[-1]
                path, policy = next(iter(self.labels.values()), ("", ""))
                return [self._refused(ids[0], path, policy, said)]
            half = len(ids) // 2
            return self.of(ids[:half]) + self.of(ids[half:])

    def held(
        self, ids: Sequence[Any], session: ClientSession | None = None, *, names: bool = False
    ) -> dict[bytes, Row]:
        """Return what documents hold now, whether or not they match."""
        found = {}
        wanted = _plain(self._names, names=names)
        for some in chunks(ids, 1000):
            for raw in self._find({"_id": {"$in": some}}, wanted, session=session):
                row = self._row(raw)
                found[hashable(row.identity)] = row
        return found

    def _refused(self, identity: Any, path: str, policy: str, why: str) -> Row:
        policy = "keep" if self._error_policy() == "keep" else "fail"
        trouble = Trouble(path=path or ", ".join(self._names), policy=policy, why=why)
        empty = bson.encode({})
        return Row(
            identity=identity,
            key=bson.encode({"_id": identity}),
            before=empty,
            after=empty,
            troubles=(trouble,),
            skipped=True,
        )

    def _error_policy(self) -> str:
        policies = {policy for _label, policy in self.labels.values()}
        policies |= {fault.policy for fault in self.compiled.faults}
        return "keep" if policies == {"keep"} or self.on_error == "keep" else "fail"

    def _some(self, ids: Sequence[Any], session: ClientSession | None) -> list[Row]:
        variables: dict[str, Any] = {}
        found: dict[bytes, list[Trouble]] = {}
        skipped: set[bytes] = set()
        if self.sources:
            ids, variables = self._values(ids, session, found, skipped)
        if not ids:
            return []
        selector = {"$and": [{"_id": {"$in": list(ids)}}, self.where]}
        rows = [
            self._row(raw, found, skipped)
            for raw in self._find(selector, self._wanted(variables), session=session)
        ]
        return rows

    def _values(
        self,
        ids: Sequence[Any],
        session: ClientSession | None,
        troubles: dict[bytes, list[Trouble]],
        skipped: set[bytes],
    ) -> tuple[list[Any], dict[str, Any]]:
        """Find the values of all variables; return the ids in order, and a table for each."""
        there, variables = list(ids), dict[str, Any]()
        for names in self._rounds():
            rows = self._asked(names, there, variables, session)
            there = [row["_id"] for row in rows]
            # Without a value for one variable, nothing is asked by it.
            asking = [row for row in rows if hashable(row["_id"]) not in skipped]
            for name in names:
                found = self._answers(name, asking, session, troubles, skipped)
                known = {"$in": ["$_id", {"$literal": [row["_id"] for row in asking]}]}
                if len(asking) < len(rows):
                    found = {"$cond": [known, found, None]}
                variables[name] = found
        return there, variables

    def _rounds(self) -> list[list[str]]:
        """Return the variables in their order, those together that don't need each other."""
        rounds: list[list[str]] = []
        for name, source in self.sources.items():
            used = reads.variables(source.inputs)
            if not rounds or used.intersection(rounds[-1]):
                rounds.append([])
            rounds[-1].append(name)
        return rounds

    def _asked(
        self,
        names: Sequence[str],
        ids: Sequence[Any],
        variables: Mapping[str, Any],
        session: ClientSession | None,
    ) -> list[dict[str, Any]]:
        """Return the documents with what the variables *names* are found by."""
        inputs = {name: self.sources[name].inputs for name in names}
        wanted = _with({**self.constants, **variables}, inputs)
        selector = {"$and": [{"_id": {"$in": list(ids)}}, self.where]}
        return [
            self._decoded(raw)
            for raw in self._find(selector, {"_id": 1, "k": wanted}, session=session)
        ]

    def _answers(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        session: ClientSession | None,
        troubles: dict[bytes, list[Trouble]],
        skipped: set[bytes],
    ) -> Any:
        """Return a table of the values of one variable, as an expression."""
        label, policy = self.labels[name]
        values = []
        answers = self.sources[name].find([row["k"][name] for row in rows], session)
        there = [row["_id"] for row in rows]
        for identity, answer in zip(there, answers, strict=True):
            if isinstance(answer, Found):
                values.append(answer.value)
                continue
            if not isinstance(answer, Unresolved):
                raise AssertionError("what was found is no trouble")
            token = hashable(identity)
            trouble = Trouble(path=label, policy=policy, why=answer.reason)
            troubles.setdefault(token, []).append(trouble)
            values.append(None)
            if policy != "null":
                skipped.add(token)
        place = {"$indexOfArray": [{"$literal": there}, "$_id"]}
        return {"$arrayElemAt": [{"$literal": values}, place]}

    def _wanted(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the projection that gives before, after, and what is wrong."""
        known = {**self.constants, **variables}
        wanted = _plain(self._names, names=self.compiled.loses_fields)
        if "n" not in wanted:
            wanted["t"] = as_value({"t": _TWICE})
        if self.computes:
            wanted["a"] = _with(known, dict(self.compiled.fields) or {"$literal": {}})
        if self.compiled.faults:
            wanted["u"] = _with(known, [fault.why for fault in self.compiled.faults])
        if self.whole:
            wanted["d"] = "$$ROOT"
        if self.only_if is not None:
            wanted["o"] = _with(known, {"o": {"$cond": [self.only_if, True, False]}})
        if self.extra is not None:
            wanted["e"] = _with(known, self.extra)
        return wanted

    def _row(
        self,
        raw: bytes,
        troubles: Mapping[bytes, list[Trouble]] | None = None,
        skipped: set[bytes] | None = None,
    ) -> Row:
        parts = embedded(raw)
        identity = self._decoded(parts["i"])["_id"]
        told: list[Trouble] = []
        if "u" in parts:
            why = bson.decode(parts["u"])
            told = [
                Trouble(path=fault.path, policy=fault.policy, why=why[str(number)])
                for number, fault in enumerate(self.compiled.faults)
                if why.get(str(number)) is not None
            ]
        token = hashable(identity) if troubles or skipped else b""
        looked_up = bool(troubles) and token in (troubles or ())
        if "o" in parts and not looked_up and not bson.decode(parts["o"])["o"]:
            # Not meant: whatever else would be wrong with it doesn't matter.
            return self._unmeant(identity, parts)
        if troubles:
            told += troubles.get(token, [])
        names = bson.decode(parts["n"]).values() if "n" in parts else ()
        if (name := _twice(parts, tuple(names))) is not None:
            told.append(Trouble(path=name, policy="fail", why=TWICE))
        return Row(
            identity=identity,
            key=parts["i"],
            before=parts["b"],
            after=parts.get("a", parts["b"]),
            troubles=tuple(told),
            names=tuple(names),
            skipped=bool(skipped) and token in (skipped or ()),
            document=parts.get("d", b""),
            extra=parts.get("e", b""),
        )

    def _unmeant(self, identity: Any, parts: Mapping[str, bytes]) -> Row:
        return Row(
            identity=identity,
            key=parts["i"],
            before=parts["b"],
            after=parts["b"],
            skipped=True,
            document=parts.get("d", b""),
        )

    def _decoded(self, raw: bytes) -> dict[str, Any]:
        return bson.decode(raw, self.collection.codec_options)

    def _along(
        self, position: Mapping[str, Any], limit: int, wanted: dict[str, Any]
    ) -> list[bytes]:
        def find(selector: dict[str, Any], minimum: dict[str, Any] | None = None) -> list[bytes]:
            return list(
                self._find(
                    {"$and": [self.where, selector]},
                    wanted,
                    hint={"_id": ASCENDING},
                    minimum=minimum,
                    limit=limit,
                )
            )

        return along_id(position, find, limit)

    def _find(
        self, selector: dict[str, Any], wanted: dict[str, Any], **options: Any
    ) -> Iterator[bytes]:
        limit = options.get("limit") or 1000
        return raw_documents(
            self.collection.database,
            self.collection.name,
            filter=selector,
            projection=wanted,
            sort={"_id": ASCENDING},
            batch_size=limit + 1,
            comment=self.comment,
            **options,
        )


def held_by(
    collection: Collection[dict[str, Any]],
    names: Sequence[str],
    ids: Sequence[Any],
    *,
    comment: str,
    session: ClientSession | None = None,
    places: bool = False,
) -> dict[bytes, Row]:
    """Return what documents hold now in the fields *names*."""
    reader = Reader(
        collection=collection,
        where={},
        compiled=Compiled(fields=dict.fromkeys(names), faults=[], loses_fields=False, varies=False),
        sources={},
        labels={},
        comment=comment,
    )
    return reader.held(ids, session, names=places)


def _twice(parts: Mapping[str, bytes], names: Sequence[str]) -> str | None:
    """Return what a document holds twice, in itself or in a touched field; None if nothing.

    Args:
        parts: that were read of it.
        names: of all its fields, where they were read.
    """
    if parts.get("t") == _IS_TWICE or len(set(names)) < len(names):
        return "a field"
    return twice.within(parts["b"])


def _plain(fields: Sequence[str], *, names: bool) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "_id": 0,
        "i": as_value({"_id": "$_id"}),
        "b": as_value({name: f"${name}" for name in fields} or {"$literal": {}}),
    }
    if names:
        pairs = {"$objectToArray": "$$ROOT"}
        wanted["n"] = {"$map": {"input": pairs, "as": "pair", "in": "$$pair.k"}}
    return wanted


def _with(variables: Mapping[str, Any], expression: Any) -> Any:
    if not variables:
        return as_value(expression)
    return {"$let": {"vars": dict(variables), "in": expression}}


__all__ = ["Reader", "Row", "Trouble", "held_by"]
