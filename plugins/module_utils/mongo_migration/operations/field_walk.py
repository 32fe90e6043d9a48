"""The walk of a ``set_field`` step along one collection: read ahead, write, prove, go on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import bson
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from pymongo import ASCENDING
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from .. import ejson, matching
from ..digest import Digest
from ..errors import MigrationError, PlanBlockedError
from ..matching import ABSENT
from ..raw import embedded, raw_documents
from ..sources import Found, Source
from ..writer import StaleBatchError, Write, Writer
from . import statements
from .ahead import Ahead, Position
from .field_rules import Rules
from .referents import Referents

KIND = "set_field"

# Documents that writers add behind the walk are picked up by another one; this many in all.
_MOST_PASSES = 20
# What a batch rewrites is in the server's cache until it is committed.
_BATCH_BYTES = 64 << 20
# A journal entry is one document, of which MongoDB allows 16 MB.
_ENTRY_BYTES = 8 << 20
# What is proved batch by batch is written in small ones, but read so many documents at a time: a
# command costs the server as much as the reading of some hundred.
_PAGE = 1000
# A batch that changes under our eyes is read again; this often in a row.
_MOST_STALE = 50


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of the collections: its name in the document, itself, and where values come from."""

    name: str
    collection: Collection[dict[str, Any]]
    source: Source


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Candidates that were read, by the value that they get and the one that they had."""

    rows: list[dict[str, Any]]  # as they were read; kept for the proof alone
    groups: list[dict[str, Any]]
    skipped: int
    after: dict[str, Any]  # the position behind them
    rest: Digest | None  # of all else in these rows, where it was read

    @property
    def count(self) -> int:
        """Return how many documents are to be written."""
        return sum(len(group["ids"]) for group in self.groups)


class Walk:
    """Goes along one collection.

    Args:
        rules: what the step says of its field.
        step: its index.
        target: the collection.
        referents: what values may name.
        writer: writes the batches.
    """

    def __init__(
        self, rules: Rules, *, step: int, target: Target, referents: Referents, writer: Writer
    ) -> None:
        self._rules = rules
        self._step = step
        self._target = target
        self._referents = referents
        self._writer = writer
        self._most = _most_documents(target.collection)
        # Each batch has to prove itself where the whole collections won't be compared.
        compared = writer.settings.frozen and "baseline" in writer.run.document
        self._proves = writer.server.transactions and not compared

    def run(self, position: dict[str, Any]) -> None:
        """Go from *position* until no candidate is left."""
        writer = self._writer
        # A walk that is resumed has written before: it, too, looks behind itself at its end.
        written, stale = int("last" in position), 0
        with closing(Ahead(self._read, position)) as batches:
            while True:
                batch = batches.next()
                if batch is None:
                    # Writers may have added candidates behind the walk: look again from the start.
                    if writer.settings.frozen or not written or position["pass"] >= _MOST_PASSES:
                        return
                    position = self._next_pass(position)
                    written = 0
                    batches.restart(position)
                    continue
                if batch.count > writer.settings.batch_size:  # the throttle has made them smaller
                    batches.restart(position)
                    continue
                try:
                    self._write(batch)
                except StaleBatchError:
                    # Someone changed a document of the batch in the meantime. Read it again.
                    stale += 1
                    if stale > _MOST_STALE:
                        raise MigrationError(
                            f"{self._target.name}: the documents around "
                            f"{ejson.short(batch.after['last'])} change faster than they can be "
                            f"written ({stale} attempts). Stop the writers (maintenance.yml "
                            "-e state=on), then run the same command again."
                        ) from None
                    batches.restart(position, fresh=True)
                    continue
                stale = 0
                written += batch.count
                position = batch.after
                writer.meter.advance(
                    batch.count,
                    step=self._step,
                    kind=KIND,
                    collection=self._target.name,
                    batch=batch.count,
                )

    def _next_pass(self, position: dict[str, Any]) -> dict[str, Any]:
        start = {
            "step": self._step,
            "target": position["target"],
            "pass": position["pass"] + 1,
        }
        # What this pass skipped, the next one meets again: it counts it anew.
        self._writer.move(start, {"skipped": -position.get("skipped", 0)})
        return start

    def _read(self, position: Position, fresh: bool) -> list[_Batch]:
        """Read the next candidates and find their values; none where there are no more."""
        target, referents = self._target, self._referents
        size = min(self._most, self._writer.settings.batch_size)
        proving = self._proves and not fresh
        page = min(self._most, max(size, _PAGE)) if proving else size
        rows, rests = self._candidates(position, page, proving=proving)
        # What a value names may have been created since the step began: an application that
        # already writes the field must never be overwritten.
        referents.refresh([r["before"] for r in rows if isinstance(r.get("before"), ObjectId)])
        tokens = list(map(_token, rows))
        distinct = dict(zip(tokens, rows, strict=True))
        target.source.prepare([row.get("key", []) for row in distinct.values()])
        batches, start = [], 0
        while start < len(rows):
            some = _fitting(rows[start : start + size])
            end = start + len(some)
            groups, skipped = self._group(some, tokens[start:end])
            position = {**position, "last": some[-1]["_id"]}
            if skipped:
                position["skipped"] = position.get("skipped", 0) + skipped
            batches.append(
                _Batch(
                    rows=some if self._proves else [],
                    groups=groups,
                    skipped=skipped,
                    after=position,
                    rest=Digest.of(rests[start:end]) if proving else None,
                )
            )
            start = end
        return batches

    def _candidates(
        self, position: Position, limit: int, *, proving: bool
    ) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Return the next candidates along ``_id``; and, where *proving*, all else in each.

        Each has its present value as ``before``, unless it has none, and the ``key`` of its source,
        unless that takes none.
        """
        target, field = self._target, self._rules.field
        candidates = self._rules.candidates(self._referents)
        wanted: dict[str, Any] = {"_id": "$_id", "before": f"${field}"}
        if target.source.inputs:
            wanted["key"] = target.source.inputs
        projection = {**wanted, "_id": 1}
        if proving:
            rest = {"$unsetField": {"field": {"$literal": field}, "input": "$$ROOT"}}
            projection = {"_id": 0, "wanted": wanted, "rest": rest}

        def find(selector: dict[str, Any], minimum: dict[str, Any] | None = None) -> list[bytes]:
            return list(
                raw_documents(
                    target.collection.database,
                    target.collection.name,
                    filter={"$and": [candidates, selector]},
                    projection=projection,
                    hint={"_id": ASCENDING},
                    sort={"_id": ASCENDING},
                    minimum=minimum,
                    limit=limit,
                    batch_size=limit,
                    comment=self._writer.comment,
                )
            )

        if "last" not in position:
            found = find({})
        elif isinstance(position["last"], MaxKey):
            found = []  # nothing comes after it
        else:
            # An index bound, not a filter: `$gt` would stop at the end of one BSON type.
            last = {"_id": position["last"]}
            found = find({"_id": {"$ne": last["_id"]}}, last)
            if len(found) < limit:
                # A bound on one side reaches up to the greatest key of all, without that key.
                found += find({"_id": MaxKey()})
        rests: list[bytes] = []
        if proving:
            parts = list(map(embedded, found))
            found, rests = [part["wanted"] for part in parts], [part["rest"] for part in parts]
        rows = bson.decode_all(b"".join(found), target.collection.codec_options)
        return rows, rests

    def _group(
        self, rows: list[dict[str, Any]], tokens: list[bytes]
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the documents by (value to write, value before), and how many a policy skips."""
        target, referents = self._target, self._referents
        groups: dict[bytes, dict[str, Any]] = {}
        skipped = 0
        judged: dict[bytes, list[dict[str, Any]]] = {}
        for token, row in zip(tokens, rows, strict=True):
            judged.setdefault(token, []).append(row)
        for alike in judged.values():
            row = alike[0]
            before = row.get("before", ABSENT)
            if isinstance(before, ObjectId) and referents.ids is not None and referents.has(before):
                continue
            answer = self._rules.answer(target.source, row.get("key", []), referents)
            if (why := self._rules.objection(before, answer, referents)) is not None:
                policy, reason = why
                if policy == "fail":
                    raise PlanBlockedError(
                        f"{target.name} {ejson.short(row['_id'])} came or changed after the plan: "
                        f"{reason}. Correct it, then run the same command again."
                    )
                skipped += len(alike)
                continue
            assert isinstance(answer, Found)
            shape: dict[str, Any] = {"value": answer.value}
            if before is not ABSENT:
                shape["before"] = before
            group = groups.setdefault(bson.encode(shape), {**shape, "ids": []})
            group["ids"] += [item["_id"] for item in alike]
        return list(groups.values()), skipped

    def _write(self, batch: _Batch) -> None:
        if not batch.groups:
            self._writer.move(batch.after, {"skipped": batch.skipped})
            return
        entry = {
            "kind": KIND,
            "step": self._step,
            "collection": self._target.collection.name,
            "field": self._rules.field,
            "groups": batch.groups,
        }
        write = self._update(batch)
        if self._proves:
            write = self._proved(batch, write)
        self._writer.commit(entry, write, position=batch.after)

    def _update(self, batch: _Batch) -> Write:
        writes = statements.of(self._rules.field, batch.groups)
        collection, comment = self._target.collection, self._writer.comment

        def write(session: ClientSession | None) -> dict[str, int]:
            result = collection.bulk_write(writes, session=session, comment=comment)
            if result.matched_count != batch.count:
                if session is not None:
                    raise StaleBatchError
                self._amend(batch.groups)
            return {"modified": result.matched_count, "skipped": batch.skipped}

        return write

    def _proved(self, batch: _Batch, write: Write) -> Write:
        """Return *write* with the proof that it left the rest of each document as it was.

        With writers about, whole collections can't be compared; one batch can, in the snapshot
        of its own transaction. What the documents were is known from when they were read ahead:
        if that is true no more, the batch is read again, and once more in the transaction itself.
        """
        target, field, comment = self._target, self._rules.field, self._writer.comment
        collection = target.collection
        ids = [identity for group in batch.groups for identity in group["ids"]]
        ahead = batch.rest if batch.count == len(batch.rows) else None

        def refuse_if_moved(session: ClientSession) -> None:
            # The value was found for the owner that was read; it may be another one's by now.
            if not target.source.inputs:
                return
            keys = {matching.hashable(row["_id"]): row["key"] for row in batch.rows}
            for row in collection.find(
                {"_id": {"$in": ids}},
                {"key": target.source.inputs},
                session=session,
                comment=comment,
            ):
                if not matching.same(row["key"], keys[matching.hashable(row["_id"])]):
                    raise StaleBatchError

        def digest(session: ClientSession) -> Digest:
            return Digest.of(
                raw_documents(
                    collection.database,
                    collection.name,
                    filter={"_id": {"$in": ids}},
                    projection={field: 0},
                    batch_size=len(ids) + 1,
                    session=session,
                    comment=comment,
                )
            )

        def proved(session: ClientSession | None) -> dict[str, int]:
            assert session is not None  # without transactions, nothing is proved
            if (before := ahead) is None:
                refuse_if_moved(session)
                before = digest(session)
            counts = write(session)
            if digest(session) != before:
                if ahead is not None:  # most likely by somebody else, since it was read
                    raise StaleBatchError
                raise MigrationError(
                    f"{collection.name}: a batch changed more than {field}. It was not "
                    "committed. This should be impossible; keep the evidence and tell the "
                    "database admin."
                )
            return {**counts, "proved": len(ids)}

        return proved

    def _amend(self, groups: list[dict[str, Any]]) -> None:
        """Without a transaction the journal already says more than was done: correct it."""
        for group in groups:
            held = self._target.collection.find(
                {"_id": {"$in": group["ids"]}, **matching.holds(self._rules.field, group["value"])},
                {"_id": 1},
            )
            group["ids"] = [item["_id"] for item in held]
        self._writer.journal.amend(self._writer.seq + 1, groups=groups)


def _most_documents(collection: Collection[dict[str, Any]]) -> int:
    """Return how many documents of average size a batch may have."""
    stats = next(collection.aggregate([{"$collStats": {"storageStats": {}}}]))["storageStats"]
    return max(1, _BATCH_BYTES // max(1, int(stats.get("avgObjSize", 1))))


def _fitting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first of *rows*, as many as their values from before fit one journal entry."""
    size = 0
    for index, row in enumerate(rows):
        if "before" in row:
            size += len(bson.encode({"before": row["before"]}))
        if size > _ENTRY_BYTES and index:
            return rows[:index]
    return rows


def _token(row: dict[str, Any]) -> bytes:
    """Return what the judgement of *row* rests on: the value before and the source's key."""
    return bson.encode({**row, "_id": None}) if len(row) > 1 else b""
