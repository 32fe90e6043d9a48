"""Reads a manifest that nobody vouches for: every value is of its kind, or it is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

import bson
from bson.errors import BSONError

from ..errors import ArchiveError
from ..support.listing import LENIENT
from . import bounded, names, specs
from .footer import INCREMENTAL, NEWEST
from .manifest import Base, Collection, Content, Delta, File, Manifest

_DIGESTS_SINCE = 2  # the format that has today's kind
_MOST = 1 << 62
_YEARS = range(1980, 2200)
_DATABASE = re.compile(r'[^/\\. "$*<>:|?\0]{1,63}')

Kind = Callable[[Any], bool]


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _text(value: Any) -> bool:
    return isinstance(value, str)


def is_moment(value: Any) -> bool:
    """Return whether *value* is a time that an archive of ours can be of.

    Raises:
        ValueError: it is not a time at all.
    """
    if not isinstance(value, str):
        return False
    found = datetime.fromisoformat(value)
    # What becomes a file's name and its time in a tar; calendars end at 1 and 9999.
    return found.tzinfo is not None and found.year in _YEARS


def _hex(digits: int) -> Kind:
    pattern = re.compile(rf"[0-9a-f]{{{digits}}}")
    return lambda value: isinstance(value, str) and bool(pattern.fullmatch(value))


def _or_none(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


def _of(kind: type) -> Kind:
    return lambda value: isinstance(value, kind)


def _objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def is_cluster_time(value: Any) -> bool:
    """Return whether *value* is a cluster time, as a manifest writes it."""
    return isinstance(value, dict) and all(
        _count(value.get(key)) and value[key] < 1 << 32 for key in ("t", "i")
    )


_CONTENT: Mapping[str, Kind] = {
    "name": _text,
    "file": _or_none(_text),
    **dict.fromkeys(("count", "size"), _count),
    "sha256": _or_none(_hex(64)),
    "digest": _or_none(_hex(32)),
}
_COLLECTION: Mapping[str, Kind] = {
    **_CONTENT,
    "type": lambda value: value in ("collection", "timeseries", "view"),
    "uuid": _or_none(_text),
    "definition": _text,
    **dict.fromkeys(("offset", "end"), _count),
    "at_snapshot": _of(bool),
    "options": _of(dict),
    "indexes": _objects,
    "delta": _or_none(_of(dict)),
}
_DELTA: Mapping[str, Kind] = {
    "whole": _of(bool),
    **dict.fromkeys(("added", "removed"), _count),
    "identities": _or_none(_of(dict)),
}
# The name of a file in the same folder, and nothing else.
_BASE: Mapping[str, Kind] = {
    "name": lambda value: isinstance(value, str) and bool(names.ARCHIVE.fullmatch(value)),
    "digest": _hex(64),
}
_FILE: Mapping[str, Kind] = {
    "name": _text,
    **dict.fromkeys(("offset", "content", "end", "size"), _count),
    "sha256": _hex(64),
}
_MANIFEST: Mapping[str, Kind] = {
    "database": lambda value: isinstance(value, str) and bool(_DATABASE.fullmatch(value)),
    "started": is_moment,
    "finished": is_moment,
    "server": lambda value: isinstance(value, dict) and isinstance(value.get("version", ""), str),
    "consistent": _of(bool),
    "reason": _or_none(_text),
    "snapshot_time": _or_none(is_moment),
    "cluster_time": _or_none(is_cluster_time),
    "collections": _objects,
    "files": _objects,
    "runs": _objects,
    "note": _of(dict),
    "tool": _text,
    "format": _count,
    "base": _or_none(_of(dict)),
}


def parse(text: bytes) -> Manifest:
    """Return the manifest in *text*.

    Raises:
        ArchiveError: it isn't one, it is of a newer format, or it names what no server would have.
    """
    try:
        whole = bounded.parse_json(text)
        number = whole["format"]
        if number > NEWEST:
            raise ArchiveError(
                f"The archive has format {number}; this version reads up to {NEWEST}. "
                "Restore it with the version that made it, or a newer one.",
                format=number,
            )
        known = {each.name for each in fields(Manifest)}
        kept = {key: value for key, value in whole.items() if key in known}
        _check(kept, _MANIFEST, "it")
        collections, files = kept.pop("collections"), kept.pop("files")
        for one in collections:
            _check(one, _COLLECTION, f"the collection {one.get('name')!r}")
        for one in files:
            _check(one, _FILE, f"the file {one.get('name')!r}")
        found = Manifest(
            collections=[_collection(one) for one in collections],
            files=[File(**one) for one in files],
            base=base(kept.pop("base", None)),
            **kept,
        )
        if number < _DIGESTS_SINCE:
            for each in found.collections:
                each.digest = None
        check(found)
    except (ValueError, KeyError, TypeError, AttributeError, BSONError) as error:
        raise ArchiveError(f"The archive's manifest can't be read: {error}.") from error
    return found


def base(given: dict[str, Any] | None) -> Base | None:
    """Return what an archive says of its base.

    Raises:
        ValueError: it isn't one.
    """
    if given is None:
        return None
    _check(given, _BASE, "its base")
    return Base(**given)


def _collection(given: dict[str, Any]) -> Collection:
    delta = given.pop("delta", None)
    return Collection(**given, delta=None if delta is None else _delta(delta, given["name"]))


def _delta(given: dict[str, Any], name: str) -> Delta:
    _check(given, _DELTA, f"the change of {name!r}")
    content = given.pop("identities", None)
    if content is None:
        return Delta(**given)
    _check(content, _CONTENT, f"the change of {name!r}")
    return Delta(**given, identities=Content(**content))


def _delta_problem(one: Collection, found: Manifest) -> str | None:
    """Return why *one* says of its change what can't be, if it does."""
    expected = found.base is not None and one.type != "view"
    if (one.delta is not None) != expected:
        return "what changed of it isn't said" if expected else "it says that something changed"
    if one.delta is None or one.delta.whole:
        return None
    there = {each.name for each in found.files}
    gone = one.delta.identities
    if gone is not None and (gone.file not in there or gone.name != one.name):
        return "what was removed of it isn't in the archive"
    return None if one.delta.added <= one.count else "it has fewer documents than were added"


