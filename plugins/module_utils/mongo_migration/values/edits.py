"""Raw documents with other fields, made without decoding: what isn't meant keeps every byte."""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterable, Sequence

from .elements import ARRAY, DOCUMENT, Element, elements

_INT32 = struct.Struct("<i")

#: Returns what a value (its type and its bytes) becomes.
Change = Callable[[int, bytes], tuple[int, bytes]]


def document(fields: Iterable[bytes]) -> bytes:
    """Return the document (or array) of *fields*, each with type, name and value."""
    body = b"".join(fields) + b"\0"
    return _INT32.pack(4 + len(body)) + body


def whole_field(raw: bytes, one: Element) -> bytes:
    """Return a field of *raw* with its type and its name."""
    return field(one.kind, one.name, raw[one.start : one.stop])


def field(kind: int, name: bytes, value: bytes) -> bytes:
    """Return a field."""
    return bytes([kind]) + name + b"\0" + value


def field_of(raw: bytes, name: bytes) -> tuple[int, bytes]:
    """Return type and value of the field *name*, which is there."""
    one = next(one for one in elements(raw) if one.name == name)
    return one.kind, raw[one.start : one.stop]


def kind_at(raw: bytes, path: Sequence[bytes]) -> int | None:
    """Return the type of the value at *path*, or None where there is none."""
    for one in elements(raw):
        if one.name == path[0]:
            if len(path) == 1:
                return one.kind
            inner = raw[one.start : one.stop]
            return kind_at(inner, path[1:]) if one.kind == DOCUMENT else None
    return None


def without(raw: bytes, names: Container[str]) -> bytes:
    """Return *raw* without its top-level fields of these names."""
    return document(
        whole_field(raw, one) for one in elements(raw) if one.name.decode() not in names
    )


def only(raw: bytes, names: Container[str]) -> bytes:
    """Return *raw* with no other top-level fields than those of these names."""
    return document(whole_field(raw, one) for one in elements(raw) if one.name.decode() in names)


def merged(raw: bytes, touched: Container[str], after: bytes) -> bytes:
    """Return *raw* with its *touched* top-level fields as *after* has them.

    A field keeps its place; one that *after* lacks goes, and what is new stands at the end.
    """
    new = {one.name: whole_field(after, one) for one in elements(after)}
    fields = []
    for one in elements(raw):
        if one.name.decode() not in touched:
            fields.append(whole_field(raw, one))
        elif one.name in new:
            fields.append(new.pop(one.name))
    return document([*fields, *new.values()])


def replaced(raw: bytes, path: Sequence[bytes], change: Change) -> bytes:
    """Return *raw* with *change* done to each value at *path*, and to each element of an array.

    Arrays on the way are gone through, as a query does it.
    """
    return document(
        field(one.kind, one.name, raw[one.start : one.stop])
        if one.name != path[0]
        else field(*_named(one, _replaced(one.kind, raw[one.start : one.stop], path[1:], change)))
        for one in elements(raw)
    )


def put(raw: bytes, path: Sequence[bytes], kind: int, value: bytes) -> bytes:
    """Return *raw* with the value at *path*, whose parents are documents; a new one goes last."""
    fields, found = [], False
    for one in elements(raw):
        if one.name != path[0]:
            fields.append(whole_field(raw, one))
            continue
        found = True
        if len(path) == 1:
            fields.append(field(kind, one.name, value))
        else:
            inner = put(raw[one.start : one.stop], path[1:], kind, value)
            fields.append(field(one.kind, one.name, inner))
    if not found and len(path) == 1:
        fields.append(field(kind, path[0], value))
    return document(fields)


def dropped(raw: bytes, path: Sequence[bytes]) -> bytes:
    """Return *raw* without the value at *path*, whose parents are documents."""
    fields = []
    for one in elements(raw):
        if one.name != path[0]:
            fields.append(whole_field(raw, one))
        elif len(path) > 1:
            inner = raw[one.start : one.stop]
            if one.kind == DOCUMENT:
                inner = dropped(inner, path[1:])
            fields.append(field(one.kind, one.name, inner))
    return document(fields)


def _named(one: Element, value: tuple[int, bytes]) -> tuple[int, bytes, bytes]:
    return value[0], one.name, value[1]


def _replaced(kind: int, value: bytes, rest: Sequence[bytes], change: Change) -> tuple[int, bytes]:
    if kind == ARRAY:
        return kind, document(
            field(*_named(one, _element(one, value[one.start : one.stop], rest, change)))
            for one in elements(value)
        )
    if not rest:
        return change(kind, value)
    return (kind, replaced(value, rest, change)) if kind == DOCUMENT else (kind, value)


def _element(
    one: Element, value: bytes, rest: Sequence[bytes], change: Change
) -> tuple[int, bytes]:
    """Return what an element of an array becomes; an array within one isn't looked into."""
    return (one.kind, value) if one.kind == ARRAY else _replaced(one.kind, value, rest, change)
