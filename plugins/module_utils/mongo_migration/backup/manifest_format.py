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
from .footer import FORMAT
from .manifest import Collection, File, Manifest

_DIGESTS_SINCE = 2  # the format that has today's kind
_MOST = 1 << 62
_DATABASE = re.compile(r'[^/\\. "$*<>:|?\0]{1,63}')

Kind = Callable[[Any], bool]


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _moment(value: Any) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


def _hex(digits: int) -> Kind:
    pattern = re.compile(rf"[0-9a-f]{{{digits}}}")
    return lambda value: isinstance(value, str) and bool(pattern.fullmatch(value))


def _or_none(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


def _of(kind: type) -> Kind:
    return lambda value: isinstance(value, kind)


def _objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _cluster_time(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _count(value.get(key)) and value[key] < 1 << 32 for key in ("t", "i")
    )


_COLLECTION: Mapping[str, Kind] = {
    "name": _text,
    "type": lambda value: value in ("collection", "timeseries", "view"),
    "uuid": _or_none(_text),
    "definition": _text,
    "file": _or_none(_text),
    **dict.fromkeys(("offset", "end", "count", "size"), _count),
    "sha256": _or_none(_hex(64)),
    "digest": _or_none(_hex(32)),
    "at_snapshot": _of(bool),
    "options": _of(dict),
    "indexes": _objects,
}
_FILE: Mapping[str, Kind] = {
    "name": _text,
    **dict.fromkeys(("offset", "content", "end", "size"), _count),
    "sha256": _hex(64),
}
_MANIFEST: Mapping[str, Kind] = {
    "database": lambda value: isinstance(value, str) and bool(_DATABASE.fullmatch(value)),
    "started": _moment,
    "finished": _moment,
    "server": lambda value: isinstance(value, dict) and isinstance(value.get("version", ""), str),
    "consistent": _of(bool),
    "reason": _or_none(_text),
    "snapshot_time": _or_none(_moment),
    "cluster_time": _or_none(_cluster_time),
    "collections": _objects,
    "files": _objects,
    "runs": _objects,
    "note": _of(dict),
    "tool": _text,
    "format": _count,
}


def parse(text: bytes) -> Manifest:
    """Return the manifest in *text*.

    Raises:
        ArchiveError: it isn't one, it is of a newer format, or it names what no server would have.
    """
    try:
        whole = bounded.parse_json(text)
        number = whole["format"]
        if number > FORMAT:
            raise ArchiveError(
                f"The archive has format {number}; this version reads up to {FORMAT}. "
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
            collections=[Collection(**one) for one in collections],
            files=[File(**one) for one in files],
            **kept,
        )
        if number < _DIGESTS_SINCE:
            for each in found.collections:
                each.digest = None
        check(found)
    except (ValueError, KeyError, TypeError, AttributeError, BSONError) as error:
        raise ArchiveError(f"The archive's manifest can't be read: {error}.") from error
    return found


def check(found: Manifest) -> None:
    """Refuse what a restore couldn't make.

    Raises:
        ArchiveError: a name that no server accepts, twice the same one, or a definition that isn't
            one; the message names the collection.
    """
    seen: set[str] = set()
    files = {one.name for one in found.files}
    for one in found.collections:
        problem = names.problem(found.database, one.name, one.type)
        if problem is None and one.name in seen:
            problem = "it is there twice"
        if problem is None and one.file is not None and found.files and one.file not in files:
            problem = "its file isn't in the archive"
        if problem is None:
            problem = _definition_problem(one)
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
