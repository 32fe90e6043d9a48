"""Whether what was loaded is what the backup holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from ..document.collections import is_ours
from ..errors import ArchiveError
from ..server import connection
from ..values.digest import Digest
from . import catalog, load, specs
from .manifest import Collection
from .source import Source


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How one collection of a database differs from the backup's.

    ``note`` says what wasn't compared, and why.
    """

    name: str
    documents: int = 0
    problems: tuple[str, ...] = ()
    note: str = ""

    def require(self) -> None:
        """Raise an ArchiveError if it differs."""
        if self.problems:
            raise ArchiveError(" ".join(self.problems), collection=self.name)


def each(database: Database[dict[str, Any]], source: Source) -> Iterator[Compared]:
    """Compare all of *database* with the backup: names, content, options and indexes.

    What the project keeps for itself is left out: it is another database's record.
    """
    found = {one.name: one for one in catalog.read(database)}
    theirs = source.manifest.server.get("version", "").split(".")[:2]
    same_server = theirs == connection.inspect(database.client).version.split(".")[:2]
    for entry in source.manifest.collections:
        there = found.pop(entry.name, None)
        if is_ours(entry.name):
            continue
        if there is None:
            yield Compared(name=entry.name, problems=(f"{entry.name} is missing.",))
        else:
            yield _one(database, source, entry, there, exactly=same_server)
    for name in sorted(found):
        if not is_ours(name):
            yield Compared(name=name, problems=(f"{name} isn't in the backup.",))


def _one(
    database: Database[dict[str, Any]],
    source: Source,
    entry: Collection,
    there: catalog.Found,
    *,
    exactly: bool,
) -> Compared:
    exact = entry.exact()
    options, indexes = specs.restorable(*exact)
    wanted = catalog.Found(
        name=entry.name,
        type=entry.type,
        uuid=entry.uuid,
        definition=catalog.define(options, indexes),
    )
    problems = [f"{entry.name}: {text}." for text in load.differences(there, wanted)]
    note = ""
    if problems and not exactly:
        note, problems = f"{' '.join(problems)} (backup of another server version)", []
    if there.stored_in is None or entry.digest is None:
        return Compared(name=entry.name, problems=tuple(problems), note=note)
    # What has expired goes by itself: only the restore's own comparison counts.
    if _expires(exact):
        note = f"{entry.name}: a TTL index deletes documents by itself, they weren't compared."
        return Compared(name=entry.name, problems=tuple(problems), note=note)
    digest = load.digest_of(database, there.stored_in, read=lambda count: None)
    try:
        note = require_loaded(source, entry, digest) or note
    except ArchiveError as error:
        problems.append(error.message)
    return Compared(name=entry.name, documents=digest.count, problems=tuple(problems), note=note)


def _expires(exact: tuple[dict[str, Any], list[dict[str, Any]]]) -> bool:
    options, indexes = exact
    return "expireAfterSeconds" in options or any("expireAfterSeconds" in one for one in indexes)


def require(entry: Collection, digest: Digest, where: str) -> None:
    """Require that *digest* is that of *entry*.

    Raises:
        ArchiveError: it isn't.
    """
    if digest != Digest.parse(entry.digest or "0", entry.count):
        raise ArchiveError(
            f"{entry.name} has {digest.count} documents with digest {digest.hexdigest()} {where}; "
            f"the backup's manifest says {entry.count} with {entry.digest}.",
            collection=entry.name,
        )


def require_loaded(source: Source, entry: Collection, digest: Digest) -> str | None:
    """Require that *digest*, of what the server holds now, is that of *entry*.

    A capped collection that was written while it was read has more documents in the backup than
    fit it. The server keeps the newest ones, and those are compared.

    Returns:
        What to know about it, if anything.

    Raises:
        ArchiveError: it isn't.
    """
    if not 0 < digest.count < entry.count or not _overflows(entry):
        require(entry, digest, "in the database")
        return None
    expected = load.digest_of_last(source.batches(entry), entry.count, digest.count)
    if digest != expected:
        raise ArchiveError(
            f"The capped collection {entry.name} has {digest.count} documents in the database, "
            "which aren't the newest ones of the backup.",
            collection=entry.name,
        )
    return (
        f"{entry.name} is capped and was written while it was backed up: of the "
        f"{entry.count:,} documents that were read, the newest {digest.count:,} fit it."
    )


def _overflows(entry: Collection) -> bool:
    """Return whether the documents of *entry* are more than it can hold."""
    options = entry.found().options
    if not options.get("capped"):
        return False
    most, size = options.get("max") or 0, options.get("size") or 0
    return bool(0 < most < entry.count or 0 < size < entry.size)
