"""A database for a while: made, used and dropped, whatever happens; and never somebody else's.

Its first document says of which database it is the copy, and under which name. Only a database
that says so, under its very name, is ever dropped: a copy of that document elsewhere proves
nothing. Beside it lies the lease of the process that uses it; where that process was killed, the
next one finds both, and begins by removing what it left.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from ..document.collections import SCRATCH, STATE
from ..errors import ArchiveError, LeaseLostError
from ..ledger import lease
from ..support import commands, majority
from . import catalog, load
from .names import SPECIAL

Client = MongoClient[dict[str, Any]]

MARK = "scratch"
#: What the name of each kind of scratch database holds.
REHEARSAL, DRILL = "_rehearsal", "_drill"
#: The command that removes what killed processes have left.
REMOVE = commands.command("rehearse", state="absent")
# The server's own limit for the name of a database, in bytes.
_LONGEST_NAME = 63
# How the purpose of a drill's lease begins. It was the only mark that 1.0 left.
_OF_DRILL = "drill"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The database that is wanted for a while.

    Args:
        name: its name.
        of: the database of which it is a copy.
        ending: what its name must hold, so that nobody names another by mistake.
        purpose: what for, such as ``drill of backup-….tar.gz``; others are shown it.
        operator: user, host and pid of this process.
        lease_seconds: life of the lease that keeps others out.
    """

    name: str
    of: str
    ending: str
    purpose: str
    operator: Mapping[str, Any]
    lease_seconds: float = 30

    def check(self) -> None:
        """Refuse a name that can't be one of ours.

        Raises:
            ArchiveError: the name is another kind, or too long.
        """
        if self.name == self.of or self.ending not in self.name:
            raise ArchiveError(
                f"'{self.name}' would be dropped in the end, so '{self.ending}' must be in its "
                f"name, as in '{self.of}{self.ending}'. Nothing was written."
            )
        if len(self.name.encode()) > _LONGEST_NAME:
            raise ArchiveError(
                f"'{self.name}' is longer than the {_LONGEST_NAME} bytes that the name of a "
                "database may have. Give a shorter one. Nothing was written."
            )


@dataclass
class Own:
    """A database that is ours for a while.

    Attributes:
        database: what it is.
        left: whether it is still there afterwards, since it couldn't be dropped.
    """

    database: Database[dict[str, Any]]
    left: bool = False


@contextmanager
def own(client: Client, wanted: Wanted) -> Iterator[Own]:
    """Yield the database *wanted*, empty but for its mark; drop it at the end.

    Raises:
        ArchiveError: a database of this name exists and isn't ours, or can't be dropped.
        LeaseHeldError: another process uses it.
    """
    wanted.check()
    database = client[wanted.name]
    require_free(database, wanted)
    _mark(database, wanted)
    with lease.hold(
        database,
        purpose=wanted.purpose,
        holder=dict(wanted.operator),
        seconds=wanted.lease_seconds,
        place=SCRATCH,
    ) as held:
        # Once more: the process that had it until now may have dropped it meanwhile.
        require_free(database, wanted)
        _mark(database, wanted)
        _empty(database)
        mine = Own(database)
        try:
            yield mine
        finally:
            _drop(mine, held)


def require_free(database: Database[dict[str, Any]], wanted: Wanted) -> None:
    """Refuse where *database* holds what isn't ours.

    Raises:
        ArchiveError: it does.
    """
    if is_ours(database, wanted.of):
        return
    raise ArchiveError(
        f"The database '{database.name}' exists, and nothing in it says that it is a scratch "
        f"database of '{wanted.of}'. It was left alone: drop it yourself if nobody needs it, or "
        "give another name.",
        database=database.name,
    )


def is_ours(database: Database[dict[str, Any]], of: str) -> bool:
    """Return whether *database* may be dropped: it isn't there, or says that it is ours."""
    names = catalog.every_name(database)
    # The server makes the collection of the mark before the mark.
    if not names - {SCRATCH}:
        return True
    mark = database[SCRATCH].find_one({"_id": MARK}) or {}
    if mark.get("name") == database.name and mark.get("of") == of:
        return True
    old = database[STATE].find_one({"_id": lease.LEASE_ID}, {"purpose": 1}) or {}
    return database.name.endswith(DRILL) and str(old.get("purpose", "")).startswith(_OF_DRILL)


def _mark(database: Database[dict[str, Any]], wanted: Wanted) -> None:
    there = database[SCRATCH].with_options(write_concern=majority.WRITE_CONCERN)
    said = {"name": wanted.name, "of": wanted.of, "purpose": wanted.purpose}
    there.update_one({"_id": MARK}, {"$set": said}, upsert=True)


def _empty(database: Database[dict[str, Any]]) -> None:
    """Remove what a process that was killed has left."""
    for name in sorted(catalog.every_name(database) - {SCRATCH}):
        if name in SPECIAL:
            database[name].delete_many({})
        elif not name.startswith("system."):  # the server's own go with what they belong to
            load.drop(database, name)


def _drop(mine: Own, held: lease.Lease) -> None:
    """Drop what is ours; where that fails, what failed before is what a person has to read."""
    failed = sys.exc_info()[1] is not None
    database, mine.left = mine.database, True
    try:
        held.refuse_if_taken()  # where it is another process's by now, it isn't ours to drop
        # The mark goes last: a server that dies on the way leaves nothing that isn't marked.
        _empty(database)
        database.client.drop_database(database.name)
        mine.left = False
    except (PyMongoError, LeaseLostError) as error:
        if failed:
            return
        raise ArchiveError(
            f"The scratch database '{database.name}' can't be dropped: {error}. The next command "
            f"of its kind removes it, or {REMOVE}.",
            database=database.name,
        ) from error