def _shared(one: Collection, taken: set[str]) -> str | None:
    """Return why one file is to hold two things, if it is; add those of *one* to *taken*."""
    for content in (one, one.delta.identities if one.delta else None):
        if content is None or content.file is None:
            continue
        if content.file in taken:
            return "its file is that of another one"
        taken.add(content.file)
    return None


def check(found: Manifest) -> None:
    """Refuse what a restore couldn't make.

    Raises:
        ArchiveError: a name that no server accepts, twice the same one, or a definition that isn't
            one; the message names the collection.
    """
    if (found.base is not None) != (found.format >= INCREMENTAL):
        raise ArchiveError("The archive's format and what it says of its base contradict.")
    seen: set[str] = set()
    files, taken = {one.name for one in found.files}, set[str]()
    for one in found.collections:
        problem = names.problem(found.database, one.name, one.type)
        if problem is None and one.name in seen:
            problem = "it is there twice"
        if problem is None and one.file is not None and found.files and one.file not in files:
            problem = "its file isn't in the archive"
        problem = problem or _delta_problem(one, found) or _definition_problem(one)
        problem = problem or _shared(one, taken)
        if problem:
            raise ArchiveError(
                f"The backup can't be restored: its collection {one.name!r} is none that a server "
                f"would have: {problem}.",
                collection=one.name,
            )
        seen.add(one.name)


def _definition_problem(entry: Collection) -> str | None:
    try:
        raw = base64.b64decode(entry.definition, validate=True)
        both = bson.decode(raw, codec_options=LENIENT)
        entry.exact()
    except (ValueError, BSONError, RecursionError) as error:
        return f"its definition can't be read ({error})"
    options, indexes = both.get("options"), both.get("indexes")
    if not isinstance(options, dict) or not isinstance(indexes, list):
        return "its definition isn't one"
    return specs.problem(options, indexes)


def _check(value: Mapping[str, Any], kinds: Mapping[str, Kind], what: str) -> None:
    for key, given in value.items():
        if key not in kinds or not kinds[key](given):
            raise ValueError(f"{what} has a '{key}' that isn't one")
