"""The operations that a migration document can name, one file each."""

from __future__ import annotations

from ..definition import Step
from ..sources import Scope
from . import create_index, insert_for_each, restore, set_field
from .base import Check, Operation, Plan, Touched
from .create_index import CreateIndex
from .insert_for_each import InsertForEach
from .set_field import SetField
from .settle import settle

# How a journal entry of each kind is undone. The entry holds all that it takes, so that a
# rollback doesn't depend on the document as it is today.
REVERT = {
    create_index.KIND: create_index.revert,
    insert_for_each.KIND: insert_for_each.revert,
    set_field.KIND: restore.revert,
}


def build(step: Step, scope: Scope) -> Operation:
    """Return the operation of *step*.

    Raises:
        DefinitionError: it names a collection that doesn't exist.
    """
    if step.kind == "set_field":
        return SetField(step, scope)
    if step.kind == "insert_for_each":
        return InsertForEach(step, scope)
    return CreateIndex(step, scope)


__all__ = ["REVERT", "Check", "Operation", "Plan", "Touched", "build", "settle"]
