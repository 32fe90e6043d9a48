"""The part of the schema that describes an ``update``."""

from __future__ import annotations

from typing import Any

NAME = {"type": "string", "minLength": 1, "pattern": r"^[^$\x00]+$"}
# Of fields, none of which begins with a dollar sign; _id is another document's business.
_PART = r"[^.$\x00][^.\x00]*"
PATH = {
    "type": "string",
    "pattern": rf"^(?!_id(\.|$)){_PART}(\.{_PART})*$",
    "description": "a path of names joined by dots, without $: elements of an array are changed "
    "by `each`, _id by `change_id`",
}
VARIABLE = {"pattern": "^[a-z][A-Za-z0-9_]*$"}
_EXPRESSION: dict[str, Any] = {}
SOURCE_REF = {"$ref": "#/$defs/update_source"}
_FILE = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.py$"}

_LOOKUP: dict[str, Any] = {
    "from": NAME,
    "match": {"type": "object", "minProperties": 1},
    "where": {"type": "object"},
    "take": {"oneOf": [NAME, {"type": "array", "minItems": 1, "items": NAME}]},
    "many": {"type": "boolean"},
    "otherwise": {},
}

# In which documents are compared with each other, and in what order.
_BY: dict[str, Any] = {
    "oneOf": [
        {"type": "array", "items": NAME},
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": VARIABLE,
            "additionalProperties": _EXPRESSION,
        },
    ]
}
_ORDER: dict[str, Any] = {
    "oneOf": [
        {"type": "array", "minItems": 1, "items": NAME},
        {"type": "object", "additionalProperties": {"enum": [1, -1]}},
    ]
}
_PYTHON: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file", "function"],
    "properties": {
        "file": _FILE,
        "function": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "inputs": {
            "oneOf": [
                {"type": "array", "minItems": 1},
                {"type": "object", "minProperties": 1, "propertyNames": VARIABLE},
            ],
            "description": "a list of expressions, or a map from arguments to expressions",
        },
    },
}

SOURCE: dict[str, Any] = {
    "type": "object",
    "description": "where the value comes from, such as {value: 1} or {expression: $name}",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {
        "value": {},
        "expression": _EXPRESSION,
        "map": {
            "type": "object",
            "additionalProperties": False,
            "required": ["cases"],
            "properties": {
                "input": _EXPRESSION,
                "cases": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["from", "to"],
                        "properties": {"from": {"type": "array", "minItems": 1}, "to": {}},
                    },
                },
                "keep": {"type": "array", "minItems": 1},
                "otherwise": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                    "properties": {"value": {}, "expression": _EXPRESSION},
                },
            },
        },
        "reference": {
            "type": "object",
            "additionalProperties": False,
            "required": ["from", "match", "take"],
            "properties": _LOOKUP,
        },
        "aggregate": {
            "type": "object",
            "additionalProperties": False,
            "required": ["from", "match", "pipeline", "take"],
            "properties": {
                **_LOOKUP,
                "pipeline": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                "key": NAME,
            },
        },
        "generate": {"enum": ["uuid", "objectId", "token", "now"]},
        "number": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "by": _BY,
                "order": _ORDER,
                "start": {"type": "integer"},
                "renumber": {"type": "boolean"},
            },
        },
        "unique_text": {
            "type": "object",
            "additionalProperties": False,
            "required": ["of"],
            "properties": {
                "of": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                    "properties": {"expression": _EXPRESSION, "python": _PYTHON},
                },
                "by": _BY,
                "order": _ORDER,
                "separator": {"type": "string"},
            },
        },
        "python": _PYTHON,
    },
}

LET: dict[str, Any] = {
    "type": "object",
    "propertyNames": VARIABLE,
    "additionalProperties": SOURCE_REF,
}

CHANGES: dict[str, Any] = {
    "rename": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": PATH,
        "additionalProperties": PATH,
    },
    "set": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": PATH,
        "additionalProperties": SOURCE_REF,
    },
    "unset": {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": PATH,
        "description": "a list of paths",
    },
}

EACH_REF = {"$ref": "#/$defs/each"}
# Of arrays, and of arrays within their elements.
EACH: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": PATH,
    "additionalProperties": {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {"remove": _EXPRESSION, **CHANGES, "each": EACH_REF},
    },
}

UPDATE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["collections"],
    "description": "one with `set`, `unset`, `rename` or `each`, or with `document` alone, beside "
    "`where` and `when_unfit`",
    "anyOf": [{"required": [key]} for key in ("set", "unset", "rename", "each", "document")],
    # A whole document, or parts of it.
    "not": {
        "required": ["document"],
        "anyOf": [
            {"required": [key]} for key in ("set", "unset", "rename", "each", "let", "only_if")
        ],
    },
    "properties": {
        "collections": {
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
        "where": {"type": "object"},
        "let": LET,
        "only_if": _EXPRESSION,
        **CHANGES,
        "document": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "expression": _EXPRESSION,
                "python": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["file", "function"],
                    "properties": {
                        "file": _FILE,
                        "function": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
                    },
                },
            },
        },
        "each": EACH_REF,
        "when_unfit": {
            "description": "fail, keep or null, or a map from paths to one of them",
            "oneOf": [
                {"enum": ["fail", "keep", None]},
                {"type": "object", "additionalProperties": {"enum": ["fail", "keep", None]}},
            ],
        },
        "when_conflict": {"enum": ["fail", "keep", "old", "new"]},
    },
}
