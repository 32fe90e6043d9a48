"""The JSON Schema of the operations on whole documents, collections and indexes, as data."""

from __future__ import annotations

from typing import Any

_NAME = {"type": "string", "minLength": 1, "pattern": r"^[^$\x00]+$"}
_FIELD = {
    "type": "string",
    "pattern": r"^(?!_id$)[^.$\x00][^.\x00]*$",
    "description": "a top-level field other than _id",
}
_EXPRESSION = {"description": "an expression of MongoDB's aggregation language"}


def _object(required: list[str], properties: dict[str, Any], about: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
        "description": about,
    }


def _about(rule: dict[str, Any], text: str) -> dict[str, Any]:
    return {**rule, "description": text}


_SOME = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": _NAME,
    "description": "names of collections",
}
_REFERENCED = {
    "type": "object",
    "additionalProperties": _NAME,
    "description": "what refers to these documents: collection to field; {} if nothing does",
}
_KEYS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"enum": [1, -1, "hashed", "text", "2dsphere", "2d"]},
    "description": "fields in their order, each with 1, -1, hashed, text, 2dsphere or 2d; $** is "
    "every field",
}
INDEX_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "description": "options of the server's createIndexes",
    "properties": {
        "unique": {"type": "boolean"},
        "sparse": {"type": "boolean"},
        "hidden": {"type": "boolean"},
        "expireAfterSeconds": {"type": "number", "minimum": 0},
        "partialFilterExpression": {"type": "object"},
        "collation": {"type": "object", "required": ["locale"]},
        "wildcardProjection": {"type": "object"},
        "weights": {"type": "object"},
        "default_language": {"type": "string"},
        "language_override": {"type": "string"},
        "textIndexVersion": {"type": "integer"},
        "2dsphereIndexVersion": {"type": "integer"},
        "bits": {"type": "integer", "minimum": 1, "maximum": 32},
        "min": {"type": "number"},
        "max": {"type": "number"},
        "storageEngine": {"type": "object"},
    },
}
_INDEX = _object(
    ["keys"], {"keys": _KEYS, "name": _NAME, "options": INDEX_OPTIONS}, "an index of the collection"
)
CREATE_INDEX = _object(
    ["collections", "keys"],
    {"collections": _SOME, "keys": _KEYS, "name": _NAME, "options": INDEX_OPTIONS},
    "builds an index on each of the collections, and waits until its build has finished",
)
_OPTIONS = {
    "type": "object",
    "description": "options of the server's create: validator, validationLevel, collation, capped, "
    "clusteredIndex, timeseries and the like",
    "not": {"anyOf": [{"required": [key]} for key in ("create", "viewOn", "pipeline")]},
}
_ADDED = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {"value": {}, "expression": _EXPRESSION},
    },
    "description": "fields that each document gets behind its own, by `value` or `expression`",
}

OPERATIONS: dict[str, dict[str, Any]] = {
    "delete": _object(
        ["collections", "where"],
        {
            "collections": _SOME,
            "where": _about({"type": "object"}, "a filter; {} is every document"),
        },
        "deletes documents; each is kept whole in the journal and comes back by a rollback",
    ),
    "insert": _object(
        ["into", "key", "documents"],
        {
            "into": _about(_NAME, "the collection"),
            "key": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": _NAME,
                "description": "fields by which a document that exists is found; it stays as it is",
            },
            "documents": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "minProperties": 1},
                "description": "the documents, in extended JSON",
            },
            "referenced_by": _REFERENCED,
        },
        "inserts fixed documents, where none of their key exists",
    ),
    "drop_index": _object(
        ["collections", "name"],
        {"collections": _SOME, "name": _about(_NAME, "the index's name")},
        "drops an index; a rollback builds that very one again",
    ),
    "replace_index": _object(
        ["collections", "keys"],
        {"collections": _SOME, "keys": _KEYS, "name": _NAME, "options": INDEX_OPTIONS},
        "drops the index of this name and builds this one in its place",
    ),
    "hide_index": _object(
        ["collections", "name"],
        {
            "collections": _SOME,
            "name": _about(_NAME, "the index's name"),
            "hidden": _about({"type": "boolean"}, "false shows it again; true by default"),
        },
        "hides an index from the query planner, or shows it",
    ),
    "create_collection": _object(
        ["name"],
        {
            "name": _about(_NAME, "the collection"),
            "options": _OPTIONS,
            "indexes": {"type": "array", "items": _INDEX, "description": "its indexes"},
        },
        "makes an empty collection with options, validator and indexes",
    ),
    "rename_collection": _object(
        ["from", "to"],
        {"from": _about(_NAME, "its name today"), "to": _about(_NAME, "its new name")},
        "renames a collection, with its indexes and its validator",
    ),
    "drop_collection": _object(
        ["collections"],
        {"collections": _SOME},
        "sets collections aside, out of the application's sight, until the way back is ended",
    ),
    "validate": _object(
        ["collections", "validator"],
        {
            "collections": _SOME,
            "validator": _about({"type": "object"}, "a filter or $jsonSchema; {} is no rule"),
            "level": {"enum": ["strict", "moderate", "off"], "description": "strict by default"},
            "action": {"enum": ["error", "warn"], "description": "error by default"},
        },
        "changes the rule by which the server checks what is written",
    ),
}
