"""The reader of a transfer: whole documents, with what the step makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.collection import Collection

from ...document import update_sources
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import DefinitionError
from ...values import elements
from ...values.compare import bind_now
from ..update import expressions
from ..update.reader import Reader
from ..update.step import check_python, looked_up

_CHANGES = ("let", "set", "unset", "rename", "each", "when_unfit", "when_conflict")
_ZERO = bytes(8)


def changes_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of *options* that an ``update`` would have, with the ``_id`` to set."""
    found = {key: options[key] for key in _CHANGES if key in options}
    if "id" in options:
        found["set"] = {"_id": options["id"], **found.get("set", {})}
    return found


def reader_of(
    collection: Collection[dict[str, Any]],
    step: Step,
    scope: Scope,
    *,
    constants: Mapping[str, Any] | None = None,
) -> Reader:
    """Return the reader of the documents in *collection* that *step* carries elsewhere.

    Raises:
        DefinitionError: the step changes a path twice, or takes a value from what can't give one.
    """
    place = f"steps[{step.index}].{step.kind}"
    options = changes_of(step.options)
    variables, specs = looked_up(options, place)
    compiled = expressions.compile_update(options, now=scope.now, variables=variables, where=place)

    def numbers(spec: Mapping[str, Any]) -> Iterable[tuple[Any, Any]]:
        raise DefinitionError(
            f"{place}: {next(iter(spec))} is given by an `update`; make it a migration of its own "
            "before this one"
        )

    shown = {variable: f"set.{path}" for path, variable in variables.items()}
    for name, spec in specs.items():
        check_python(spec, step, f"{place}.{shown.get(name, f'let.{name}')}")
        if set(spec) & set(update_sources.AMONG_ALL):
            numbers(spec)
    shown = {variable: path for path, variable in variables.items()}
    return Reader(
        collection=collection,
        where=scope.staying(collection.name, bind_now(step.options.get("where", {}), scope.now)),
        compiled=compiled,
        sources={
            variable: update_sources.build(spec, scope, files=step.files, rows=numbers)
            for variable, spec in specs.items()
        },
        labels={
            variable: (
                shown.get(variable, variable),
                _policy(options, shown.get(variable, variable)),
            )
            for variable in specs
        },
        comment=scope.comment or "migration-playbooks",
        on_error=_policy(options, ""),
        constants={name: {"$literal": value} for name, value in (constants or {}).items()},
        whole=True,
        only_if=bind_now(step.options.get("only_if"), scope.now),
    )


def _policy(options: Mapping[str, Any], path: str) -> str:
    return expressions.policy_of(options, path)


def is_exact(raw: bytes) -> bool:
    """Return whether the server stores *raw* as it is: in place of an empty timestamp at the top
    level it puts its own time."""
    return not any(
        one.kind == elements.TIMESTAMP and raw[one.start : one.stop] == _ZERO
        for one in elements.elements(raw)
    )
