"""The ids that a field may hold: those of the collection that it refers to."""

from __future__ import annotations

from typing import Any

from ..document.value_sources import Scope
from ..values import compare
from ..values.compare import hashable

# As many ids as fit a query comfortably; beyond, dangling references aren't looked for.
MOST = 200_000


class Referents:
    """What exists in a collection, as of the step's beginning and whatever was found since.

    ``ids`` is None where no collection was declared, or where it has more than :data:`MOST`
    documents: then only the type of a value is judged.
    """

    def __init__(self, name: str | None, scope: Scope) -> None:
        self.name = name
        self._scope = scope
        self.ids = None if name is None else self._read(name)
        self._known = None if self.ids is None else set(map(hashable, self.ids))

    @property
    def too_many(self) -> bool:
        """Return whether there are too many to look for dangling references."""
        return self.name is not None and self.ids is None

    def has(self, value: Any) -> bool:
        """Return whether *value* exists, as far as can be told."""
        return self._known is None or hashable(value) in self._known

    def named_by(self, text: Any) -> Any:
        """Return the existing id for which *text* stands; None where it stands for none."""
        if self._known is None or not isinstance(text, str):
            return None
        return next((found for found in compare.ids_in(text) if self.has(found)), None)

    def names_another(self, text: Any, value: Any) -> bool:
        """Return whether *text*, held where an id belongs, is the id of another existing one."""
        other = self.named_by(text)
        return other is not None and not compare.same(other, value)

    def refresh(self, values: list[Any]) -> None:
        """Look again for those of *values* that weren't there when the step began."""
        if self.name is None or self.ids is None or self._known is None or not values:
            return
        collection = self._scope.collections.target(self.name)
        for item in collection.find(compare.one_of("_id", values), {"_id": 1}):
            if (token := hashable(item["_id"])) not in self._known:
                self._known.add(token)
                self.ids.append(item["_id"])

    def _read(self, name: str) -> list[Any] | None:
        found = self._scope.collections.target(name).find(
            {}, {"_id": 1}, comment=self._scope.comment
        )
        ids = [item["_id"] for item in found.limit(MOST + 1)]
        planned = [item["_id"] for item in self._scope.planned.get(name, ())]
        return None if len(ids) > MOST else ids + planned
