"""Documents that become others as a whole, by an expression or by the team's own Python.

What is journalled are the top-level fields in which a batch's documents differ, and the order of
all their fields: so a rollback leaves alone what somebody wrote to any other field since.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from ...document.update_sources import Source
from ...document.value_sources import Found
from ...support.retry import is_about_a_document
from ...values import twice
from ...values.as_value import as_value
from ...values.compare import hashable
from ...values.elements import DOCUMENT, Element, elements
from ...values.raw import embedded
from .expressions import Compiled
from .reader import TWICE, Reader, Row, Trouble

PATH = "document"
_INT32 = struct.Struct("<i")
_OPTIONS: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    tz_aware=True, datetime_conversion=bson.DatetimeConversion.DATETIME_AUTO
)
COMPILED = Compiled(fields={}, faults=[], loses_fields=True, varies=False)


@dataclass(kw_only=True)
class WholeReader(Reader):
    """Reads documents of one collection as they are and as they would be.

    Args:
        expression: what gives a document, where the server computes it.
        function: what gives it, where the team's own Python does.
        policy: for a document that gives none.
    """

    expression: Any = None
    function: Source | None = None
    policy: str = "fail"

    def page(self, position: Mapping[str, Any], limit: int) -> list[Row]:
        """Return the next documents along ``_id``, at most *limit*."""
        try:
            return [self._row(raw) for raw in self._along(position, limit, self._wanted({}))]
        except OperationFailure as error:
            if not is_about_a_document(error):
                raise
        return self.of(
            [self._decoded(raw)["_id"] for raw in self._along(position, limit, {"_id": 1})]
        )

    def made_of(self, before: bytes) -> bytes | None:
        """Return what becomes of the document *before*, which need be in no collection."""
        made = RawBSONDocument(before)
        stages: list[dict[str, Any]] = [
            {"$documents": [{}]},
            {"$replaceWith": {"$literal": made}},
            {"$project": self._wanted({})},
        ]
        options = self.collection.database.codec_options.with_options(
            document_class=RawBSONDocument
        )
        database = self.collection.database.with_options(codec_options=options)
        (raw,) = database.aggregate(stages, comment=self.comment)
        row = self._row(bytes(raw.raw))
        return None if row.skipped else row.after

    def held(
        self, ids: Sequence[Any], session: ClientSession | None = None, *, names: bool = False
    ) -> dict[bytes, Row]:
        """Return documents as they are now, and as they would be, whether or not they match."""
        del names
        found = {}
        for raw in self._find({"_id": {"$in": list(ids)}}, self._wanted({}), session=session):
            row = self._row(raw)
            found[hashable(row.identity)] = row
        return found

    def _some(self, ids: Sequence[Any], session: ClientSession | None) -> list[Row]:
        selector = {"$and": [{"_id": {"$in": list(ids)}}, self.where]}
        return [self._row(raw) for raw in self._find(selector, self._wanted({}), session=session)]

    def _wanted(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        del variables
        wanted: dict[str, Any] = {"_id": 0, "i": as_value({"_id": "$_id"}), "b": "$$ROOT"}
        if self.function is None:
            wanted["a"] = as_value({"d": self.expression})
        return wanted

    def _row(
        self,
        raw: bytes,
        troubles: Mapping[bytes, list[Trouble]] | None = None,
        skipped: set[bytes] | None = None,
    ) -> Row:
        del troubles, skipped
        parts = embedded(raw)
        before = parts["b"]
        after, why, policy = *self._after(before, parts.get("a")), self.policy
        if (name := twice.within(before)) is not None:
            after, why, policy = None, f"its field {name!r} {TWICE}", "fail"
        if after is not None and (odd := _odd(before, after)):
            after = None
            why = (
                f"its field {odd!r} would change, and a name with a dot, or with $ in front, can't "
                "be put back alone; see docs/limits.md"
            )
        return Row(
            identity=self._decoded(parts["i"])["_id"],
            key=parts["i"],
            before=before,
            after=after if after is not None else before,
            troubles=(Trouble(path=PATH, policy=policy, why=why),) if why else (),
            names=tuple(one.name.decode() for one in elements(before)),
            skipped=bool(why),
        )

    def _after(self, before: bytes, computed: bytes | None) -> tuple[bytes | None, str]:
        """Return the document after, or why there is none."""
        if self.function is not None:
            (answer,) = self.function.find([[bson.decode(before, _OPTIONS)]])
            if not isinstance(answer, Found):
                return None, answer.reason
            if not isinstance(answer.value, Mapping):
                return None, f"the function gave no document, but {type(answer.value).__name__}"
            made = _as_before(before, answer.value)
        else:
            found = next(iter(elements(computed or b"\5\0\0\0\0")), None)
            if computed is None or found is None or found.kind != DOCUMENT:
                return None, "the expression gives no document"
            made = computed[found.start : found.stop]
        return _with_id(before, made)


def _odd(before: bytes, after: bytes) -> str:
    """Return a field that would be journalled, and that no statement can name."""
    old, new = _by_name(before), _by_name(after)
    found = [name for name in (*old, *new) if old.get(name) != new.get(name)]
    if not found and before != after:
        found = list(old)
    return next((name for name in found if "." in name or name.startswith("$")), "")


def cut(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Return the fields in which any of *rows* differ, and the rows with those alone."""
    fields: dict[str, None] = {}
    for row in rows:
        old, new = _by_name(row.before), _by_name(row.after)
        found = [name for name in (*old, *new) if old.get(name) != new.get(name)]
        # Where nothing differs but places, all of it has to be put back.
        fields |= dict.fromkeys(found or [name for name in old if name != "_id"])
    names = list(fields)
    return names, [
        replace(row, before=only(row.before, names), after=only(row.after, names)) for row in rows
    ]


