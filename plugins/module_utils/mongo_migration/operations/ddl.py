"""What changes collections and indexes themselves, which no transaction can hold.

First the journal says what is going to be done, and a checkpoint that it was begun; then it is
done. A resumed run finds by the data how far that came: a collection is known by its UUID, which no
renaming changes, and an index by its specification. So each change is made once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from bson import SON
from bson.binary import UUID_SUBTYPE, Binary
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure, WriteConcernError

from ..document.collections import Collections
from ..document.definition import Step
from ..document.value_sources import Scope
from ..errors import MigrationError
from ..ledger import by_uuid
from ..ledger.batches import Writer
from ..ledger.journal import Entry
from ..ledger.state_format import StateError
from ..support import listing, majority, retry
from . import building
from .base import Operation, Touched
from .entries import EntryKind
from .locks import TRY_SECONDS, tried_shortly

Db = Database[dict[str, Any]]
# What the server keeps without a validator has no effect.
RULE = ("validator", "validationLevel", "validationAction")
LEVEL_AND_ACTION = RULE[1:]
_RULE_DEFAULTS = {"validator": {}, "validationLevel": "strict", "validationAction": "error"}


class Reshape(Operation):
    """A step that changes collections or indexes, one target after another."""

    #: Pairs of the document's name and the real one.
    _targets: list[tuple[str, str]]

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Change each target that isn't as it should be."""
        for index, (name, real) in enumerate(self._targets):
            if index < position.get("target", 0):
                continue
            here = {"step": self._step.index, "target": index}
            begun = position.get("target") == index and position.get("begun")
            entry = self._begun(writer, real) if begun else self.entry(real, writer)
            if entry is not None:
                if not begun:
                    entry = {
                        "kind": self.KIND,
                        "step": self._step.index,
                        "collection": real,
                        **entry,
                    }
                    writer.commit(
                        entry, lambda _session: {"reshaped": 1}, position={**here, "begun": True}
                    )
                self.change(writer, real, entry)
            writer.move({"step": self._step.index, "target": index + 1})
            writer.meter.advance(0, step=self._step.index, kind=self.KIND, collection=name)

    @abstractmethod
    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return what the journal is to say of a target, or None if there is nothing to change."""

    @abstractmethod
    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Make the change, from whatever an earlier attempt left."""

    def _begun(self, writer: Writer, real: str) -> Entry:
        """Return the entry of a change that was begun by an earlier attempt.

        Raises:
            StateError: the newest entry isn't that.
        """
        for entry in writer.journal.entries(seq=writer.seq):
            found = (entry["kind"], entry["step"], entry["collection"])
            if found == (self.KIND, self._step.index, real):
                return entry
        raise StateError(
            f"Run {writer.run.id} says in its position that its entry {writer.seq} is the "
            f"{self.KIND} of {real!r}, and the journal says otherwise. Nothing was done by it. "
            "Someone else has written there: look who may (docs/privileges.md), then roll back."
        )


