"""The JSON Schema of the operations that carry documents elsewhere, as data."""

from __future__ import annotations

from typing import Any

from .schema_update import CHANGES, EACH_REF, LET, NAME, PATH, SOURCE_REF

_REFERENCED = {
    "type": "object",
    "additionalProperties": {
        "oneOf": [PATH, {"type": "array", "minItems": 1, "uniqueItems": True, "items": PATH}]
    },
}
_FAIL_OR_KEEP = {"enum": ["fail", "keep"]}

EXTRACT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from", "field", "into", "document"],
    "properties": {
        "from": NAME,
        "where": {"type": "object"},
        "field": PATH,
        "into": NAME,
        "document": {
            "description": "an expression that gives a document, such as $$this",
            "oneOf": [
                {"type": "object", "minProperties": 1},
                {"type": "string", "pattern": r"^\$"},
            ],
        },
        "leave": PATH,
        "when_unfit": _FAIL_OR_KEEP,
    },
}

MOVE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from", "into"],
    "properties": {
        "from": {
            "oneOf": [
                {"type": "array", "minItems": 1, "uniqueItems": True, "items": NAME},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["matching"],
                    "properties": {"matching": {"type": "string", "minLength": 1}},
                },
            ],
            "description": "a list of names, or {matching: a regular expression}",
        },
        "into": NAME,
        "where": {"type": "object"},
        "copy": {"type": "boolean"},
        "let": LET,
        "only_if": {},
        "id": SOURCE_REF,
        **CHANGES,
        "each": EACH_REF,
        "when_unfit": {"enum": ["fail", "keep", None]},
        "when_conflict": {"enum": ["fail", "old", "new"]},
        "when_exists": {"enum": ["fail", "skip"]},
    },
}

CHANGE_ID: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["in", "id", "referenced_by"],
    "properties": {
        "in": NAME,
        "where": {"type": "object"},
        "let": LET,
        "id": SOURCE_REF,
        **CHANGES,
        "referenced_by": _REFERENCED,
        "when_unfit": _FAIL_OR_KEEP,
    },
}

OPERATIONS = {"extract": EXTRACT, "move": MOVE, "change_id": CHANGE_ID}
