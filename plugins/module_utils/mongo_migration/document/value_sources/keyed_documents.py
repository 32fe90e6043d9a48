"""Documents of a collection by a key: looked up many at a time, and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...support.chunks import chunks
from ...values.compare import bind_now
from .contract import Key
from .keys import selector, token
from .scope import Scope
from .to_come import DocumentsToCome

# Keys that a batch brings are looked up together; this many results are remembered.
_CACHE_LIMIT = 100_000
_KEYS_AT_ONCE = 1000


class KeyedDocuments:
    """What a collection holds for each key, and what earlier steps of the plan will add.

    Args:
        spec: the reference's own words: ``from``, ``match`` and ``where``.
        taken: the fields that are read.
        scope: what is read from.
    """

    def __init__(self, spec: dict[str, Any], taken: Sequence[str], scope: Scope) -> None:
        self._name = spec["from"]
        self._fields = list(spec["match"])
        self._where = spec.get("where", {})
        self._taken = list(taken)
        self._scope = scope
        self._cache: dict[bytes, list[dict[str, Any]]] = {}
        self._whatever: dict[bytes, bool] = {}
        # Keys for which nothing fits: whether they are there at all is asked for many at once.
        self._unfit: dict[bytes, Key] = {}
        self._to_come: DocumentsToCome | None = None

    def forget(self) -> None:
        """Look everything up anew from now on."""
        self._cache.clear()
        self._whatever.clear()
        self._unfit.clear()

    def prepare(self, keys: Iterable[Key]) -> None:
        """Read the documents for all keys that aren't known yet, in one query a thousand keys."""
        if len(self._cache) > _CACHE_LIMIT:
            self._cache.clear()
        wanted: dict[bytes, Key] = {}
        for key in keys:
            if None not in key and (one := token(key)) not in self._cache:
                wanted[one] = key
        for some in chunks(wanted.items(), _KEYS_AT_ONCE):
            self._fetch(dict(some))

    def of(self, key: Key) -> list[dict[str, Any]]:
        """Return the documents that have *key* and fit."""
        if (one := token(key)) not in self._cache:
            self._fetch({one: key})
        return self._cache[one]

    def is_there(self, key: Key) -> bool:
        """Return whether any document has *key*, though none that fits."""
        one = token(key)
        if self._cache.get(one):
            return True
        if one not in self._whatever:
            if len(self._whatever) > _CACHE_LIMIT:
                self._whatever.clear()
            self._look_for({**self._unfit, one: key})
            self._unfit.clear()
        return self._whatever[one]

    def _look_for(self, wanted: dict[bytes, Key]) -> None:
        """Find out which of *wanted* any document has."""
        self._whatever |= dict.fromkeys(wanted, False)
        for some in chunks(wanted.values(), _KEYS_AT_ONCE):
            rows = self._scope.collections.target(self._name).aggregate(
                [
                    {"$match": selector(self._fields, some)},
                    {"$group": {"_id": [{"$ifNull": [f"${name}", None]} for name in self._fields]}},
                ],
                comment=self._scope.comment,
                session=self._scope.session,
            )
            # A list holds the key as well, and isn't it.
            self._whatever |= {
                one: True for row in rows if (one := token(row["_id"])) in self._whatever
            }

    def _fetch(self, wanted: dict[bytes, Key]) -> None:
        for one in wanted:
            self._cache[one] = []
        for document in self._rows(wanted):
            one = token([document.get(name) for name in self._fields])
            if one in self._cache:
                # There are many of them: without what the token says already.
                self._cache[one].append({name: document.get(name) for name in self._taken})
        if self._where and len(self._unfit) < _CACHE_LIMIT:
            self._unfit |= {
                one: key
                for one, key in wanted.items()
                if not self._cache[one] and one not in self._whatever
            }

    def _rows(self, wanted: dict[bytes, Key]) -> Iterable[dict[str, Any]]:
        where = bind_now(self._where, self._scope.now)
        fields = sorted({*self._fields, *self._taken})
        pipeline: list[dict[str, Any]] = [
            {"$match": {"$and": [selector(self._fields, wanted.values()), where]}},
            {"$project": dict.fromkeys(fields, 1)},
        ]
        planned = self._planned(wanted)
        yield from self._scope.collections.target(self._name).aggregate(
            pipeline, comment=self._scope.comment, session=self._scope.session
        )
        if planned:
            # The server itself applies the filter to documents that don't exist yet.
            yield from self._scope.collections.database.aggregate(
                [{"$documents": [{"$literal": document} for document in planned]}, *pipeline]
            )

    def _planned(self, wanted: Iterable[bytes]) -> list[dict[str, Any]]:
        if self._to_come is None and self._name in self._scope.planned:
            documents = self._scope.planned[self._name]
            self._to_come = DocumentsToCome(documents, self._fields)
        return self._to_come.with_keys(wanted) if self._to_come else []
