"""What a plan counts of one collection, and shows of it."""

from __future__ import annotations

from typing import Any

import bson

from ...ledger.journal import LARGEST_ENTRY
from ...values import ejson
from ...values.elements import alone, elements
from .packing import compressed
from .reader import Row
from .whole import cut

SAMPLES = 5
_PREVIEWS = 2
# A preview is kept in the run: of larger documents, it shows a part.
_SHOWN_BYTES = 4096
_MOST_FIELDS = 50
_OPTIONS = ejson.CODEC.with_options(
    datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_AUTO
)


class Tally:
    """What a plan counts of one collection.

    Args:
        whole: rows are whole documents, of which the fields are shown that differ.
    """

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self.matched = 0
        self.changed = 0
        self.growth = 0  # in bytes, of the document that grows most
        self.troubles: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.samples: list[Any] = []
        self.too_large: list[Any] = []  # for the journal
        self.previews: list[dict[str, Any]] = []
        self.rows: list[Row] = []
        self._shown: dict[str, int] = {}

    def add(self, row: Row) -> None:
        """Count one document."""
        self.matched += 1
        note = ""
        for trouble in row.troubles:
            note = f"{trouble.path}: {trouble.why}"
            key = (trouble.path, trouble.policy, trouble.why)
            known = {"path": trouble.path, "policy": trouble.policy, "why": trouble.why}
            found = self.troubles.setdefault(key, {**known, "count": 0, "samples": []})
            found["count"] += 1
            if len(found["samples"]) < SAMPLES:
                found["samples"].append(row.identity)
        if row.changes:
            self.changed += 1
            held = len(row.key) + len(row.before)
            if held > LARGEST_ENTRY and len(compressed([row])) > LARGEST_ENTRY:
                self.too_large.append(row.identity)
            self.growth = max(self.growth, len(row.after) - len(row.before))
            if len(self.rows) < SAMPLES:
                self.samples.append(row.identity)
                self.rows.append(row)
        if not row.changes and not note:
            return
        kind = note or _kind(row)
        if self._shown.get(kind, 0) < _PREVIEWS:
            self._shown[kind] = self._shown.get(kind, 0) + 1
            before, after = (_shown(raw) for raw in self._cut(row))
            shown = {"_id": row.identity, "before": before, "after": after, "note": note}
            self.previews.append(shown)

    def _cut(self, row: Row) -> tuple[bytes, bytes]:
        """Return what is shown of a document before and after."""
        if self._whole:
            (row,) = cut([row])[1]
        return row.before, row.after


def _kind(row: Row) -> str:
    """Return what tells one kind of change from another: the types that become others."""
    types = [
        sorted((name, type(value).__name__) for name, value in _decoded(raw).items())
        for raw in (row.before, row.after)
    ]
    return str(types)


def _shown(raw: bytes) -> dict[str, Any]:
    if len(raw) <= _SHOWN_BYTES:
        return _decoded(raw)
    found: dict[str, Any] = {}
    for one in elements(raw):
        name, size = one.name.decode(), one.stop - one.start
        small = size <= _SHOWN_BYTES // 8 and len(found) < _MOST_FIELDS
        found[name] = _decoded(alone(raw, one, b"v"))["v"] if small else f"({size:,} bytes)"
        if len(found) > 2 * _MOST_FIELDS:
            break
    return found


def _decoded(raw: bytes) -> dict[str, Any]:
    return bson.decode(raw, _OPTIONS)