def only(raw: bytes, names: Iterable[str]) -> bytes:
    """Return the fields *names* of *raw*, in the order of *names*."""
    there = _by_name(raw)
    return _document(there[name] for name in names if name in there)


def without(raw: bytes, names: Sequence[str]) -> bytes:
    """Return *raw* without some fields."""
    return _document(body for name, body in _by_name(raw).items() if name not in names)


def rebuilt(now: bytes, images: bytes, order: Sequence[str], fields: Sequence[str]) -> bytes:
    """Return a document as it was.

    Args:
        now: as it is.
        images: what its *fields* held.
        order: of all its fields.
        fields: those that were touched.
    """
    there = {name: body for name, body in _by_name(now).items() if name not in fields}
    there |= _by_name(images)
    named = [name for name in order if name in there]
    return _document(there[name] for name in (*named, *(n for n in there if n not in named)))


def _as_before(before: bytes, made: Mapping[str, Any]) -> bytes:
    """Return *made* as BSON; what is as it was keeps its very bytes, also where a driver has none.

    A type of old is read by the driver as another one, and would be written back as that.
    """
    raw = bson.encode(dict(made))
    decoded: dict[str, Any] = bson.decode(before, _OPTIONS)
    read = bson.encode(decoded)
    if read == before:
        return raw
    was, as_read = _by_name(before), _by_name(read)
    return _document(
        was[name] if as_read.get(name) == body and name in was else body
        for name, body in _by_name(raw).items()
    )


def _with_id(before: bytes, made: bytes) -> tuple[bytes | None, str]:
    """Return *made* with the ``_id`` that the document has, at its beginning."""
    parts, identity = _by_name(made), _by_name(before)["_id"]
    if parts.pop("_id", identity) != identity:
        return None, "it gives the document another _id; see change_id"
    return _document([identity, *parts.values()]), ""


def _by_name(raw: bytes) -> dict[str, bytes]:
    return {one.name.decode(): _body(raw, one) for one in elements(raw)}


def _body(raw: bytes, one: Element) -> bytes:
    return bytes([one.kind]) + one.name + b"\0" + raw[one.start : one.stop]


def _document(bodies: Iterable[bytes]) -> bytes:
    body = b"".join(bodies)
    return _INT32.pack(5 + len(body)) + body + b"\0"
