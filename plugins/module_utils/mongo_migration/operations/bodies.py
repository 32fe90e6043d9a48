"""The filters, pipelines and expressions of a step, each with its place in the document.

The server is asked for each, beforehand, whether it understands it (:mod:`.understood`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..document import reads
from ..document.definition import Step

#: Place, kind (filter, pipeline or expression), what is said there, and the variables it may name.
Body = tuple[str, str, Any, tuple[str, ...]]


def place_of(step: Step) -> str:
    """Return where the options of *step* stand in its document."""
    return f"steps[{step.index}].{step.kind}"


def of_step(step: Step, own: tuple[str, ...]) -> Iterator[Body]:
    """Yield those of a step that is said as most are; *own* are the variables that it gives."""
    options, place = step.options, place_of(step)
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
    if isinstance(options.get("by"), Mapping):
        yield from _each(options["by"], f"{place}.by", variables)


def of_document(step: Step, own: tuple[str, ...], *path: str) -> Iterator[Body]:
    """Yield the expression that makes a whole document: at *path* below the step's options."""
    body: Any = step.options
    for name in path:
        body = body.get(name, {})
    if body:
        place = ".".join((place_of(step), *path))
        yield place, "expression", body, (*own, *step.options.get("let", {}))


def _of_levels(
    options: Mapping[str, Any], place: str, variables: tuple[str, ...]
) -> Iterator[Body]:
    for where, level in reads.levels(options, place):
        named = variables if level is options else (*variables, "this")
        if "remove" in level:
            yield f"{where}.remove", "expression", level["remove"], named
        for path, source in level.get("set", {}).items():
            yield from _of_source(source, f"{where}.set.{path}", named)


def _of_source(source: Mapping[str, Any], place: str, named: tuple[str, ...]) -> Iterator[Body]:
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


def _of_lookup(body: Mapping[str, Any], where: str, named: Iterable[str]) -> Iterator[Body]:
    yield from _each(body["match"], f"{where}.match", named)
    if "where" in body:
        yield f"{where}.where", "filter", body["where"], ()
    if "pipeline" in body:
        yield f"{where}.pipeline", "pipeline", body["pipeline"], ()


def _some(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: body[name]} if name in body else {}


def _each(bodies: Mapping[Any, Any], place: str, named: Iterable[str]) -> Iterator[Body]:
    for name, body in bodies.items():
        yield f"{place}.{name}", "expression", body, tuple(named)


def of_value(source: Mapping[str, Any], place: str) -> Iterator[Body]:
    """Yield those of a value source of ``set_field``."""
    ((kind, body),) = source.items()
    where = f"{place}.{kind}"
    if kind == "first_of":
        for index, item in enumerate(body):
            yield from of_value(item, f"{where}[{index}]")
    elif kind == "expression" and body != "$owner":
        yield where, "expression", body, ()
    elif kind in ("reference", "unique"):
        yield from _each(body.get("match", {}), f"{where}.match", ())
        if "where" in body:
            yield f"{where}.where", "filter", body["where"], ()
