"""The operations that a migration document can name, one file each."""

from __future__ import annotations

from collections.abc import Callable

from ..document.definition import Step
from ..document.value_sources import Scope
from . import command, create_index, insert_for_each, merge_duplicates, restore, set_field
from .base import Check, Operation, Plan, Touched
from .command import Command
from .create_index import CreateIndex
from .insert_for_each import InsertForEach
from .merge_duplicates import MergeDuplicates
from .reconcile import reconcile
from .set_field import SetField

# How a journal entry of each kind is undone. The entry holds all that it takes, so that a
# rollback doesn't depend on the document as it is today.
REVERT = {
    command.KIND: command.revert,
    create_index.KIND: create_index.revert,
    insert_for_each.KIND: insert_for_each.revert,
    merge_duplicates.KIND: merge_duplicates.revert,
    merge_duplicates.REPOINT_KIND: restore.revert,
    set_field.KIND: restore.revert,
}

_OPERATIONS: dict[str, Callable[[Step, Scope], Operation]] = {
    command.KIND: Command,
    create_index.KIND: CreateIndex,
    insert_for_each.KIND: InsertForEach,
    merge_duplicates.KIND: MergeDuplicates,
    set_field.KIND: SetField,
}


def build(step: Step, scope: Scope) -> Operation:
    """Return the operation of *step*.

    Raises:
        DefinitionError: it names a collection that doesn't exist.
    """
    return _OPERATIONS[step.kind](step, scope)


__all__ = ["REVERT", "Check", "Operation", "Plan", "Touched", "build", "reconcile"]
