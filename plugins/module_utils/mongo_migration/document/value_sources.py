"""Where the value of a field comes from. Nothing is guessed: a source finds, or says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import bson
from pymongo.client_session import ClientSession
from pymongo.cursor import Cursor

from ..errors import DefinitionError
from ..support.chunks import chunks
from ..values import compare, ejson
from ..values.compare import bind_now, hashable
from .collections import Collections

# Keys that a batch brings are looked up together; this many results are remembered.
_CACHE_LIMIT = 100_000
_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Found:
    """The value for a document."""

    value: Any
    source: str
    outside: bool = False  # accepted although the document's instant lies outside the range


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No value: the reason, the same for all documents that fail alike."""

    reason: str
    unclear: bool = False  # there are documents to choose from, and none or several fit
    is_text: bool = False  # all that is wrong is that an id is stored as text


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether a value that a document holds agrees with what it is found by."""

    agrees: bool
    source: str


Resolution = Found | Unresolved
Key = Sequence[Any]


class Source(Protocol):
    """Finds the value for a document from a key: the values of :attr:`inputs` in it."""

    inputs: list[Any]  # aggregation expressions over the document
    judges: bool  # whether it ever knows that a value is wrong

    def prepare(self, keys: Iterable[Key]) -> None:
        """Look up at once what a batch of keys needs."""

    def resolve(self, key: Key) -> Resolution:
        """Return the value for *key*, which was prepared."""

    def forget(self) -> None:
        """Look everything up anew from now on."""

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Return, for each key and a value held beside it, whether they agree; None: unknown."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What sources read from: the collections, the instant of the run, documents to come."""

    collections: Collections
    now: Any
    # Documents that an earlier step of the plan will insert: a plan must see them, too.
    planned: dict[str, list[dict[str, Any]]]
    comment: str | None = None
    # The transaction that all is read in, where values are found once more for a batch.
    session: ClientSession | None = None
    # By the real name of a collection, what earlier steps of the plan set in its documents, as
    # operations.unique_indexes describes it; None for what can't be told.
    rewrites: dict[str, list[Any]] = field(default_factory=dict)
    # By the real name, filters for the documents that earlier steps of the plan take away.
    leaving: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def leave(self, collection: str, selector: Mapping[str, Any]) -> None:
        """Note that an earlier step of the plan takes the documents of *selector* away."""
        self.leaving.setdefault(collection, []).append(dict(selector))

    def staying(self, collection: str, selector: Mapping[str, Any]) -> dict[str, Any]:
        """Return *selector* without what earlier steps of the plan take away."""
        gone = self.leaving.get(collection)
        return {"$and": [selector, {"$nor": list(gone)}]} if gone else dict(selector)


def build(spec: dict[str, Any], scope: Scope, *, owner: str | None) -> Source:
    """Return the source that *spec* describes.

    Args:
        spec: one of value, unique, reference, expression, first_of.
        scope: what it reads from.
        owner: the field that ``$owner`` stands for, where the document names one.
    """
    ((kind, body),) = spec.items()
    if kind == "value":
        return Constant(bind_now(body, scope.now))
    if kind == "expression":
        return Expression(_own(bind_now(body, scope.now), owner))
    if kind == "unique":
        return Unique(body, scope)
    if kind == "reference":
        return Reference(_own(body, owner), scope)
    return FirstOf([build(item, scope, owner=owner) for item in body])


class Constant:
    """The same value for every document."""

    def __init__(self, value: Any) -> None:
        self.judges = False
        self.inputs: list[Any] = []
        self._found = Found(value, "value")

    def forget(self) -> None:
        """Nothing is remembered."""

    def prepare(self, keys: Iterable[Key]) -> None:
        """Nothing to look up."""

    def resolve(self, key: Key) -> Resolution:
        """Return the value."""
        return self._found

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Any value may stand in place of a constant."""
        return [None] * len(pairs)


class Expression:
    """An aggregation expression over the document, evaluated by the server."""

    def __init__(self, expression: Any) -> None:
        self.judges = False
        self.inputs: list[Any] = [expression]

    def forget(self) -> None:
        """Nothing is remembered."""

    def prepare(self, keys: Iterable[Key]) -> None:
        """Nothing to look up."""

    def resolve(self, key: Key) -> Resolution:
        """Return what the server computed."""
        if key[0] is None:
            return Unresolved("the expression gives no value")
        return Found(key[0], "expression")

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Any value may stand in place of a computed one."""
        return [None] * len(pairs)


