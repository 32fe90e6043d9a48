"""The document that another collection holds for each one, by a key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...values import compare, ejson
from ...values.compare import bind_now
from .contract import Agreement, Found, Key, Resolution, Unresolved
from .judging import Judge
from .keyed_documents import KeyedDocuments
from .keys import label
from .scope import Scope


class Reference:
    """The document that another collection holds for this one, looked up batch by batch."""

    def __init__(self, spec: dict[str, Any], scope: Scope) -> None:
        self.judges = True
        self._spec = spec
        self._scope = scope
        self._within = spec.get("within")
        self._label = f"reference to {spec['from']}"
        self._expressions = list(spec["match"].values())
        self.inputs: list[Any] = list(self._expressions)
        taken = [spec["take"]]
        if self._within:
            self.inputs.append(self._within["value"])
            taken += [self._within["from"], self._within["to"]]
        self._documents = KeyedDocuments(spec, taken, scope)
        self._judge = Judge(spec, self._label, scope)

    def forget(self) -> None:
        """Look everything up anew from now on."""
        self._documents.forget()

    def prepare(self, keys: Iterable[Key]) -> None:
        """Read the documents for all keys that aren't known yet."""
        self._documents.prepare(self._equal(key) for key in keys)

    def resolve(self, key: Key) -> Resolution:
        """Return the value of the one document that matches."""
        equal = self._equal(key)
        for expression, value in zip(self._expressions, equal, strict=True):
            if value is None:
                return Unresolved(f"{label(expression)} is empty")
        matches = self._documents.of(equal)
        outside = False
        if self._within:
            inside = [item for item in matches if self._contains(item, key[-1])]
            if self._within.get("otherwise") == "accept":
                outside = not inside
            else:
                matches = inside
        return self._one(matches, outside, key)

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Compare each value with what there is to take for its key, whatever `where` says."""
        return self._judge.judge([(self._equal(key), value) for key, value in pairs])

    def _equal(self, key: Key) -> Key:
        """Return the part of *key* that must be equal: all but an instant."""
        return key[: len(self._expressions)]

    def _one(self, matches: list[dict[str, Any]], outside: bool, key: Key) -> Resolution:
        name, take, equal = self._spec["from"], self._spec["take"], self._equal(key)
        if not matches and (typed := self._typed(key)) is not None:
            return typed
        for expression, value in zip(self._expressions, equal, strict=True):
            if not matches and value == "":
                return Unresolved(f"{label(expression)} is empty")
        if not matches:
            return Unresolved(
                f"no document in {name} with {self._by()}{self._conditions()}",
                unclear=self._selects() and self._documents.is_there(equal),
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

    def _typed(self, key: Key) -> Unresolved | None:
        """Return what to say where the key is text and, as an id, would find the value."""
        equal = self._equal(key)
        if len(equal) != 1 or not isinstance(equal[0], str):
            return None
        for identity in compare.ids_in(equal[0]):
            found = self._documents.of([identity])
            if self._within and self._within.get("otherwise") != "accept":
                found = [item for item in found if self._contains(item, key[-1])]
            if len(found) == 1 and found[0].get(self._spec["take"]) not in (None, ""):
                what = f"the id of a document in {self._spec['from']}, but as text"
                return Unresolved(f"{label(self._expressions[0])} is {what}", is_text=True)
        return None

    def _selects(self) -> bool:
        """Return whether a document may have the key and still not fit."""
        return bool(self._within or self._spec.get("where"))

    def _by(self) -> str:
        match = self._spec["match"]
        return ", ".join(f"{target} = {label(value)}" for target, value in match.items())

    def _conditions(self) -> str:
        parts = []
        if self._spec.get("where"):
            where = bind_now(self._spec["where"], self._scope.now)
            parts.append(f"that matches {ejson.short(where, 160)}")
        if self._within and self._within.get("otherwise") != "accept":
            parts.append(
                f"whose {self._within['from']}…{self._within['to']} contains "
                f"{label(self._within['value'])}"
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
