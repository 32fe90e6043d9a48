"""The JSON Schema of the operations on whole documents, collections and indexes, as data."""

from __future__ import annotations

from typing import Any

from .schema_update import LET

_NAME = {"type": "string", "minLength": 1, "pattern": r"^[^$\x00]+$"}


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


_SOME = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": _NAME,
}
_REFERENCED = {
    "type": "object",
    "additionalProperties": _NAME,
}
_KEYS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"enum": [1, -1, "hashed", "text", "2dsphere", "2d"]},
}
INDEX_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
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
_INDEX = _object(["keys"], {"keys": _KEYS, "name": _NAME, "options": INDEX_OPTIONS})
CREATE_INDEX = _object(
    ["collections", "keys"],
    {"collections": _SOME, "keys": _KEYS, "name": _NAME, "options": INDEX_OPTIONS},
)
# https://www.mongodb.com/docs/manual/reference/command/create/
_CREATE = [
    "capped",
    "size",
    "max",
    "validator",
    "validationLevel",
    "validationAction",
    "collation",
    "clusteredIndex",
    "timeseries",
    "expireAfterSeconds",
    "changeStreamPreAndPostImages",
    "storageEngine",
    "indexOptionDefaults",
    "encryptedFields",
    "idIndex",
    "autoIndexId",
    "flags",
]
_OPTIONS = {
    "type": "object",
    "propertyNames": {"enum": _CREATE},
    "dependentRequired": {"capped": ["size"]},
    "not": {"anyOf": [{"required": [key]} for key in ("viewOn", "pipeline")]},
    "description": "options of a collection; a view (viewOn, pipeline) holds no documents, and is "
    "made by a `command`",
}
OPERATIONS: dict[str, dict[str, Any]] = {
    "delete": _object(
        ["collections", "where"],
        {
            "collections": _SOME,
            "where": {"type": "object"},
            "let": LET,
            "only_if": {},
        },
    ),
    "insert": _object(
        ["into", "key", "documents"],
        {
            "into": _NAME,
            "key": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": _NAME,
            },
            "documents": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "minProperties": 1},
            },
            "referenced_by": _REFERENCED,
        },
    ),
    "drop_index": _object(
        ["collections", "name"],
        {"collections": _SOME, "name": _NAME},
    ),
    "replace_index": _object(
        ["collections", "keys"],
        {"collections": _SOME, "keys": _KEYS, "name": _NAME, "options": INDEX_OPTIONS},
    ),
    "hide_index": _object(
        ["collections", "name"],
        {
            "collections": _SOME,
            "name": _NAME,
            "hidden": {"type": "boolean"},
        },
    ),
    "create_collection": _object(
        ["name"],
        {
            "name": _NAME,
            "options": _OPTIONS,
            "indexes": {"type": "array", "items": _INDEX},
        },
    ),
    "rename_collection": _object(
        ["from", "to"],
        {"from": _NAME, "to": _NAME},
    ),
    "rebuild_collection": _object(
        ["name", "options"],
        {
            "name": _NAME,
            "options": {
                "type": "object",
                "minProperties": 1,
                "not": {
                    "anyOf": [
                        {"required": [key]}
                        for key in ("create", "viewOn", "pipeline", "timeseries")
                    ]
                },
                "description": "options of a collection that can be rebuilt, at least one; a view "
                "or a time series can't: make another one by `create_collection`",
            },
        },
    ),
    "drop_collection": _object(
        ["collections"],
        {"collections": _SOME, "only_if_empty": {"type": "boolean"}},
    ),
    "validate": _object(
        ["collections", "validator"],
        {
            "collections": _SOME,
            "validator": {"type": "object"},
            "level": {"enum": ["strict", "moderate", "off"]},
            "action": {"enum": ["error", "warn"]},
        },
    ),
}
