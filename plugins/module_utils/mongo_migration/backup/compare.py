"""Whether what was loaded is what the backup holds."""

from __future__ import annotations

from ..errors import ArchiveError
from ..values.digest import Digest
from . import load
from .manifest import Collection
from .source import Source


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
