"""The JSON Schema of a migration document, as data."""

from __future__ import annotations

from typing import Any

from . import schema_shapes, schema_transfer, schema_update
from .other_tools import TOOLS

_NAME = {"type": "string", "minLength": 1, "pattern": r"^[^$\x00]+$"}
# A touched field is a top-level one: undoing `$set: {"a.b": …}` where `a` was absent
# would otherwise leave an empty `a` behind.
_FIELD = {
    "type": "string",
    "pattern": r"^(?!_id$)[^.$\x00][^.\x00]*$",
    "description": "a top-level field other than _id",
}
_FILTER = {"type": "object"}
# Of playbooks/repairs, as `repair=` names it.
_REPAIR = {"type": "string", "pattern": "^[a-z]+(_[a-z]+)*$"}
_TYPES = [
    "objectId", "string", "int", "long", "double", "decimal", "bool", "date", "object", "array",
    "binData",
]  # fmt: skip

_REFERENCE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from", "match", "take"],
    "properties": {
        "from": _NAME,
        "match": {"type": "object", "minProperties": 1},
        "where": _FILTER,
        "take": _NAME,
        "within": {
            "type": "object",
            "additionalProperties": False,
            "required": ["value", "from", "to"],
            "properties": {
                "value": {},
                "from": _NAME,
                "to": _NAME,
                "otherwise": {"enum": ["unresolved", "accept"]},
            },
        },
    },
}

_SOURCE: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {
        "value": {},
        "expression": {},
        "unique": {
            "type": "object",
            "additionalProperties": False,
            "required": ["from", "take"],
            "properties": {"from": _NAME, "where": _FILTER, "take": _NAME},
        },
        "reference": _REFERENCE,
        "first_of": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/source"}},
    },
}

_SET_FIELD: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["collections", "field", "value"],
    "properties": {
        "collections": {
            "oneOf": [
                {"type": "array", "minItems": 1, "uniqueItems": True, "items": _NAME},
                {"type": "object", "minProperties": 1, "additionalProperties": _NAME},
            ],
            "description": "a list of names, or a map from names to the field of the owner",
        },
        "field": _FIELD,
        "type": {"enum": _TYPES},
        "references": _NAME,
        "where": _FILTER,
        "value": {"$ref": "#/$defs/source"},
        "when_invalid": {"enum": ["replace", "keep", "fail"]},
        "when_contradicted": {"enum": ["fail", "replace", "skip"]},
        "when_unresolved": {"enum": ["fail", "skip"]},
        "when_unclear": {"enum": ["fail", "skip"]},
        "repair_text": _REPAIR,
        "repair_empty": {
            "type": "object",
            "additionalProperties": False,
            "required": ["repair", "field", "value", "references"],
            "properties": {
                "repair": _REPAIR,
                "field": _NAME,
                "value": {"$ref": "#/$defs/source"},
                "references": _NAME,
            },
        },
    },
}

_INPUT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["value", "type", "default"],
    "properties": {
        "value": {},
        "type": {"enum": ["integer", "timezone", "string"]},
        "minimum": {"type": "integer"},
        "maximum": {"type": "integer"},
        "default": {},
    },
}

_INSERT_FOR_EACH: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from", "into", "key", "document"],
    "properties": {
        "from": _NAME,
        "where": _FILTER,
        "pipeline": {"type": "array", "items": {"type": "object"}},
        "into": _NAME,
        "inputs": {"type": "object", "additionalProperties": _INPUT},
        "when_invalid": {"enum": ["fail", "default"]},
        "let": {"type": "object"},
        "for_each": {
            "type": "object",
            "additionalProperties": False,
            "required": ["as", "in"],
            "properties": {"as": {"type": "string", "pattern": "^[a-z][A-Za-z0-9_]*$"}, "in": {}},
        },
        "key": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _NAME},
        "not_overlapping": {
            "type": "object",
            "additionalProperties": False,
            "required": ["within", "from", "to"],
            "properties": {
                "within": {"type": "array", "minItems": 1, "items": _NAME},
                "from": _NAME,
                "to": _NAME,
                "containing": {},
                "boundaries": {},
                "when_gap": {"enum": ["fail", "fit", "leave"]},
                "named": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["field"],
                    "properties": {"field": _NAME, "timezone": {}},
                },
                "fitted": {"type": "object", "minProperties": 1},
            },
        },
        "referenced_by": {"type": "object", "additionalProperties": _NAME},
        "document": {"type": "object", "minProperties": 1},
    },
}

_MERGE_DUPLICATES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["in", "by", "keep", "referenced_by"],
    "properties": {
        "in": _NAME,
        "by": {
            "oneOf": [
                {"type": "array", "minItems": 1, "uniqueItems": True, "items": _NAME},
                {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_]*$"},
                },
            ],
            "description": "a list of fields, or a map of names to expressions",
        },
        "where": _FILTER,
        "keep": {
            "oneOf": [
                {"enum": ["most_referenced", "oldest", "newest"]},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["first_by"],
                    "properties": {
                        "first_by": {
                            "type": "object",
                            "minProperties": 1,
                            "additionalProperties": {"enum": [1, -1]},
                        }
                    },
                },
            ],
            "description": "most_referenced, oldest, newest or {first_by: {field: 1 or -1}}",
        },
        "fields": {"type": "object", "additionalProperties": {"enum": ["first", "union"]}},
        "referenced_by": {
            "type": "object",
            "additionalProperties": {
                "oneOf": [
                    _FIELD,
                    {"type": "array", "minItems": 1, "uniqueItems": True, "items": _FIELD},
                ],
                "description": "a top-level field, or a list of them",
            },
        },
        "overlapping": {
            "type": "object",
            "additionalProperties": False,
            "required": ["from", "to"],
            "properties": {
                "from": _NAME,
                "to": _NAME,
                "otherwise": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _NAME},
            },
        },
        "same": {"type": "array", "uniqueItems": True, "items": _NAME},
        "when_different": {"enum": ["fail", "skip", "merge"]},
    },
}