class Unique:
    """The one document that matches. None, or several, is no answer."""

    def __init__(self, spec: dict[str, Any], scope: Scope) -> None:
        self.judges = False
        self.inputs: list[Any] = []
        self._spec = spec
        self._scope = scope
        self._answer: Resolution | None = None

    def forget(self) -> None:
        """Look the document up anew."""
        self._answer = None

    def prepare(self, keys: Iterable[Key]) -> None:
        """Look the document up, once, and only if some document needs it."""
        if self._answer is None and any(True for _ in keys):
            self._answer = self._find()

    def resolve(self, key: Key) -> Resolution:
        """Return the value of the one document."""
        if self._answer is None:
            self._answer = self._find()
        return self._answer

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Any value may stand in place of the one for all."""
        return [None] * len(pairs)

    def _find(self) -> Resolution:
        name, take = self._spec["from"], self._spec["take"]
        where = bind_now(self._spec.get("where", {}), self._scope.now)
        found = list(
            self._scope.collections.get(name)
            .find(where, {take: 1}, comment=self._scope.comment, session=self._scope.session)
            .limit(_SAMPLES + 1)
        )
        if len(found) == 1:
            return Found(found[0].get(take), "unique")
        which = f" that matches {ejson.short(where)}" if where else ""
        if not found:
            return Unresolved(f"there is no document in {name}{which}")
        listed = ", ".join(ejson.short(item["_id"]) for item in found[:_SAMPLES])
        more = ", …" if len(found) > _SAMPLES else ""
        return Unresolved(f"{name} has more than one document{which}: {listed}{more}")


class Reference:
    """The document that another collection holds for this one, looked up batch by batch."""

    def __init__(self, spec: dict[str, Any], scope: Scope) -> None:
        self.judges = True
        self._spec = spec
        self._scope = scope
        self._within = spec.get("within")
        self._label = f"reference to {spec['from']}"
        self._targets = list(spec["match"])
        self._expressions = list(spec["match"].values())
        self.inputs: list[Any] = list(self._expressions)
        if self._within:
            self.inputs.append(self._within["value"])
        self._taken = [spec["take"]]
        if self._within:
            self._taken += [self._within["from"], self._within["to"]]
        self._cache: dict[bytes, list[dict[str, Any]]] = {}
        self._unfit: dict[bytes, bool] = {}
        # Of the documents to come, by their key, those that were looked at already.
        self._to_come: dict[bytes, list[dict[str, Any]]] = {}
        self._indexed = 0

    def forget(self) -> None:
        """Look everything up anew from now on."""
        self._cache.clear()
        self._unfit.clear()

    def prepare(self, keys: Iterable[Key]) -> None:
        """Read the documents for all keys that aren't known yet, in one query a thousand keys."""
        if len(self._cache) > _CACHE_LIMIT:
            self._cache.clear()
        wanted: dict[bytes, Key] = {}
        for key in keys:
            equal = key[: len(self._targets)]
            if None not in equal:
                token = _token(equal)
                if token not in self._cache:
                    wanted[token] = equal
        tokens = list(wanted)
        for start in range(0, len(tokens), 1000):
            self._fetch({token: wanted[token] for token in tokens[start : start + 1000]})

    def resolve(self, key: Key) -> Resolution:
        """Return the value of the one document that matches."""
        equal = key[: len(self._targets)]
        for expression, value in zip(self._expressions, equal, strict=True):
            if value is None:
                return Unresolved(f"{_label(expression)} is empty")
        if (token := _token(equal)) not in self._cache:
            self.prepare([key])
        matches = self._cache[token]
        outside = False
        if self._within:
            inside = [item for item in matches if self._contains(item, key[-1])]
            if self._within.get("otherwise") == "accept":
                outside = not inside
            else:
                matches = inside
        return self._one(matches, outside, equal)

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Compare each value with what there is to take for its key, whatever `where` says.

        Where the value names a document of the collection itself, that document is asked.
        """
        judged: list[Agreement | None] = []
        for some in chunks(pairs, 1000):
            known = self._owners(some) if self._spec["take"] == "_id" else self._takes(some)
            for key, value in some:
                equal = _token(key[: len(self._targets)])
                there = known.get(hashable(value) if self._spec["take"] == "_id" else equal)
                agrees = None
                if there:
                    agrees = (equal if self._spec["take"] == "_id" else hashable(value)) in there
                judged.append(None if agrees is None else Agreement(agrees, self._label))
        return judged

    def _owners(self, pairs: Sequence[tuple[Key, Any]]) -> dict[bytes, set[bytes]]:
        """Return, by the _id of the document that a value names, the key that it has itself."""
        values = list({hashable(value): value for _, value in pairs}.values())
        return {
            hashable(row["_id"]): {_token([row.get(target) for target in self._targets])}
            for row in self._all({"_id": {"$in": values}})
        }

    def _takes(self, pairs: Sequence[tuple[Key, Any]]) -> dict[bytes, set[bytes]]:
        """Return, by the key, what there is to take for it."""
        keys = {_token(key): key for key, _ in self._equals(pairs) if None not in key}
        if not keys:
            return {}
        found: dict[bytes, set[bytes]] = {}
        for row in self._all(self._selector(keys.values())):
            if (value := row.get(self._spec["take"])) not in (None, ""):
                token = _token([row.get(target) for target in self._targets])
                found.setdefault(token, set()).add(hashable(value))
        return found

    def _equals(self, pairs: Sequence[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
        return [(key[: len(self._targets)], value) for key, value in pairs]

    def _all(self, selector: dict[str, Any]) -> Cursor[dict[str, Any]]:
        return self._scope.collections.target(self._spec["from"]).find(
            selector,
            dict.fromkeys((*self._targets, self._spec["take"]), 1),
            comment=self._scope.comment,
            session=self._scope.session,
        )

    def _one(self, matches: list[dict[str, Any]], outside: bool, equal: Key) -> Resolution:
        name, take = self._spec["from"], self._spec["take"]
        if not matches and (typed := self._typed(equal)) is not None:
            return typed
        if not matches:
            return Unresolved(
                f"no document in {name} with {self._by()}{self._conditions()}",
                unclear=self._exists(equal),
            )
        if len(matches) > 1:
            return Unresolved(
                f"more than one document in {name} with {self._by()}{self._conditions()}",
                unclear=True,
            )
        value = matches[0].get(take)
        if value is None or value == "":
            return Unresolved(f"{name}.{take} is empty where {self._by()}")
        return Found(value, self._label, outside)

    def _typed(self, equal: Key) -> Unresolved | None:
        """Return what to say where the key is text and, as an id, would find the value."""
        if len(equal) != 1 or not isinstance(equal[0], str):
            return None
        for identity in compare.ids_in(equal[0]):
            found = self._cached([identity])
            if len(found) == 1 and found[0].get(self._spec["take"]) not in (None, ""):
                what = f"the id of a document in {self._spec['from']}, but as text"
                return Unresolved(f"{_label(self._expressions[0])} is {what}", is_text=True)
        return None

    def _cached(self, equal: Key) -> list[dict[str, Any]]:
        if (token := _token(equal)) not in self._cache:
            self._fetch({token: equal})
        return self._cache[token]

    def _exists(self, equal: Key) -> bool:
        """Return whether any document has the key, though none that fits."""
        if not self._within and not self._spec.get("where"):
            return False
        token = _token(equal)
        if token not in self._unfit:
            if len(self._unfit) > _CACHE_LIMIT:
                self._unfit.clear()
            self._unfit[token] = any(True for _ in self._all(self._selector([equal])).limit(1))
        return self._unfit[token]

    def _by(self) -> str:
        match = self._spec["match"]
        return ", ".join(f"{target} = {_label(value)}" for target, value in match.items())

    def _conditions(self) -> str:
        parts = []
        if self._spec.get("where"):
            where = bind_now(self._spec["where"], self._scope.now)
            parts.append(f"that matches {ejson.short(where, 160)}")
        if self._within and self._within.get("otherwise") != "accept":
            parts.append(
                f"whose {self._within['from']}…{self._within['to']} contains "
                f"{_label(self._within['value'])}"
            )
        return f" {' and '.join(parts)}" if parts else ""

    def _contains(self, document: dict[str, Any], instant: Any) -> bool:
        if self._within is None:
            raise AssertionError("only a source with a span asks where a date lies")
        start, end = document.get(self._within["from"]), document.get(self._within["to"])
        try:
            return bool(start <= instant <= end)
        except TypeError:  # not an instant, or a period without bounds: not a match
            return False

    def _fetch(self, wanted: dict[bytes, Key]) -> None:
        for token in wanted:
            self._cache[token] = []
        where = bind_now(self._spec.get("where", {}), self._scope.now)
        selector = self._selector(wanted.values())
        fields = sorted({*self._targets, *self._taken})
        for document in self._rows({"$and": [selector, where]}, wanted, fields):
            token = _token([document.get(target) for target in self._targets])
            if token in self._cache:
                # There are many of them: without what the token says already.
                self._cache[token].append({name: document.get(name) for name in self._taken})

    def _selector(self, keys: Iterable[Key]) -> dict[str, Any]:
        if len(self._targets) == 1:
            return {self._targets[0]: {"$in": [key[0] for key in keys]}}
        return {"$or": [dict(zip(self._targets, key, strict=True)) for key in keys]}

    def _rows(
        self, selector: dict[str, Any], wanted: dict[bytes, Key], fields: list[str]
    ) -> Iterable[dict[str, Any]]:
        name = self._spec["from"]
        collection = self._scope.collections.target(name)
        pipeline: list[dict[str, Any]] = [
            {"$match": selector},
            {"$project": dict.fromkeys(fields, 1)},
        ]
        planned = self._planned(name, wanted)
        yield from collection.aggregate(
            pipeline, comment=self._scope.comment, session=self._scope.session
        )
        if planned:
            # The server itself applies the filter to documents that don't exist yet.
            state = self._scope.collections.database
            yield from state.aggregate(
                [{"$documents": [{"$literal": document} for document in planned]}, *pipeline]
            )

    def _planned(self, name: str, wanted: Iterable[bytes]) -> list[dict[str, Any]]:
        """Return the documents to come that have one of the keys, each looked at once."""
        known = self._scope.planned.get(name, ())
        for document in known[self._indexed :]:
            token = _token([document.get(target) for target in self._targets])
            self._to_come.setdefault(token, []).append(document)
        self._indexed = len(known)
        return [document for token in wanted for document in self._to_come.get(token, ())]


class FirstOf:
    """The first source that finds a value."""

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources
        self.judges = any(source.judges for source in sources)
        self.inputs: list[Any] = []
        self._slices: list[slice] = []
        for source in sources:
            self._slices.append(slice(len(self.inputs), len(self.inputs) + len(source.inputs)))
            self.inputs += source.inputs

    def forget(self) -> None:
        """Look everything up anew from now on."""
        for source in self._sources:
            source.forget()

    def prepare(self, keys: Iterable[Key]) -> None:
        """Prepare each source with the keys that the ones before it left open."""
        pending = list(keys)
        for source, part in zip(self._sources, self._slices, strict=True):
            if not pending:
                return
            source.prepare([key[part] for key in pending])
            pending = [k for k in pending if isinstance(source.resolve(k[part]), Unresolved)]

    def resolve(self, key: Key) -> Resolution:
        """Return the first value found, or all the reasons."""
        reasons, unclear, is_text = [], False, False
        for source, part in zip(self._sources, self._slices, strict=True):
            answer = source.resolve(key[part])
            if isinstance(answer, Found):
                return answer
            reasons.append(answer.reason)
            unclear = unclear or answer.unclear
            is_text = is_text or answer.is_text
        return Unresolved("; and ".join(reasons), unclear, is_text)

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """A value that one of the sources agrees with is right; else the first to know counts."""
        columns = [
            source.judge([(key[part], value) for key, value in pairs])
            for source, part in zip(self._sources, self._slices, strict=True)
        ]
        judged = []
        for row in zip(*columns, strict=True):
            known = [item for item in row if item is not None]
            judged.append(next((item for item in known if item.agrees), next(iter(known), None)))
        return judged


def _own(tree: Any, owner: str | None) -> Any:
    """Return *tree* with ``$owner`` replaced by the owner field of the collection."""
    if owner is None:
        return tree
    if isinstance(tree, dict):
        return {key: _own(value, owner) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_own(value, owner) for value in tree]
    return f"${owner}" if tree == "$owner" else tree


def _label(expression: Any) -> str:
    """Return how a message names an expression: a path by its name."""
    if isinstance(expression, str) and expression.startswith("$"):
        return expression[1:]
    return ejson.short(expression)


def _token(key: Key) -> bytes:
    """Return a hashable form in which values of different types differ (1, 1.0, true)."""
    return bson.encode({"k": list(key)})


def check(spec: dict[str, Any], *, where: str, resolve: Callable[[str], Any]) -> None:
    """Check that every collection that *spec* names exists.

    Raises:
        DefinitionError: one doesn't.
    """
    ((kind, body),) = spec.items()
    if kind == "first_of":
        for item in body:
            check(item, where=where, resolve=resolve)
    elif kind in ("unique", "reference"):
        try:
            resolve(body["from"])
        except DefinitionError as error:
            raise DefinitionError(f"{where}: {error.message}", **error.details) from error
