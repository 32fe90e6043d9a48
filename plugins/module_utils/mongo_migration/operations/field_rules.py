"""What a ``set_field`` step says of its field: who lacks it, what they get, and when not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from ..document.value_sources import Found, Key, Resolution, Source, Unresolved
from ..values import compare, ejson
from ..values.compare import ABSENT
from .referents import Referents


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of the collections: its name in the document, itself, and where values come from."""

    name: str
    collection: Collection[dict[str, Any]]
    source: Source


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The options of a step, except for its collections."""

    field: str
    kind: str | None  # the BSON type that the value must have
    where: Mapping[str, Any]
    when_invalid: str
    when_contradicted: str
    when_unresolved: str

    @classmethod
    def of(cls, options: Mapping[str, Any], now: Any) -> Rules:
        """Return what *options*, those of the schema's ``set_field``, say at the instant *now*."""
        return cls(
            field=options["field"],
            kind=options.get("type") or ("objectId" if options.get("references") else None),
            where=compare.bind_now(options.get("where", {}), now),
            when_invalid=options.get("when_invalid", "replace"),
            when_contradicted=options.get("when_contradicted", "fail"),
            when_unresolved=options.get("when_unresolved", "fail"),
        )

    def candidates(self, referents: Referents) -> dict[str, Any]:
        """Return a filter for the documents that lack a value."""
        keep = self.when_invalid == "keep"
        mine = compare.candidate(self.field, self.kind, referents.ids, keep)
        return {"$and": [mine, self.where]} if self.where else mine

    def answer(self, source: Source, key: Key, referents: Referents) -> Resolution:
        """Return what *source* finds for *key*, or why it can't be written."""
        answer = source.resolve(key)
        if not isinstance(answer, Found):
            return answer
        if not referents.has(answer.value):
            return Unresolved(f"{answer.source} gives a value that isn't in {referents.name}")
        kind = compare.bson_type(answer.value)
        if self.kind is not None and kind != self.kind:
            return Unresolved(f"{answer.source} gives a value of type {kind}, not {self.kind}")
        return answer

    def objection(
        self, before: Any, answer: Resolution, referents: Referents
    ) -> tuple[str, str] | None:
        """Return the policy and the reason why a document can't just be written."""
        empty = before is ABSENT or before is None or before == ""
        if not empty and self.when_invalid == "fail":
            return "fail", f"its {self.field} is {ejson.short(before)}"
        if not isinstance(answer, Found):
            return self.when_unresolved, answer.reason
        if self.when_contradicted != "replace" and referents.names_another(before, answer.value):
            reason = f"its {self.field} names another one than {answer.source} gives"
            return self.when_contradicted, reason
        return None
