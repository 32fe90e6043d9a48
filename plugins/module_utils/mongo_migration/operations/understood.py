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

from ..document import operators, reads
from ..document.definition import Definition, Step
from ..document.value_sources import Scope
from ..support.retry import is_retryable
from ..values.compare import bind_now
from .base import Operation
from .refusals import index_refusals
from .update.expressions import guarded

_UNAUTHORIZED = 13
_UNKNOWN = re.compile(r"Unrecognized expression '(\$\w+)'")
Item = tuple[str, str, Any, tuple[str, ...]]


def refusals(step: Step, operation: type[Operation], scope: Scope) -> Iterator[str]:
    """Yield what the server refuses: the place in the document, and what it says."""
    for place, spec in operation.indexes(step.options):
        for said in index_refusals.refusals(scope.collections.database, spec):
            yield f"steps[{step.index}].{step.kind}{place}{said}"
    if step.kind == "insert_for_each":
        items = _of_insert_for_each(step)
    elif step.kind == "set_field":
        items = _of_set_field(step)
    elif operation.VARIABLES is None:
        return
    else:
        items = _items(step, operation.VARIABLES)
    yield from _told_of(items, scope)


def refused_checks(definition: Definition, scope: Scope) -> Iterator[str]:
    """Yield what the server refuses of pre- and postconditions."""
    for part in ("preconditions", "postconditions"):
        for index, spec in enumerate(getattr(definition, part)):
            yield from _told_of(_of_check(spec, f"{part}[{index}]"), scope)


def _told_of(items: Iterable[Item], scope: Scope) -> Iterator[str]:
    for place, kind, body, variables in items:
        if said := _refused(scope, kind, bind_now(body, scope.now), variables):
            yield f"{place}: the server refuses it: {said}"


def _of_check(spec: Mapping[str, Any], place: str) -> Iterator[Item]:
    for kind in ("none", "count", "unique", "no_rows"):
        body = spec.get(kind, {})
        if "where" in body:
            yield f"{place}.{kind}.where", "filter", body["where"], ()
        if "pipeline" in body:
            yield f"{place}.{kind}.pipeline", "pipeline", body["pipeline"], ()
        equals = body.get("equals")
        if isinstance(equals, Mapping) and "where" in equals:
            yield f"{place}.{kind}.equals.where", "filter", equals["where"], ()


def _of_insert_for_each(step: Step) -> Iterator[Item]:
    options, place = step.options, f"steps[{step.index}].{step.kind}"
    if "where" in options:
        yield f"{place}.where", "filter", options["where"], ()
    if "pipeline" in options:
        yield f"{place}.pipeline", "pipeline", options["pipeline"], ()
    for name, spec in options.get("inputs", {}).items():
        yield f"{place}.inputs.{name}.value", "expression", spec["value"], ()
    known: tuple[str, ...] = tuple(options.get("inputs", {}))
    for name, body in options.get("let", {}).items():
        yield f"{place}.let.{name}", "expression", body, known
        known = (*known, name)
    if each := options.get("for_each"):
        yield f"{place}.for_each.in", "expression", each["in"], known
        known = (*known, each["as"])
    yield f"{place}.document", "expression", options["document"], known


def _of_set_field(step: Step) -> Iterator[Item]:
    options, place = step.options, f"steps[{step.index}].{step.kind}"
    if "where" in options:
        yield f"{place}.where", "filter", options["where"], ()
    yield from _of_value(options["value"], f"{place}.value")


def _of_value(source: Mapping[str, Any], place: str) -> Iterator[Item]:
    ((kind, body),) = source.items()
    where = f"{place}.{kind}"
    if kind == "first_of":
        for index, item in enumerate(body):
            yield from _of_value(item, f"{where}[{index}]")
    elif kind == "expression" and body != "$owner":
        yield where, "expression", body, ()
    elif kind in ("reference", "unique"):
        yield from _each(body.get("match", {}), f"{where}.match", ())
        if "where" in body:
            yield f"{where}.where", "filter", body["where"], ()


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


def _items(step: Step, own: tuple[str, ...]) -> Iterator[Item]:
    options, place = step.options, f"steps[{step.index}].{step.kind}"
    variables = (*own, *options.get("let", {}))
    if "where" in options:
        yield f"{place}.where", "filter", options["where"], ()
    before = own
    for name, source in options.get("let", {}).items():
        yield from _of_source(source, f"{place}.let.{name}", before)
        before = (*before, name)
    if "only_if" in options:
        yield f"{place}.only_if", "expression", options["only_if"], variables
    if "id" in options:
        yield from _of_source(options["id"], f"{place}.id", variables)
    yield from _of_levels(options, place, variables)
    yield from _of_documents(step.kind, options, place, variables)


def _of_levels(
    options: Mapping[str, Any], place: str, variables: tuple[str, ...]
) -> Iterator[Item]:
    for where, level in reads.levels(options, place):
        named = variables if level is options else (*variables, "this")
        if "remove" in level:
            yield f"{where}.remove", "expression", level["remove"], named
        for path, source in level.get("set", {}).items():
            yield from _of_source(source, f"{where}.set.{path}", named)


def _of_documents(
    kind: str, options: Mapping[str, Any], place: str, variables: tuple[str, ...]
) -> Iterator[Item]:
    if kind == "extract":
        yield f"{place}.document", "expression", options["document"], variables
    elif "expression" in options.get("document", {}):
        body = options["document"]["expression"]
        yield f"{place}.document.expression", "expression", body, variables
    if isinstance(options.get("by"), Mapping):
        yield from _each(options["by"], f"{place}.by", variables)


def _of_source(source: Mapping[str, Any], place: str, named: tuple[str, ...]) -> Iterator[Item]:
    ((kind, body),) = source.items()
    where = f"{place}.{kind}"
    if kind == "expression":
        yield where, "expression", body, named
    elif kind == "map":
        yield from _each(_some(body, "input"), where, named)
        yield from _each(_some(body.get("otherwise", {}), "expression"), where, named)
    elif kind in ("reference", "aggregate"):
        yield from _of_lookup(body, where, named)
    elif kind in ("number", "unique_text"):
        by = body.get("by")
        yield from _each(by if isinstance(by, Mapping) else {}, f"{where}.by", ())
        yield from _of_source(body.get("of", {"value": None}), f"{where}.of", ())
    elif kind == "python":
        inputs = body.get("inputs", ())
        named_ = inputs if isinstance(inputs, Mapping) else dict(enumerate(inputs))
        yield from _each(named_, f"{where}.inputs", named)


def _of_lookup(body: Mapping[str, Any], where: str, named: Iterable[str]) -> Iterator[Item]:
    yield from _each(body["match"], f"{where}.match", named)
    if "where" in body:
        yield f"{where}.where", "filter", body["where"], ()
    if "pipeline" in body:
        yield f"{where}.pipeline", "pipeline", body["pipeline"], ()


def _some(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: body[name]} if name in body else {}


def _each(bodies: Mapping[Any, Any], place: str, named: Iterable[str]) -> Iterator[Item]:
    for name, body in bodies.items():
        yield f"{place}.{name}", "expression", body, tuple(named)
