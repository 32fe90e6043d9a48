"""Which document it was that the driver couldn't read, and why.

A server stores text as it comes, also what isn't UTF-8, and looks into no binary value. A driver
refuses to read such a document and says neither its name nor its place; and read by guessing, it
would no longer be what it was. So whoever meets one is told which, and goes no further.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pymongo.database import Database
from pymongo.errors import PyMongoError

from ..document.collections import JOURNAL, STATE, is_ours
from ..errors import MigrationError
from ..support import listing
from ..values import ejson
from ..values.raw import raw_documents

# To find it, every document is read once more; in a large database it may stay unfound.
_LOOK_SECONDS = 60.0
# What text that isn't UTF-8 becomes where it isn't refused: one of these for each byte.
_NOT_TEXT = re.compile("[\udc80-\udcff]")

Db = Database[dict[str, Any]]
Options = CodecOptions[dict[str, Any]]


def named(database: Db, error: BSONError) -> MigrationError:
    """Return *error*, which the driver raised, with the document that it is about.

    Args:
        database: where it was read.
        error: as the driver raised it.
    """
    try:
        found = _first(database, time.monotonic() + _LOOK_SECONDS)
    except PyMongoError:
        found = None
    if found is None:
        return MigrationError(
            f"A document in database '{database.name}' can't be read: {error}. It wasn't found "
            f"again within {_LOOK_SECONDS:g} s. Nothing can build on what can't be read."
        )
    collection, identity, why = found
    place = f"{database.name}.{collection} {ejson.short(identity)}"
    advice = (
        "Someone else has written there: look who may (docs/privileges.md), keep a copy of the "
        "document, and remove it or put back what it was."
        if is_ours(collection)
        else "Put that value right, or remove the document; then run the same command again."
    )
    return MigrationError(
        f"{place} can't be read: {why}. Nothing can build on what can't be read. {advice}",
        collection=collection,
        id=identity,
    )


def _first(database: Db, until: float) -> tuple[str, Any, str] | None:
    """Return collection, ``_id`` and fault of the first document that can't be read, ours first."""
    names = {
        item["name"]
        for item in listing.collections(database, {"type": "collection"})
        if not item["name"].startswith("system.")
    }
    options = database.codec_options
    for name in sorted(names, key=lambda name: (name not in (STATE, JOURNAL), name)):
        for raw in raw_documents(database, name):
            if time.monotonic() > until:
                return None
            try:
                bson.decode(raw, options)
            except BSONError as error:
                return name, _identity(raw, options), _why(raw, options, error)
    return None


def _identity(raw: bytes, options: Options) -> Any:
    replacing = options.with_options(unicode_decode_error_handler="replace")
    try:
        return bson.decode(raw, replacing).get("_id")
    except BSONError:
        return None


def _why(raw: bytes, options: Options, error: BSONError) -> str:
    try:
        found = bson.decode(
            raw, options.with_options(unicode_decode_error_handler="surrogateescape")
        )
    except BSONError:
        return str(error)
    path, text = next(_not_text(found), ((), ""))
    if not path:
        return str(error)
    where = ".".join(_shown(str(key)) for key in path)
    return f"the text in its field {where!r} isn't UTF-8 ('{_shown(text)}')"


def _not_text(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield path and text of whatever isn't UTF-8, a key or a value."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    elif isinstance(value, str) and _NOT_TEXT.search(value):
        yield above, value
    for key, inner in parts:
        path = (*above, key)
        if isinstance(key, str) and _NOT_TEXT.search(key):
            yield path, key
        yield from _not_text(inner, path)


def _shown(text: str) -> str:
    """Return *text* with its bytes that aren't UTF-8 written out, and not too much of it."""
    written = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return written if len(written) <= 80 else f"{written[:79]}…"
