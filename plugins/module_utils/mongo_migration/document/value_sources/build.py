"""From what a document says to the source that it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import DefinitionError
from ...values.compare import bind_now
from .computed import Constant, Expression
from .contract import Source
from .first_of import FirstOf
from .reference import Reference
from .scope import Scope
from .unique import Unique


def build(spec: dict[str, Any], scope: Scope, *, owner: str | None) -> Source:
    """Return the source that *spec* describes.

    Args:
        spec: one of value, unique, reference, expression, first_of.
        scope: what it reads from.
        owner: the field that ``$owner`` stands for, where the document names one.
    """
    ((kind, body),) = spec.items()
    if kind == "value":
        return Constant(bind_now(body, scope.now))
    if kind == "expression":
        return Expression(_own(bind_now(body, scope.now), owner))
    if kind == "unique":
        return Unique(body, scope)
    if kind == "reference":
        return Reference(_own(body, owner), scope)
    return FirstOf([build(item, scope, owner=owner) for item in body])


def check(spec: dict[str, Any], *, where: str, resolve: Callable[[str], Any]) -> None:
    """Check that every collection that *spec* names exists.

    Raises:
        DefinitionError: one doesn't.
    """
    ((kind, body),) = spec.items()
    if kind == "first_of":
        for item in body:
            check(item, where=where, resolve=resolve)
    elif kind in ("unique", "reference"):
        try:
            resolve(body["from"])
        except DefinitionError as error:
            raise DefinitionError(f"{where}: {error.message}", **error.details) from error


def _own(tree: Any, owner: str | None) -> Any:
    """Return *tree* with ``$owner`` replaced by the owner field of the collection."""
    if owner is None:
        return tree
    if isinstance(tree, dict):
        return {key: _own(value, owner) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_own(value, owner) for value in tree]
    return f"${owner}" if tree == "$owner" else tree