_ARGV: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "pattern": r"^[^\x00]+$"},
}

_COMMAND: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["argv", "timeout_seconds", "writes"],
    "properties": {
        "argv": _ARGV,
        "cwd": {"type": "string", "pattern": "^/", "description": "an absolute path"},
        "env": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "additionalProperties": {"type": "string"},
        },
        "secrets": {
            "type": "array",
            "uniqueItems": True,
            "items": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        },
        "timeout_seconds": {"type": "integer", "minimum": 1},
        "writes": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _NAME},
        "down": _ARGV,
        "rerun": {"type": "boolean"},
    },
}

# Every operation that a step can be, by its key.
OPERATIONS: dict[str, dict[str, Any]] = {
    "set_field": _SET_FIELD,
    "insert_for_each": _INSERT_FOR_EACH,
    "create_index": schema_shapes.CREATE_INDEX,
    "merge_duplicates": _MERGE_DUPLICATES,
    "command": _COMMAND,
    "update": schema_update.UPDATE,
    **schema_transfer.OPERATIONS,
    **schema_shapes.OPERATIONS,
}

_CHECK: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "oneOf": [{"required": [kind]} for kind in ("none", "count", "unique", "no_rows")],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "fix": {"type": "string"},
        "when": {"type": ["boolean", "string"]},
        "severity": {"enum": ["error", "warning"]},
        "repair": _REPAIR,
        "none": {
            "type": "object",
            "additionalProperties": False,
            "required": ["in", "where"],
            "properties": {"in": _NAME, "where": _FILTER},
        },
        "count": {
            "type": "object",
            "additionalProperties": False,
            "required": ["in"],
            "oneOf": [{"required": ["equals"]}, {"required": ["at_least"]}],
            "properties": {
                "in": _NAME,
                "where": _FILTER,
                "at_least": {"type": "integer", "minimum": 1},
                "equals": {
                    "oneOf": [
                        {"type": "integer", "minimum": 0},
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["in"],
                            "properties": {"in": _NAME, "where": _FILTER},
                        },
                    ]
                },
            },
        },
        "unique": {
            "type": "object",
            "additionalProperties": False,
            "required": ["in", "by"],
            "properties": {
                "in": _NAME,
                "by": {"type": "array", "minItems": 1, "items": _NAME},
                "where": _FILTER,
            },
        },
        "no_rows": {
            "type": "object",
            "additionalProperties": False,
            "required": ["in", "pipeline"],
            "properties": {
                "in": _NAME,
                "pipeline": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            },
        },
    },
}

_STEP: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "oneOf": [{"required": [kind]} for kind in OPERATIONS],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "when": {"type": ["boolean", "string"]},
        **OPERATIONS,
    },
}

VARIABLE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "description", "default"],
    "properties": {
        "type": {"enum": ["string", "integer", "number", "boolean", "object", "array"]},
        "description": {"type": "string", "minLength": 1},
        "default": {},
        "choices": {"type": "array", "minItems": 1},
    },
}

# The part that must be right before anything in the rest can be rendered.
HEADER: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["id", "name", "summary", "downtime", "steps"],
    "properties": {
        # A repair (playbooks/repairs) has an R, and can be needed more than once.
        "id": {"type": "string", "pattern": "^([0-9]{3,}|R[0-9]{2})$"},
        "name": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
        "summary": {"type": "string", "minLength": 1},
        "after": {
            "type": "array",
            "uniqueItems": True,
            # Of another tool: what adopt.yml has taken over.
            "items": {
                "type": "string",
                "pattern": "^([0-9]{3,}|(" + "|".join(TOOLS) + "):.+)$",
                "description": "an id such as 004, or a tool's name, a colon and what it calls it",
            },
        },
        "downtime": {"enum": ["none", "recommended", "required"]},
        # By default live_first, where every step can be done beside writers.
        "cutover": {"enum": ["live_first", "stopped"]},
        "variables": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
            "additionalProperties": VARIABLE,
        },
        # Findings of the lint that were decided on, each with the reason.
        "accept": {
            "type": "object",
            "propertyNames": {"pattern": "^M[0-9]{3}$"},
            "additionalProperties": {"type": "string", "minLength": 1},
        },
        "steps": {"type": "array", "minItems": 1},
    },
}

DOCUMENT: dict[str, Any] = {
    **HEADER,
    "title": "Migration document",
    "additionalProperties": False,
    "properties": {
        **HEADER["properties"],
        "preconditions": {"type": "array", "items": _CHECK},
        "steps": {"type": "array", "minItems": 1, "items": _STEP},
        "postconditions": {"type": "array", "items": _CHECK},
    },
    "$defs": {
        "source": _SOURCE,
        "update_source": schema_update.SOURCE,
        "each": schema_update.EACH,
    },
}
