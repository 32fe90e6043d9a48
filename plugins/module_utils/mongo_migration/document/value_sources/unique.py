"""The one document of a collection that matches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...values import ejson
from ...values.compare import bind_now
from .contract import Agreement, Found, Key, Resolution, Unresolved
from .scope import Scope

_SAMPLES = 5


class Unique:
    """The one document that matches. None, or several, is not an answer."""

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
