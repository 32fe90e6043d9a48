"""Whether a value that a document holds already is the one that its reference gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.cursor import Cursor

from ...support.chunks import chunks
from ...values.compare import hashable, one_of
from .contract import Agreement, Key
from .keys import selector, token
from .scope import Scope

_PAIRS_AT_ONCE = 1000


class Judge:
    """Compares values with what there is to take for their key, whatever ``where`` says.

    Where the value names a document of the collection itself, that document is asked.
    """

    def __init__(self, spec: dict[str, Any], label: str, scope: Scope) -> None:
        self._name = spec["from"]
        self._fields = list(spec["match"])
        self._take = spec["take"]
        self._label = label
        self._scope = scope

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Return, for each key and a value held beside it, whether they agree; None: unknown."""
        by_id = self._take == "_id"
        judged: list[Agreement | None] = []
        for some in chunks(pairs, _PAIRS_AT_ONCE):
            known = self._owners(some) if by_id else self._takes(some)
            for key, value in some:
                equal, held = token(key), hashable(value)
                there = known.get(held if by_id else equal)
                agrees = (equal if by_id else held) in there if there else None
                judged.append(None if agrees is None else Agreement(agrees, self._label))
        return judged

    def _owners(self, pairs: Sequence[tuple[Key, Any]]) -> dict[bytes, set[bytes]]:
        """Return, by the _id of the document that a value names, the key that it has itself."""
        values = list({hashable(value): value for _, value in pairs}.values())
        return {hashable(row["_id"]): {self._key(row)} for row in self._all(one_of("_id", values))}

    def _takes(self, pairs: Sequence[tuple[Key, Any]]) -> dict[bytes, set[bytes]]:
        """Return, by the key, what there is to take for it."""
        keys = {token(key): key for key, _ in pairs if None not in key}
        found: dict[bytes, set[bytes]] = {}
        for row in self._all(selector(self._fields, keys.values())) if keys else ():
            if (value := row.get(self._take)) not in (None, ""):
                found.setdefault(self._key(row), set()).add(hashable(value))
        return found

    def _key(self, row: dict[str, Any]) -> bytes:
        return token([row.get(name) for name in self._fields])

    def _all(self, wanted: dict[str, Any]) -> Cursor[dict[str, Any]]:
        return self._scope.collections.target(self._name).find(
            wanted,
            dict.fromkeys((*self._fields, self._take), 1),
            comment=self._scope.comment,
            session=self._scope.session,
        )
