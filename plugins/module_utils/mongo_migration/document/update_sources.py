"""Sources of an ``update`` that are looked up or made before the statement is written."""

from __future__ import annotations

import builtins
import copy
import inspect
import itertools
import re
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import bson
from bson.binary import Binary, UuidRepresentation
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from pymongo.client_session import ClientSession

from ..errors import DefinitionError
from ..values import ejson
from ..values.compare import bind_now, hashable, one_of
from .value_sources import Found, Resolution, Scope, Unresolved

Row = Mapping[str, Any]

_TOKEN_BYTES = 24
# Sources whose value depends on all documents of the collection.
AMONG_ALL = ("number", "unique_text")
# Documents on which a function of the team is called twice.
_TWICE = 20


class Source(Protocol):
    """Finds or makes a value for each document."""

    inputs: list[Any]
    looks_up: bool  # whether it reads other documents, which later steps may change

    def find(
        self, keys: Sequence[Sequence[Any]], session: ClientSession | None = None
    ) -> list[Resolution]:
        """Return the values for documents by their keys, in the same order."""


def build(
    spec: Mapping[str, Any],
    scope: Scope,
    *,
    files: Mapping[str, str],
    rows: Callable[[Mapping[str, Any]], Iterable[tuple[Any, Resolution]]],
) -> Source:
    """Return the source that *spec* describes.

    Args:
        spec: one of reference, aggregate, generate, number, unique_text, python.
        scope: what it reads from.
        files: texts of the files beside the document.
        rows: gives, by ``_id``, what depends on all documents; see :class:`Given`.
    """
    ((kind, body),) = spec.items()
    if kind in ("reference", "aggregate"):
        return Lookup(body, scope)
    if kind == "generate":
        return Generated(body, scope)
    if kind in AMONG_ALL:
        return Given(spec, rows)
    return Python(body, files)


class Lookup:
    """Documents of another collection, or what a pipeline makes of them, by a key.

    A key of several fields is that of an answer whose key is a document of the same names.
    """

    def __init__(self, spec: Mapping[str, Any], scope: Scope) -> None:
        self._targets = list(spec["match"])
        self.inputs = list(spec["match"].values())
        self.looks_up = True
        self._spec = spec
        self._scope = scope
        self._answers = "pipeline" in spec

    def find(
        self, keys: Sequence[Sequence[Any]], session: ClientSession | None = None
    ) -> list[Resolution]:
        """Look all keys up in one query."""
        wanted = {hashable(one): one for key in keys for one in self._each(key)}
        found: dict[bytes, list[Any]] = {}
        if wanted:
            for row in self._rows(list(wanted.values()), session):
                for token in self._tokens(row):
                    found.setdefault(token, []).append(self._taken(row))
        return [self._one(key, found) for key in keys]

    def _each(self, key: Sequence[Any]) -> list[list[Any]]:
        """Return the keys that a document asks for: its own, or each of an array."""
        several = self._spec.get("many") and len(key) == 1 and isinstance(key[0], list)
        found = [[one] for one in key[0]] if several else [list(key)]
        return [one for one in found if not any(value is None for value in one)]

    def _rows(self, keys: list[list[Any]], session: ClientSession | None) -> Iterable[Row]:
        spec, names = self._spec, self._scope.collections
        columns = zip(self._targets, zip(*keys, strict=True), strict=True)
        pipeline = [
            {"$match": {"$and": [one_of(target, values) for target, values in columns]}},
            *([{"$match": bind_now(spec["where"], self._scope.now)}] if "where" in spec else []),
            *names.map_pipeline(bind_now(spec.get("pipeline", []), self._scope.now)),
        ]
        return names.target(spec["from"]).aggregate(
            pipeline, allowDiskUse=True, comment=self._scope.comment, session=session
        )

    def _tokens(self, row: Row) -> Iterator[bytes]:
        """Yield the keys by which *row* is found: several where a field of them is an array."""
        if not self._answers:
            values = [at(row, target) for target in self._targets]
        else:
            key = at(row, self._spec.get("key", "_id"))
            several = len(self._targets) > 1 and isinstance(key, Mapping)
            values = [at(key, target) for target in self._targets] if several else [key]
        yield hashable(values)
        lists = [value if isinstance(value, list) else [value] for value in values]
        if any(isinstance(value, list) for value in values):
            yield from {hashable(list(one)) for one in itertools.product(*lists)}

    def _taken(self, row: Row) -> Any:
        take = self._spec["take"]
        if isinstance(take, str):
            return at(row, take)
        return {name: row[name] for name in take if name in row}

    def _one(self, key: Sequence[Any], found: Mapping[bytes, list[Any]]) -> Resolution:
        label = f"{self._spec['from']}.{', '.join(self._targets)}"
        rows = [row for one in self._each(key) for row in found.get(hashable(one), [])]
        if self._spec.get("many"):
            return Found(rows, label)
        if len(rows) == 1:
            return Found(rows[0], label)
        if not rows and "otherwise" in self._spec:
            return Found(self._spec["otherwise"], label)
        asked = ", ".join(ejson.short(one) for one in self.inputs)
        if not rows:
            return Unresolved(f"there is none in {label} for {asked}")
        return Unresolved(f"there are several in {label} for {asked}")


def at(row: Row, path: str) -> Any:
    """Return what *row* holds at *path*: through arrays, an array of what their elements hold."""
    first, _, rest = path.partition(".")
    value = row.get(first)
    if not rest:
        return value
    if isinstance(value, list):
        return [at(one, rest) for one in value if isinstance(one, Mapping)]
    return at(value, rest) if isinstance(value, Mapping) else None


