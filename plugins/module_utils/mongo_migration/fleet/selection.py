"""Which databases are meant: by name, by pattern, or as a collection of tenants says.

A name that comes from the server is anybody's text. It becomes a database's name, a folder of
archives and a file of evidence, so its shape is checked here, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson.errors import BSONError
from pymongo import MongoClient

from ..errors import Collector, ConnectionFailedError, MigrationError
from ..server import connection
from ..support import neutral
from ..support.listing import SERVERS_OWN
from ..values import ejson

Client = MongoClient[dict[str, Any]]

# More than anybody runs in one go; a wrong query would name every document of a collection.
MOST = 20_000
# Of ASCII alone: letters of other scripts look like these, and one tenant then like another. None
# that begins with a hyphen, which a command takes for an option.
_SHAPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_SHAPE_WORDS = "letters (a to z), digits, _ and -, 1 to 63, not beginning with -"
_SHOWN = 10
_QUERY_KEYS = frozenset({"from", "take", "where"})


class SelectionError(MigrationError):
    """What `mongo_databases` says names no databases; nothing was written."""


@dataclass(frozen=True)
class Query:
    """Where the names of the databases are kept.

    Args:
        database: that holds the collection.
        collection: of the tenants.
        take: the field that holds the name.
        where: which documents count.
    """

    database: str
    collection: str
    take: str
    where: Mapping[str, Any]


Source = Sequence[str] | re.Pattern[str] | Query


def parse(given: Any) -> Source:
    """Return what `mongo_databases` means.

    Args:
        given: a list of names, a pattern that begins with ``^``, or a mapping with ``from``
            (``database.collection``), ``take`` (a field) and perhaps ``where`` (a filter).

    Raises:
        SelectionError: it is none of these.
    """
    if isinstance(given, str):
        return _pattern(given)
    if isinstance(given, Mapping):
        return _query(given)
    if isinstance(given, Sequence) and given and all(isinstance(each, str) for each in given):
        return list(given)
    raise SelectionError(
        "mongo_databases: must be a list of names, a pattern such as ^tenant_, or a query such as "
        f"{{from: control.tenants, take: database}}, not {neutral.line(repr(given))[:80]}. Leave "
        "it out where there is one database."
    )


def resolve(client: Client, source: Source) -> list[str]:
    """Return the names of the databases, each once, in the order of their names.

    Raises:
        SelectionError: there are none, too many, or what is found can't be a database's name.
    """
    if isinstance(source, Query):
        found = _asked(client, source)
    elif isinstance(source, re.Pattern):
        found = _matching(client, source)
    else:
        found = sorted(set(source))
    problems, twins = Collector(SelectionError), dict[str, str]()
    for name in found:
        twin = twins.setdefault(name.lower(), name)
        if wrong := _wrong(name) or _alike(name, twin):
            problems.add(f"{neutral.line(repr(name))[:80]}: {wrong}")
        if len(problems.problems) == _SHOWN:
            break
    problems.raise_if_any("mongo_databases names what can't be migrated; nothing was written:")
    if len(found) > MOST:
        raise SelectionError(f"mongo_databases names {len(found):,} databases; {MOST:,} at most.")
    return found


def restrict(names: Sequence[str], only: Iterable[str]) -> list[str]:
    """Return those of *names* that *only* names, or all where it names none.

    Raises:
        SelectionError: one of them isn't among *names*.
    """
    wanted = set(only)
    if not wanted:
        return list(names)
    if unknown := sorted(wanted - set(names)):
        shown = neutral.listed(unknown, most=_SHOWN)
        raise SelectionError(
            f"-e databases names {shown}, which mongo_databases doesn't. It names {len(names):,}: "
            f"{neutral.listed(names, most=3)}."
        )
    return [name for name in names if name in wanted]


def is_name(text: str) -> bool:
    """Return whether *text* is a name of a database that this project works with."""
    return _SHAPE.fullmatch(text) is not None


def _pattern(text: str) -> re.Pattern[str]:
    if not text.startswith("^") or text in ("^", "^.*", "^.*$"):
        raise SelectionError(
            f"mongo_databases: {neutral.line(text)[:80]!r} isn't a pattern that says which "
            "databases are meant: begin it with ^ and what their names have in common, "
            "such as ^tenant_, or give a list of names."
        )
    try:
        return re.compile(text)
    except re.error as error:
        raise SelectionError(
            f"mongo_databases: {neutral.line(text)[:80]!r} is not a regular expression: {error}."
        ) from error


def _query(given: Mapping[str, Any]) -> Query:
    place, take = given.get("from"), given.get("take")
    where = given.get("where", {})
    database, _dot, collection = place.partition(".") if isinstance(place, str) else ("", "", "")
    fits = database and collection and isinstance(take, str) and take
    if set(given) - _QUERY_KEYS or not fits or not isinstance(where, Mapping):
        raise SelectionError(
            "mongo_databases: a query has from (DATABASE.COLLECTION), take (the field that holds "
            "the name of a database) and, if wanted, where (a filter), such as "
            "{from: control.tenants, take: database, where: {active: true}}."
        )
    try:
        return Query(database, collection, str(take), ejson.from_plain(dict(where)))
    except (ValueError, TypeError, BSONError) as error:
        raise SelectionError(
            f"mongo_databases: where isn't MongoDB extended JSON: {error}."
        ) from error


def _asked(client: Client, query: Query) -> list[str]:
    place = f"{query.database}.{query.collection}"
    documents = (
        client[query.database][query.collection]
        .with_options(codec_options=ejson.CODEC)
        .find(dict(query.where), {query.take: 1})
        .limit(MOST + 1)
    )
    names: set[str] = set()
    for document in documents:
        value: Any = document
        for part in query.take.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not isinstance(value, str) or not _SHAPE.fullmatch(value):
            raise SelectionError(
                f"{place}: the document {ejson.short(document.get('_id'))} holds in {query.take} "
                f"{neutral.line(ejson.short(value))[:80]}, which is not a name of a database that "
                f"this project works with: {_SHAPE_WORDS}. Correct it, or leave it out with where."
            )
        names.add(value)
    if not names:
        raise SelectionError(f"{place} names no database in {query.take}: is the query right?")
    return sorted(names)


def _matching(client: Client, pattern: re.Pattern[str]) -> list[str]:
    there = client.admin.command(
        {"listDatabases": 1, "nameOnly": True, "authorizedDatabases": True}
    )
    names = {str(each["name"]) for each in there["databases"]} - SERVERS_OWN
    if found := sorted(name for name in names if pattern.search(name)):
        return found
    raise SelectionError(
        f"No database matches {pattern.pattern} (mongo_databases). This user sees "
        f"{', '.join(neutral.line(name) for name in sorted(names)[:_SHOWN]) or 'none'}."
    )


def _wrong(name: str) -> str:
    if name in SERVERS_OWN:
        return "is the server's own"
    try:
        connection.check_database_name(name)
    except ConnectionFailedError:
        return "can't be the name of a database"
    return "" if _SHAPE.fullmatch(name) else f"is none of those that are known here: {_SHAPE_WORDS}"


def _alike(name: str, twin: str) -> str:
    """Return what is wrong about two names that a server, or a folder, takes for one."""
    return "" if name == twin else f"differs from {twin} by case alone: no server has both"