class EachNamed(Reshape):
    """A step about each of the collections that it names, as a whole."""

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        names = scope.collections
        self._targets = [
            (name, self.real(names, name))
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    @staticmethod
    def real(names: Collections, name: str) -> str:
        """Return the real name of a collection, which must be there."""
        return names.get(name).name

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections."""
        return set(options["collections"])

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collections."""
        return [
            Touched(collection=names.real_name(name), whole=True)
            for name in step.options["collections"]
            if not names.absent(name)
        ]


class ReshapeEntry(EntryKind):
    """An entry of a change of a collection or an index: it is about no document."""

    def ids(self, entry: Entry) -> list[Any]:
        """No document."""
        del entry
        return []

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """The change comes only after the checkpoint of its entry: this one wasn't begun."""
        writer.journal.void(entry)
        return {}

    def preview(self, entry: Entry) -> dict[str, Any]:
        """Return it in words."""
        return {"bring_back": [self.label(entry)]}

    def outcome(self, entry: Entry) -> dict[str, Any]:
        """Return it, if it was undone."""
        return {"brought_back": [] if entry.get("conflicts") else [self.label(entry)]}

    def label(self, entry: Entry) -> str:
        """Return what was changed."""
        return str(entry["collection"])


def run(writer: Writer, command: Mapping[str, Any], *, admin: bool = False) -> None:
    """Run *command* under the lease, and wait until a majority has done it.

    It needs its collection's exclusive lock, for which nobody is to queue behind us for long.
    """
    database = writer.database.client.admin if admin else writer.database

    def attempt() -> None:
        writer.lease.check()
        reply = database.command(
            {
                **command,
                "comment": writer.comment,
                "writeConcern": majority.AS_DOCUMENT,
                "maxTimeMS": int(TRY_SECONDS * 1000),
            }
        )
        if concern := reply.get("writeConcernError"):
            raise WriteConcernError(concern["errmsg"], concern["code"], concern)

    tried_shortly(attempt, writer, collection=str(next(iter(command.values()))))


def listed(database: Db, name: str) -> dict[str, Any] | None:
    """Return what listCollections says of *name*, or None if there is nothing of that name."""
    return listing.collection(database, name) or None


def uuid_of(database: Db, name: str) -> Any:
    """Return the UUID of the collection *name*; None if there is none."""
    found = listed(database, name)
    return found["info"].get("uuid") if found else None


def uuid(value: Any) -> bool:
    """Return whether *value* is a collection's UUID, for the shape of an entry."""
    return isinstance(value, Binary) and value.subtype == UUID_SUBTYPE


def rename(writer: Writer, old: str, new: str) -> None:
    """Rename a collection; *new* must be free."""
    space = writer.database.name
    run(writer, {"renameCollection": f"{space}.{old}", "to": f"{space}.{new}"}, admin=True)


def bring_aside_empty(writer: Writer, name: str, aside: str) -> bool:
    """Take an empty collection out of sight; one that holds something by then stays.

    Renamed, it gets no more documents, and is looked at once more.
    """
    database = writer.database
    if database[name].find_one({}, {"_id": 1}) is not None:
        return False
    rename(writer, name, aside)
    if database[aside].find_one({}, {"_id": 1}) is None:
        return True
    rename(writer, aside, name)
    return False


def drop(writer: Writer, name: str) -> None:
    """Drop a collection of ours."""
    by_uuid.drop(
        writer.database, name, writer.lease.check, send=lambda command: run(writer, command)
    )


def is_rule(value: Any) -> bool:
    """Return whether *value* is what :func:`rule_in` returns, for the shape of an entry."""
    return value == {} or (
        isinstance(value, dict)
        and value.keys() == set(RULE)
        and isinstance(value["validator"], dict)
        and value["validationLevel"] in ("off", "moderate", "strict")
        and value["validationAction"] in ("error", "warn", "errorAndLog")
    )


def rule_of(database: Db, name: str) -> dict[str, Any]:
    """Return validator, level and action of *name*; without a rule, nothing."""
    return rule_in((listed(database, name) or {}).get("options", {}))


def rule_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return validator, level and action among *options*, complete; without a rule, nothing."""
    if not options.get("validator"):
        return {}
    return {key: options.get(key, _RULE_DEFAULTS[key]) for key in RULE}


def set_rule(writer: Writer, name: str, rule: Mapping[str, Any]) -> None:
    """Give *name* the validator, level and action of *rule*; none, if it is empty."""
    run(writer, {"collMod": name, **_RULE_DEFAULTS, **rule})


def indexes(database: Db, name: str) -> list[dict[str, Any]]:
    """Return the indexes of *name* beside that of ``_id``; none if there is no such collection."""
    return [
        {key: _plain(value) for key, value in index.items() if key != "ns"}
        for index in listing.indexes(database, name)
        if index["name"] != "_id_" and not index.get("clustered")
    ]


def explicit(spec: Mapping[str, Any], collation: Any) -> dict[str, Any]:
    """Return *spec* so that the server makes this very index in a collection of *collation*."""
    if collation and "collation" not in spec:
        return {**spec, "collation": {"locale": "simple"}}  # otherwise it would inherit it
    return dict(spec)


def build(writer: Writer, collection: Collection[dict[str, Any]], spec: Mapping[str, Any]) -> None:
    """Build an index and wait until enough members have finished it.

    Raises:
        MigrationError: the server can't build it.
    """
    writer.stop.check()
    writer.lease.check()

    def attempt() -> None:
        # Returns when the index is built on enough members; joins a build that is under way.
        reply = collection.database.command(
            "createIndexes",
            collection.name,
            indexes=[{**spec, "key": SON(spec["key"])}],
            comment=writer.comment,
            writeConcern=majority.AS_DOCUMENT,
            **majority.quorum(collection.database.client),
        )
        # Built by a primary that lost its majority meanwhile; the driver doesn't say so.
        if concern := reply.get("writeConcernError"):
            raise WriteConcernError(concern["errmsg"], concern["code"], concern)

    try:
        tried_shortly(
            lambda: building.wait_for(
                attempt, writer, collection=collection.name, index=spec["name"]
            ),
            writer,
            collection=collection.name,
        )
    except OperationFailure as error:
        if error.code is not None and not retry.is_retryable(error):
            raise MigrationError(
                f"{collection.name}: index {spec['name']} can't be built: "
                f"{str(error).split(', full error:')[0]}",
                code=error.code,
            ) from error
        raise


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
