"""What is wrong with a document that the schema refuses: one line, with path and fix."""

from __future__ import annotations

import difflib
from typing import Any

import jsonschema


def explain(error: jsonschema.ValidationError) -> str:
    """Return one line that names the path and what must be there."""
    # Of a oneOf, the deepest error in the branch that fits best is what helps.
    best = jsonschema.exceptions.best_match([error])
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in best.absolute_path
    )
    where = path.lstrip(".") or "top level"
    if where == "id" and best.validator == "type":
        return (
            f'id: write the number in quotes, such as "004"; without them it is {best.instance!r}'
        )
    if best.instance is None and best.validator == "type":
        return f"{where}: nothing stands behind it"
    return f"{where}: {_unfit(best, where)}"


def _unfit(best: Any, where: str) -> str:
    described: str | None = best.schema.get("description")
    if best.validator == "additionalProperties":
        return _unknown_key(best)
    if best.validator == "required":
        return _missing_key(best, where)
    if described and best.validator in ("not", "anyOf"):
        return f"must be {described}"
    if described and best.validator in ("pattern", "oneOf", "type", "minProperties"):
        return f"{best.instance!r} must be {described}"
    if best.validator == "oneOf" and where.startswith(("steps", "pre", "post")):
        choices = [item["required"][0] for item in best.schema["oneOf"] if "required" in item]
        if choices:
            return f"must have exactly one of {', '.join(choices)}"
    return str(best.message)


def _missing_key(error: Any, where: str) -> str:
    """Return which key is missing, and what stands there in its place."""
    said = str(error.message).replace("is a required property", "is missing")
    # Further down, the key that stands there is refused as unknown, which says it already.
    if where == "top level":
        unknown = [key for key in error.instance if key not in error.schema.get("properties", {})]
        missing = next((key for key in error.schema["required"] if f"'{key}'" in said), "")
        if near := difflib.get_close_matches(missing, unknown, n=1):
            said += f"; is '{near[0]}' meant for it?"
    return said


def _unknown_key(error: Any) -> str:
    """Return which keys aren't known, what may have been meant, and what is known."""
    known = list(error.schema.get("properties", {}))
    unknown = [name for name in error.instance if name not in known]
    said = [f"unknown key '{name}'" for name in unknown]
    for index, name in enumerate(unknown):
        if near := difflib.get_close_matches(name, known, n=1):
            said[index] += f"; did you mean '{near[0]}'?"
        elif name.startswith("$") and "expression" in known:
            said[index] += f": an operator stands below expression: {{expression: {{{name}: …}}}}"
    if all("did you mean" in one for one in said):
        return ", ".join(said)
    return f"{', '.join(said)}; known are {', '.join(known)}"
