"""What the server would refuse of the documents that an update makes, found beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymongo.errors import OperationFailure

from ...document.value_sources import Scope
from ...support.chunks import chunks
from ...support.retry import is_about_a_document
from ...values import edits
from ...values.compare import hashable
from ...values.raw import raw_documents
from .. import futures
from ..base import Plan, problem
from ..futures import Rewrite
from ..refusals import journal_room, unique_indexes
from ..refusals.validators import MOST_BYTES, Refusal, Validator
from .reader import Reader, Row
from .whole import WholeReader

_PAGE = 1000
_SAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """Looks at the documents of one collection as an update makes them.

    Args:
        reader: of the documents that match.
        scope: of the plan, which tells later steps what this one does.
        step: its index.
        name: the document's name of the collection.
    """

    reader: Reader
    scope: Scope
    step: int
    name: str

    def tell(self, plan: Plan, *, growth: int, large: Sequence[Any]) -> None:
        """Add to *plan* what the server would refuse.

        Args:
            plan: of the step.
            growth: by how many bytes a document grows at most.
            large: ids of documents for which the journal has no room.
        """
        journal_room.tell(plan, large, step=self.step, name=self.name)
        rewrite = self._rewrite()
        self.scope.rewrites.setdefault(self.reader.collection.name, []).append(rewrite)
        self._add(
            plan,
            self._too_large(growth) if growth > 0 else Refusal(count=0, samples=[]),
            what="these documents would be larger than MongoDB's 16 MB",
            policy="document size",
            fix="make these documents smaller, or leave them out with `where`",
        )
        if validator := Validator(self.reader.collection, self.scope):
            self._add(
                plan,
                self._refused(validator, rewrite),
                what="the collection's validator refuses these documents as they would be",
                policy="validator",
                fix="change the validator (a `validate` step before this one), or correct these "
                "documents",
            )
        for spec in unique_indexes.of(self.reader.collection):
            if rewrite.concerns(unique_indexes.fields_of(spec)):
                unique_indexes.tell(
                    plan,
                    self.scope,
                    spec,
                    step=self.step,
                    name=self.name,
                    collection=self.reader.collection,
                )

    def _add(self, plan: Plan, refusal: Refusal, **said: str) -> None:
        if refusal.count:
            plan.problems.append(
                problem(
                    step=self.step,
                    collection=self.name,
                    count=refusal.count,
                    samples=refusal.samples,
                    **said,
                )
            )

    def _rewrite(self) -> Rewrite:
        whole = isinstance(self.reader, WholeReader)
        return Rewrite(
            selector=self.reader.where,
            fields=None if whole else frozenset(self.reader.compiled.fields),
            stages=self._stages(),
            read=self._becoming,
        )

    def _stages(self) -> list[dict[str, Any]] | None:
        """Return what makes the documents, where the server can."""
        reader = self.reader
        if isinstance(reader, WholeReader):
            if reader.function is not None:
                return None
            same = {"_id": "$_id"}
            return [{"$replaceWith": {"$mergeObjects": [reader.expression, same]}}]
        if reader.sources or reader.compiled.varies or reader.only_if is not None:
            return None
        return [{"$set": reader.compiled.fields}]

    def _becoming(self, changed: bool) -> Iterator[bytes]:
        """Yield documents as they will be; those that nothing is right for stay as they are."""
        reader = replace(self.reader, whole=True)
        position: dict[str, Any] = {}
        while rows := reader.page(position, _PAGE):
            position = {"last": rows[-1].identity}
            stay = [row.identity for row in rows if not row.changes]
            yield from (self._made(row) for row in rows if row.changes)
            if not changed:
                yield from self._now(stay)

    def _made(self, row: Row) -> bytes:
        if isinstance(self.reader, WholeReader):
            return row.after
        return edits.merged(row.document, set(self.reader.compiled.fields), row.after)

    def _now(self, ids: Iterable[Any]) -> Iterator[bytes]:
        for some in chunks(ids, _PAGE):
            yield from raw_documents(
                self.reader.collection.database,
                self.reader.collection.name,
                filter={"_id": {"$in": some}},
                comment=self.scope.comment,
            )

    def _too_large(self, growth: int) -> Refusal:
        """Return the documents that have no room for what they get: few are near the limit."""
        size = {"$bsonSize": "$$ROOT"}
        large = self.reader.collection.aggregate(
            [
                {"$match": {"$expr": {"$gt": [size, MOST_BYTES - growth]}}},
                {"$project": {"size": size}},
            ],
            comment=self.scope.comment,
        )
        found = []
        for some in chunks(large, 100):
            sizes = [(row["_id"], row["size"]) for row in some]
            for identity, before in sizes:
                for row in self.reader.of([identity]):
                    if row.changes and before + len(row.after) - len(row.before) > MOST_BYTES:
                        found.append(identity)
        return Refusal(count=len(found), samples=found[:_SAMPLES])

    def _refused(self, validator: Validator, rewrite: Rewrite) -> Refusal:
        if rewrite.stages is not None:
            try:
                return validator.refuses_changes(rewrite.selector, rewrite.stages)
            except OperationFailure as error:
                if not is_about_a_document(error):
                    raise
        ids = [
            row["_id"]
            for row in futures.through(
                self.reader.collection.database,
                self._becoming(True),
                [{"$match": validator.violated}, {"$project": {"_id": 1}}],
                comment=self.scope.comment,
            )
        ]
        exempt = validator.exempt(ids)
        left = [one for one in ids if hashable(one) not in exempt]
        return Refusal(count=len(left), samples=left[:_SAMPLES])


__all__ = ["Foresight"]
