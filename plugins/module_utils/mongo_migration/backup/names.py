"""Names of files within an archive, as mongodump makes them and mongorestore reads them."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import quote_plus, unquote_plus

ROOT = "dump"
#: An archive's own name: whole, or what changed since another; plain, or encrypted.
ARCHIVE = re.compile(r"backup-(\d{8}-\d{6})(\.changes)?\.tar\.gz(\.age)?")
# Of what an incremental archive holds: mongorestore must not take it for the whole.
DELTA_ROOT = "delta"
BUCKETS = "system.buckets."
# Collections of an unfinished restore: they are never part of a backup, and the next restore
# removes them.
LOADING = "_migrations_restore."
# What the server neither drops nor renames, but keeps documents of the application in.
SPECIAL = frozenset({"system.js"})
# The server's own, as in "shop.items".
_NAMESPACE_BYTES = 255

# The longest name that leaves room for ".metadata.json.gz" in the 255 bytes of a file name.
_LONGEST = 238
_KEPT = 208


def escape(collection: str) -> str:
    """Return *collection* as mongodump writes it in a file name."""
    escaped = quote_plus(collection, safe="")
    if len(escaped) <= _LONGEST:
        return escaped
    sha1 = hashlib.sha1(collection.encode(), usedforsecurity=False).digest()
    return f"{escaped[:_KEPT]}%24{base64.urlsafe_b64encode(sha1).rstrip(b'=').decode()}"


def unescape(file_name: str) -> str:
    """Return the collection of a file name; for a shortened one, only its metadata knows it."""
    return unquote_plus(file_name)


def data_file(database: str, collection: str, kind: str) -> str:
    """Return the path of the documents; those of a time series are its buckets."""
    stored = BUCKETS + collection if kind == "timeseries" else collection
    return f"{ROOT}/{database}/{escape(stored)}.bson"


def delta_file(part: str, database: str, collection: str, kind: str) -> str:
    """Return the path of a *part* of what an incremental archive holds of a collection."""
    return f"{DELTA_ROOT}/{part}/{data_file(database, collection, kind).removeprefix(f'{ROOT}/')}"


def metadata_file(database: str, collection: str) -> str:
    """Return the path of options and indexes."""
    return f"{ROOT}/{database}/{escape(collection)}.metadata.json"


def problem(database: str, collection: str, kind: str) -> str | None:
    """Return why no server would have a collection of this name in *database*; None if it may.

    The rules are those of NamespaceString in the server.
    """
    stored = BUCKETS + collection if kind == "timeseries" else collection
    own = collection.startswith("system.") and collection not in SPECIAL
    length = len(f"{database}.{stored}".encode(errors="surrogatepass"))
    rules = (
        (not collection, "it is empty"),
        ("\0" in collection, "it holds a NUL"),
        ("$" in collection, "it holds a $"),
        (collection.startswith("."), "it begins with a dot"),
        (own, "it is one of the server's own"),
        (collection.startswith(LOADING), "a restore uses such names for the time of its work"),
        (any("\ud800" <= each <= "\udfff" for each in collection), "it isn't text"),
        (
            length > _NAMESPACE_BYTES,
            f"with the database's name, it is longer than {_NAMESPACE_BYTES} bytes",
        ),
    )
    return next((reason for broken, reason in rules if broken), None)
