"""Whether the server understands what a step says: asked of it without reading any document.

A filter or an expression with a mistake of its author fails for every document alike. Here it is
told once, with its place in the migration document and what the server says.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pymongo.errors import OperationFailure

from ..document import operators
from ..document.definition import Definition, Step
from ..document.value_sources import Scope
from ..support.retry import is_retryable
from ..values.compare import bind_now
from .base import Operation
from .bodies import Body
from .refusals import index_refusals
from .update.expressions import guarded

_UNAUTHORIZED = 13
_UNKNOWN = re.compile(r"Unrecognized expression '(\$\w+)'")


def refusals(step: Step, operation: type[Operation], scope: Scope) -> Iterator[str]:
    """Yield what the server refuses: the place in the document, and what it says."""
    for place, spec in operation.indexes(step.options):
        for said in index_refusals.refusals(scope.collections.database, spec):
            yield f"steps[{step.index}].{step.kind}{place}{said}"
    yield from _told_of(operation.bodies(step), scope)


def refused_checks(definition: Definition, scope: Scope) -> Iterator[str]:
    """Yield what the server refuses of pre- and postconditions."""
    for part in ("preconditions", "postconditions"):
        for index, spec in enumerate(getattr(definition, part)):
            yield from _told_of(_of_check(spec, f"{part}[{index}]"), scope)


def _told_of(told: Iterable[Body], scope: Scope) -> Iterator[str]:
    for place, kind, body, variables in told:
        if said := _refused(scope, kind, bind_now(body, scope.now), variables):
            yield f"{place}: the server refuses it: {said}"


def _of_check(spec: Mapping[str, Any], place: str) -> Iterator[Body]:
    for kind in ("none", "count", "unique", "no_rows"):
        body = spec.get(kind, {})
        if "where" in body:
            yield f"{place}.{kind}.where", "filter", body["where"], ()
        if "pipeline" in body:
            yield f"{place}.{kind}.pipeline", "pipeline", body["pipeline"], ()
        equals = body.get("equals")
        if isinstance(equals, Mapping) and "where" in equals:
            yield f"{place}.{kind}.equals.where", "filter", equals["where"], ()


def _refused(scope: Scope, kind: str, body: Any, variables: tuple[str, ...]) -> str:
    database = scope.collections.database
    nothing: dict[str, Any] = {"_id": {"$in": []}}
    try:
        if kind == "filter":
            database.command("explain", {"find": "_migrations", "filter": body})
        elif kind == "pipeline":
            stages = scope.collections.map_pipeline(body)
            list(database["_migrations"].aggregate([{"$match": nothing}, *stages]))
        else:
            # By the names of fields: a constant would be computed at once.
            named = {name: f"${name}" for name in variables}
            wanted = {"$let": {"vars": named, "in": [guarded(body)]}}
            list(database["_migrations"].find(nothing, {"x": wanted}))
    except OperationFailure as error:
        if is_retryable(error) or error.code == _UNAUTHORIZED:
            raise
        return _told(str(error).split(", full error:")[0])
    return ""


def _told(said: str) -> str:
    said = said.removeprefix("Invalid $project :: caused by :: ")
    if found := _UNKNOWN.search(said):
        near = difflib.get_close_matches(found[1], operators.EXPRESSIONS, n=1)
        said += f"; did you mean {near[0]}?" if near else ""
    return said