class Generated:
    """A value of its own for each document; the journal keeps it with the batch."""

    def __init__(self, kind: str, scope: Scope) -> None:
        self.inputs: list[Any] = []
        self.looks_up = False
        makers: dict[str, Callable[[], Any]] = {
            "uuid": lambda: Binary.from_uuid(uuid.uuid4(), UuidRepresentation.STANDARD),
            "objectId": ObjectId,
            "token": lambda: secrets.token_urlsafe(_TOKEN_BYTES),
            "now": lambda: scope.now,
        }
        self._make = makers[kind]

    def find(
        self, keys: Sequence[Sequence[Any]], session: ClientSession | None = None
    ) -> list[Resolution]:
        """Make one for each."""
        return [Found(self._make(), "generate") for _key in keys]


class Given:
    """Running numbers, and texts that no other document has: each depends on all the others.

    All are given at once, before the first is written, as if none of this run had been: so they
    are the same after a kill and a resume.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        rows: Callable[[Mapping[str, Any]], Iterable[tuple[Any, Resolution]]],
    ) -> None:
        ((self._kind, _body),) = spec.items()
        self.inputs: list[Any] = ["$_id"]
        self.looks_up = True
        self._spec = spec
        self._make = rows
        self._values: dict[bytes, Resolution] | None = None

    def find(
        self, keys: Sequence[Sequence[Any]], session: ClientSession | None = None
    ) -> list[Resolution]:
        """Return the values of documents by ``_id``."""
        tokens = [hashable(key[0]) for key in keys]
        if self._values is None or not all(token in self._values for token in tokens):
            # Also for what came since: it goes on behind the others.
            self._values = {hashable(i): value for i, value in self._make(self._spec)}
        what = "a number" if self._kind == "number" else "text"
        none = Unresolved(f"it holds something else than {what}, or came this very moment")
        return [self._values.get(token, none) for token in tokens]


class Python:
    """The team's own function, from the file beside the document."""

    def __init__(self, spec: Mapping[str, Any], files: Mapping[str, str]) -> None:
        inputs = spec.get("inputs", ["$$ROOT"])
        self._names = list(inputs) if isinstance(inputs, Mapping) else None
        self.inputs: list[Any] = list(inputs.values() if isinstance(inputs, Mapping) else inputs)
        self.looks_up = False
        self._place = f"{spec['file']}: {spec['function']}"
        self._call = function(files, spec["file"], spec["function"])
        _check_call(self._place, self._call, self._names, len(self.inputs))
        self._twice = 0

    def find(
        self, keys: Sequence[Sequence[Any]], session: ClientSession | None = None
    ) -> list[Resolution]:
        """Call it for each; what it raises is said of the document."""
        return [self._one(key) for key in keys]

    def _one(self, key: Sequence[Any]) -> Resolution:
        try:
            value = self._called(key)
            bson.encode({"v": value})
            if self._twice < _TWICE:
                self._twice += 1
                if hashable(self._called(key)) != hashable(value):
                    return Unresolved(f"{self._place} isn't pure: called twice, it gave two values")
        except (Exception, SystemExit) as error:
            said = _ADDRESS.sub("", str(error))
            return Unresolved(f"{self._place} raised {type(error).__name__}: {said}")
        return Found(value, "python")

    def _called(self, key: Sequence[Any]) -> Any:
        given = copy.deepcopy(list(key))
        if self._names is None:
            return _as_bson(self._call(*given))
        return _as_bson(self._call(**dict(zip(self._names, given, strict=True))))


def _as_bson(value: Any) -> Any:
    """Return *value* with UUIDs and decimals of Python as those of BSON."""
    if isinstance(value, uuid.UUID):
        return Binary.from_uuid(value, UuidRepresentation.STANDARD)
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, Mapping):
        return {name: _as_bson(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_bson(one) for one in value]
    return value


# What a run says is said by itself, and files are no part of the digest.
_NOT_ITS = ("print", "input", "open", "breakpoint")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def _refused(*_given: Any, **_named: Any) -> Any:
    raise RuntimeError(
        f"it calls {', '.join(_NOT_ITS[:-1])} or {_NOT_ITS[-1]}: a function is given all it needs, "
        "and returns all it has to say"
    )


def _check_call(
    place: str, call: Callable[..., Any], names: Sequence[str] | None, count: int
) -> None:
    """Refuse a function that can't be called as the document says, or gives no value.

    Raises:
        DefinitionError: it is so.
    """
    if inspect.isgeneratorfunction(call) or inspect.iscoroutinefunction(call):
        raise DefinitionError(f"{place} is a generator or async: let it return the value")
    try:
        signature = inspect.signature(call)
    except (ValueError, TypeError):
        return  # of a built-in one nobody knows
    try:
        if names is None:
            signature.bind(*[None] * count)
        else:
            signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        given = f"inputs {', '.join(names)}" if names is not None else f"{count} given"
        raise DefinitionError(f"{place}{signature} doesn't fit: {error} ({given})") from error


def function(files: Mapping[str, str], name: str, wanted: str) -> Callable[..., Any]:
    """Return the function *wanted* of the file *name*, whose text came with the document.

    Raises:
        DefinitionError: the file isn't there, can't be run, or has no such function.
    """
    if name not in files:
        raise DefinitionError(f"{name}: there is no such file beside the migration document")
    made: dict[str, Any] = {
        "__name__": name.removesuffix(".py"),
        "__file__": name,
        "__builtins__": {**vars(builtins), **dict.fromkeys(_NOT_ITS, _refused)},
    }
    try:
        exec(compile(files[name], name, "exec"), made)
    except (Exception, SystemExit) as error:
        raise DefinitionError(f"{name}: {type(error).__name__}: {error}") from error
    if not callable(made.get(wanted)):
        raise DefinitionError(f"{name} has no function '{wanted}'")
    return made[wanted]  # type: ignore[no-any-return]
