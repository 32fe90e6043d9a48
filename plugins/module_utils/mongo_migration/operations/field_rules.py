"""What a ``set_field`` step says of its field: who lacks it, what they get, and when not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ..document import definition
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
    # The same source, read in a transaction and with nothing remembered.
    anew: Callable[[ClientSession], Source]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The options of a step, except for its collections."""

    field: str
    kind: str | None  # the BSON type that the value must have
    where: Mapping[str, Any]
    when_invalid: str
    when_contradicted: str
    when_unresolved: str
    when_unclear: str  # of several documents to take the value from, or where none of them fits

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
            when_unclear=options.get("when_unclear", options.get("when_unresolved", "fail")),
        )

    def reads_itself(self, source: Source) -> bool:
        """Return whether *source* finds the value in what the field held before."""
        return self.field.partition(".")[0] in definition.fields_in(source.inputs)

    def candidates(self, referents: Referents, also: Sequence[Any] = ()) -> dict[str, Any]:
        """Return a filter for the documents that lack a value, or hold one of *also*."""
        keep = self.when_invalid == "keep"
        mine = compare.candidate(self.field, self.kind, referents.ids, keep)
        if also:
            mine = {"$or": [mine, {self.field: {"$in": list(also)}}]}
        return {"$and": [mine, self.where]} if self.where else mine

    def others(self, referents: Referents) -> dict[str, Any]:
        """Return a filter for the documents whose value is of the right kind."""
        lacking = compare.candidate(self.field, self.kind, referents.ids, keep_invalid=False)
        mine = {"$nor": [lacking]}
        return {"$and": [mine, self.where]} if self.where else mine

    def answer(self, source: Source, key: Key, referents: Referents) -> Resolution:
        """Return what *source* finds for *key*, or why it can't be written."""
        answer = source.resolve(key)
        if not isinstance(answer, Found):
            return answer
        if self._counts_as_missing(answer.value):
            held = ejson.short(answer.value)
            return Unresolved(f"{answer.source} gives {held}, which itself counts as missing")
        if not referents.has(answer.value):
            if referents.named_by(answer.value) is not None:
                what = f"the id of a document in {referents.name}, but as text"
                return Unresolved(f"{answer.source} gives {what}", is_text=True)
            return Unresolved(f"{answer.source} gives a value that isn't in {referents.name}")
        kind = compare.bson_type(answer.value)
        if self.kind is not None and kind != self.kind:
            return Unresolved(f"{answer.source} gives a value of type {kind}, not {self.kind}")
        return answer

    def _counts_as_missing(self, value: Any) -> bool:
        """Return whether a document with *value* would be a candidate again."""
        if value == "" and isinstance(value, str):
            return not (self.kind == "string" and self.when_invalid == "keep")
        return value is None

    def policy(self, answer: Unresolved) -> str:
        """Return the name of the policy for documents that get no value."""
        return "unclear" if answer.unclear else "unresolved"

    def contradicts(self, source: str) -> str:
        """Return the words for a value that exists, but isn't what *source* gives."""
        return f"{self.field} exists, but isn't what {source} gives"

    def contradicts_as_text(self, source: str) -> str:
        """Return the words for the id of another one than *source* gives, held as text."""
        return f"{self.field} is, as text, the id of another one than {source} gives"

    def objection(
        self, before: Any, answer: Resolution, referents: Referents, *, contradicts: bool = False
    ) -> tuple[str, str] | None:
        """Return the policy and the reason why a document can't just be written.

        Args:
            before: what it holds.
            answer: what it should hold.
            referents: what a value may name.
            contradicts: what it holds exists, but isn't what belongs to it.
        """
        empty = before is ABSENT or before is None or before == ""
        if compare.is_encrypted(before):
            return "fail", f"its {self.field} is encrypted on the client"
        if not empty and not contradicts and self.when_invalid == "fail":
            return "fail", f"its {self.field} is {ejson.short(before)}"
        if not isinstance(answer, Found):
            return (self.when_unclear if answer.unclear else self.when_unresolved), answer.reason
        if self.when_contradicted != "replace" and referents.names_another(before, answer.value):
            reason = f"its {self.field} names another one than {answer.source} gives"
            return self.when_contradicted, reason
        return None
