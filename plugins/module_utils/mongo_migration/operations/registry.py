"""All operations and all kinds of journal entries: a line each. Everybody else loops over these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pymongo.database import Database

from ..document.collections import JOURNAL, Collections
from ..document.definition import Step
from ..document.value_sources import Scope
from ..ledger import state_format
from ..ledger.fence import Fence
from ..ledger.journal import Entry, Journal
from .base import Operation, Touched
from .command import Command, RanCommand
from .documents.delete import Delete
from .documents.insert import Insert
from .documents.insert_for_each import InsertForEach
from .documents.inserted_documents import InsertedDocuments
from .documents.removed_documents import RemovedDocuments
from .entries import EntryKind, Void
from .fields.field_groups import FieldGroups
from .fields.set_field import SetField
from .indexes.create_index import BuiltIndex, CreateIndex
from .indexes.drop_index import DropIndex, DroppedIndex
from .indexes.hide_index import HiddenIndex, HideIndex
from .indexes.replace_index import ReplacedIndex, ReplaceIndex
from .merge import FIELDS_KIND, REPOINT_KIND, MergeDuplicates
from .transfer.change_id import ChangeId
from .transfer.extract import Extract
from .transfer.kind import Transferred
from .transfer.move import Move
from .update import Images, Update, WholeImages
from .whole_collections.create_collection import CreateCollection, MadeCollection
from .whole_collections.drop_collection import DropCollection, SetAside
from .whole_collections.rebuild_collection import RebuildCollection
from .whole_collections.rebuilt import Rebuilt
from .whole_collections.rename_collection import RenameCollection, Renamed
from .whole_collections.validate import ChangedRule, Validate

# In the order in which a plan shows them.
OPERATIONS: dict[str, type[Operation]] = {
    operation.KIND: operation
    for operation in (
        CreateCollection,
        RenameCollection,
        RebuildCollection,
        SetField,
        Update,
        Insert,
        InsertForEach,
        MergeDuplicates,
        Extract,
        Move,
        ChangeId,
        Delete,
        Command,
        Validate,
        CreateIndex,
        ReplaceIndex,
        HideIndex,
        DropIndex,
        DropCollection,
    )
}

ENTRY_KINDS: dict[str, EntryKind] = {
    kind.kind: kind
    for kind in (
        FieldGroups(SetField.KIND),
        Images(),
        WholeImages(),
        FieldGroups(REPOINT_KIND),
        FieldGroups(FIELDS_KIND),
        InsertedDocuments(InsertForEach.KIND),
        RemovedDocuments(MergeDuplicates.KIND),
        RanCommand(),
        BuiltIndex(),
        InsertedDocuments(Insert.KIND),
        RemovedDocuments(Delete.KIND),
        Transferred(Extract.KIND),
        Transferred(Move.KIND),
        Transferred(ChangeId.KIND),
        MadeCollection(),
        Renamed(),
        Rebuilt(),
        SetAside(DropCollection.KIND),
        ChangedRule(),
        ReplacedIndex(),
        HiddenIndex(),
        DroppedIndex(),
        Void(),
    )
}


def build(step: Step, scope: Scope) -> Operation:
    """Return the operation of *step*.

    Raises:
        DefinitionError: it names a collection that doesn't exist.
    """
    return OPERATIONS[step.kind](step, scope)


def names(step: Step) -> set[str]:
    """Return the collections that *step* names, as the document calls them."""
    return OPERATIONS[step.kind].names(step.options)


def reach(step: Step, collections: Collections) -> list[Touched]:
    """Return all that *step* may write to."""
    return OPERATIONS[step.kind].reach(step, collections)


def foresee(collections: Collections, steps: Iterable[Step]) -> None:
    """Tell *collections* which names the *steps* make, and which they do away with."""
    for step in steps:
        operation = OPERATIONS[step.kind]
        collections.foresee(operation.creates(step.options), operation.consumes(step.options))


def kind_of(entry: Entry) -> EntryKind:
    """Return the kind of an entry, which was checked as it was read."""
    return ENTRY_KINDS[entry["kind"]]


def open_journal(
    database: Database[dict[str, Any]],
    run: str,
    *,
    require: Callable[[Entry], object] = lambda entry: None,
    fence: Fence | None = None,
) -> Journal:
    """Return the journal of *run*; each entry is checked as it is read.

    Args:
        database: the migrated database.
        run: the run's id.
        require: raises an error if the run's document doesn't allow an entry; without it, entries
            are of the right shape and may be about anything: to be shown, and nothing else.
        fence: for whoever also writes to it.

    Raises (the journal's methods do):
        StateError: an entry is of an unknown kind, or isn't of the shape of its kind.
    """
    place = f"{database.name}.{JOURNAL}"

    def read(found: Entry) -> Entry:
        entry = state_format.read_entry(found, ENTRY_KINDS, place=place)
        require(entry)
        return entry

    return Journal(database, run, read=read, fence=fence)
