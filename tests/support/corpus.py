"""Migrations that teams really write: the data before and after, and the document for each.

A case in ``tests/corpus`` holds ``need``, ``before``, ``after``, ``indexes``, ``collections``,
``any`` and ``stops_on``; ``document`` is the text of the migration document, ``files`` what lies
beside it, and ``counts`` what the plan's totals must be. A case without a document can't be said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import yaml
from mongo_migration.document import definition
from mongo_migration.values import ejson
from pymongo import IndexModel
from pymongo.database import Database

FOLDER = Path(__file__).parents[1] / "corpus"
Db = Database[dict[str, Any]]

_TYPES = {"objectId": "objectId", "uuid": "binData"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One migration."""

    name: str
    need: str
    before: dict[str, list[dict[str, Any]]]
    after: dict[str, list[dict[str, Any]]]
    indexes: dict[str, Any] = field(default_factory=dict)
    collections: dict[str, Any] = field(default_factory=dict)
    any: dict[str, str] = field(default_factory=dict)
    stops_on: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    document: str = ""
    files: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    each_once: bool = True  # no document is written by two of its steps

    def load(self) -> definition.Definition:
        """Return the definition."""
        return definition.load(self.document, f"{self.name}.yml", **self._more())

    def _more(self) -> dict[str, Any]:
        return {"files": self.files} if self.files else {}


def cases() -> list[Case]:
    """Return the cases that have a document."""
    found = [read(path) for path in sorted(FOLDER.glob("*.yml"))]
    return [case for case in found if case.document]


def read(path: Path) -> Case:
    """Return the case in a file."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    plain = {key: raw.pop(key) for key in ("document", "files") if key in raw}
    return Case(name=path.stem, **plain, **ejson.from_plain(raw))


def fill(db: Db, case: Case, when: str, *, more: Mapping[str, Any] | None = None) -> None:
    """Make in an empty database what *case* holds ``before`` or ``after``, and *more*."""
    documents: dict[str, list[dict[str, Any]]] = getattr(case, when)
    for name in sorted({*documents, *(more or {})}):
        db.create_collection(name, **case.collections.get(name, {}).get(when, {}))
        if wanted := case.indexes.get(name, {}).get(when, []):
            db[name].create_indexes([_model(spec) for spec in wanted])
        rows = [*documents.get(name, []), *(more or {}).get(name, [])]
        if rows:
            db[name].insert_many(rows, bypass_document_validation=True)


def _model(spec: Mapping[str, Any]) -> IndexModel:
    options = {key: value for key, value in spec.items() if key != "key"}
    return IndexModel(list(spec["key"].items()), **options)


def shape(db: Db) -> dict[str, Any]:
    """Return indexes and options of every collection of the application, as the server has them."""
    found = {}
    for item in db.list_collections():
        name, options = item["name"], dict(item["options"])
        if name.startswith(("system.", "_migrations")):
            continue
        if not options.get("validator"):
            # The server keeps level and action without a rule; they have no effect.
            for key in ("validator", "validationLevel", "validationAction"):
                options.pop(key, None)
        found[name] = {"options": options, "indexes": dict(db[name].index_information())}
    return found


def contents(db: Db) -> dict[str, Counter[bytes]]:
    """Return the documents of every collection of the application, in any order."""
    return {
        name: Counter(bson.encode(row) for row in db[name].find())
        for name in db.list_collection_names()
        if not name.startswith(("system.", "_migrations"))
    }


def unforeseen(db: Db, case: Case) -> dict[str, Any]:
    """Return the values of *case* that can't be foreseen, as far as they are there."""
    found = {}
    for path in case.any:
        name, _, selector, field_ = _parts(path)
        row = db[name].find_one(selector)
        if row is not None and row.get(field_) is not None:
            found[path] = row[field_]
    return found


def assert_after(db: Db, wanted: Db, case: Case) -> None:
    """Fail unless *db* holds exactly what the case says, which *wanted* was filled with."""
    values = []
    for path, kind in case.any.items():
        name, _, selector, field_ = _parts(path)
        (row,) = db[name].find({**selector, field_: {"$type": _TYPES[kind]}})
        assert kind != "uuid" or (row[field_].subtype == 4 and row[field_].as_uuid().version == 4)
        values.append(bson.encode({"v": row[field_]}))
        if field_ == "_id":
            db[name].delete_one({"_id": row["_id"]})
            kept = {key: value for key, value in row.items() if key != "_id"}
            db[name].insert_one({"_id": str(selector), **kept})
            wanted[name].delete_many(selector)
            wanted[name].insert_one({"_id": str(selector), **kept_of(case, name, selector)})
        else:
            db[name].update_one({"_id": row["_id"]}, {"$unset": {field_: ""}})
    assert len(set(values)) == len(values)
    assert _readable(contents(db)) == _readable(contents(wanted))
    assert shape(db) == shape(wanted)


def kept_of(case: Case, name: str, selector: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one document of *case* after the migration that *selector* tells."""
    (row,) = [
        row
        for row in case.after[name]
        if all(row.get(key) == value for key, value in selector.items())
    ]
    return {key: value for key, value in row.items() if key != "_id"}


def _readable(found: Mapping[str, Counter[bytes]]) -> dict[str, list[str]]:
    return {
        name: sorted(ejson.canonical(list(bson.decode(raw).items())) for raw in rows.elements())
        for name, rows in sorted(found.items())
    }


def _parts(path: str) -> tuple[str, str, dict[str, Any], str]:
    """Return collection, text, filter and field of a path such as ``users[_id=1].publicId``."""
    found = re.fullmatch(r"(\w+)\[([^]]*)\]\.(\w+)", path)
    assert found, path
    name, text, field_ = found.groups()
    selector = dict(pair.split("=", 1) for pair in text.split(","))
    parsed = {key: int(value) if value.isdigit() else value for key, value in selector.items()}
    return name, text, parsed, field_


__all__ = ["Case", "assert_after", "cases", "fill", "shape", "unforeseen"]
