"""Candidates by what is to be written: a value is found once for all that are alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import bson

from ...document.value_sources import Found
from ...errors import PlanBlockedError
from ...values import compare, ejson
from ...values.compare import ABSENT
from ..field_rules import Rules, Target
from ..referents import Referents
from ..statements import Group
from .candidates import Page, Token

# At most this many bytes of answers are remembered: there can be one for each document, and a key
# can be as large as one. What Python itself needs for one is counted in.
_MOST_BYTES, _EACH = 32 << 20, 200


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all documents of a group share, and the same as bytes."""

    shared: Mapping[str, Any]
    key: bytes

    @classmethod
    def of(cls, value: Any, before: Any) -> _Shape:
        shared = {"value": value} if before is ABSENT else {"value": value, "before": before}
        return cls(shared, bson.encode(shared))

    def group(self) -> Group:
        return {**self.shared, "ids": []}


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """Documents that are to be written alike, and how many a policy skips."""

    groups: list[Group]
    skipped: int
    bytes: int  # of the groups' values


class Grouping:
    """Judges the candidates of one collection.

    Args:
        rules: what the step says of its field.
        target: the collection.
        referents: what values may name.
    """

    def __init__(self, rules: Rules, target: Target, referents: Referents) -> None:
        self._rules = rules
        self._target = target
        self._referents = referents
        # What candidates without any value get. There may be as many as there are owners: those
        # that get the same share the answer.
        self._settled: dict[Token, _Shape] = {}
        self._shapes: dict[bytes, _Shape] = {}
        # Of the page that was prepared: what exists, but isn't what belongs to its document.
        self._wrong: set[Token] = set()
        self._bytes = 0

    @property
    def settled(self) -> Container[Token]:
        """Return the tokens whose meaning isn't asked for any more."""
        return self._settled

    def forget(self) -> None:
        """Find values anew from now on: what they were taken from has changed."""
        self._settled.clear()
        self._shapes.clear()
        self._bytes = 0
        self._target.source.forget()

    def prepare(self, page: Page) -> None:
        """Look up at once what *page* needs."""
        # What a value names may have been created since the step began: an application that
        # already writes the field must never be overwritten.
        held = [meaning.get("before") for meaning in page.meanings.values()]
        self._referents.refresh([value for value in held if self._is_id(value)])
        self._target.source.prepare([meaning.get("key", []) for meaning in page.meanings.values()])
        self._wrong = self._contradicting(page)

    def _contradicting(self, page: Page) -> set[Token]:
        """Return the tokens of documents whose value exists, but isn't what belongs to them."""
        if self._rules.when_contradicted != "replace":
            return set()
        good = {t: m for t, m in page.meanings.items() if self._is_good(m.get("before"))}
        judged = self._target.source.judge([(m.get("key", []), m["before"]) for m in good.values()])
        return {
            token
            for token, found in zip(good, judged, strict=True)
            if found is not None and not found.agrees
        }

    def of(self, page: Page) -> Grouped:
        """Return the documents by (value to write, value before).

        Raises:
            PlanBlockedError: a policy says that a document like this ends the run.
        """
        groups: dict[bytes, Group] = {}
        skipped = 0
        unsettled: dict[Token, list[Any]] = defaultdict(list)
        for token, identity in zip(page.tokens, page.ids, strict=True):
            if (shape := self._settled.get(token)) is None:
                unsettled[token].append(identity)
                continue
            if (group := groups.get(shape.key)) is None:
                group = groups[shape.key] = shape.group()
            group["ids"].append(identity)
        for token, alike in unsettled.items():
            meaning = page.meaning(token)
            contradicts = token in self._wrong
            if self._is_good(meaning.get("before")) and not contradicts:
                continue
            if (shape := self._shape(meaning, alike[0], contradicts=contradicts)) is None:
                skipped += len(alike)
                continue
            self._remember(token, shape)
            groups.setdefault(shape.key, shape.group())["ids"] += alike
        return Grouped(groups=list(groups.values()), skipped=skipped, bytes=sum(map(len, groups)))

    def _is_good(self, before: Any) -> bool:
        """Return whether *before* names something that exists by now."""
        names = self._is_id(before) and self._referents.ids is not None
        return names and self._referents.has(before)

    def _is_id(self, value: Any) -> bool:
        """Return whether *value* is of the type that the field's ids have."""
        if value is None or self._referents.name is None:
            return False
        return compare.bson_type(value) == self._rules.kind

    def _shape(
        self, meaning: Mapping[str, Any], identity: Any, *, contradicts: bool
    ) -> _Shape | None:
        """Return what is to be written into candidates like *identity*; None leaves them alone."""
        before = meaning.get("before", ABSENT)
        answer = self._rules.answer(self._target.source, meaning.get("key", []), self._referents)
        if (
            why := self._rules.objection(before, answer, self._referents, contradicts=contradicts)
        ) is None:
            if not isinstance(answer, Found):
                raise AssertionError("what isn't found has a policy")
            return _Shape.of(answer.value, before)
        policy, reason = why
        if policy == "fail":
            raise PlanBlockedError(
                f"{self._target.name} {ejson.short(identity)} came or changed after the plan: "
                f"{reason}. Correct it, then run the same command again."
            )
        return None

    def _remember(self, token: Token, shape: _Shape) -> None:
        if "before" in shape.shared:
            return  # of these, each has to be looked at anew
        self._bytes += len(token) + len(shape.key) + _EACH
        if self._bytes > _MOST_BYTES:
            self._settled.clear()
            self._shapes.clear()
            self._bytes = 0
        self._settled[token] = self._shapes.setdefault(shape.key, shape)
