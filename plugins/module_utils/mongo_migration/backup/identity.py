"""When two ``_id``s are one to the server, told by their bytes.

The server holds ``1``, ``1.0`` and ``NumberDecimal("1.00")`` to be the same ``_id``, and lets a
replacement change one into the other. So what names a document here is not the bytes of its
``_id``, but those of what it is equal to. Whatever else its kind, equal means equal bytes: a
collection's collation doesn't count, since no update turns ``a`` into ``A``.

Millions of these are held in memory, also of an archive that nobody vouches for: so a long one is
its hash.
"""

from __future__ import annotations

import hashlib
import struct
from decimal import Decimal

from bson.decimal128 import Decimal128

from ..values import elements
from ..values.elements import Element

_DOUBLE, _INT32, _INT64, _DECIMAL = 0x01, 0x10, 0x12, 0x13
_STRING, _SYMBOL = 0x02, 0x0E
_NUMBERS = frozenset({_DOUBLE, _INT32, _INT64, _DECIMAL})
_NESTED = frozenset({elements.DOCUMENT, elements.ARRAY})
_UNPACK = {_DOUBLE: struct.Struct("<d"), _INT32: struct.Struct("<i"), _INT64: struct.Struct("<q")}
_LENGTH = struct.Struct("<I")
# The types of BSON begin at 1, or at 0xFF: these are none of them.
_NUMBER, _HASHED = b"\0", b"\xfe"
_KEPT = 64
# Deeper than any server takes a document.
_DEEPEST = 200


def of(raw: bytes, element: Element, depth: int = 0) -> bytes:
    """Return what the value of *element* in *raw* is equal to: the same bytes for equal values.

    Raises:
        ValueError: it isn't BSON, or nested deeper than any server takes it.
    """
    if depth > _DEEPEST:
        raise ValueError(f"an _id is nested deeper than {_DEEPEST} levels")
    kind = element.kind
    if kind in _NUMBERS:
        return _short(_NUMBER + _number(raw, element))
    if kind in _NESTED:
        parts = [bytes([kind])]
        for one in elements.elements(raw, element.start):
            value = of(raw, one, depth + 1)
            parts += [one.name, b"\0", _LENGTH.pack(len(value)), value]
        return _short(b"".join(parts))
    if kind == _SYMBOL:  # long out of use, and equal to a string
        kind = _STRING
    return _short(bytes([kind]) + raw[element.start : element.stop])


def _short(whole: bytes) -> bytes:
    return whole if len(whole) <= _KEPT else _HASHED + hashlib.sha256(whole).digest()


def _number(raw: bytes, element: Element) -> bytes:
    """Return the number in decimal digits, of which each kind of number has finitely many."""
    if element.kind == _DECIMAL:
        exact = Decimal128.from_bid(raw[element.start : element.stop]).to_decimal()
    else:
        exact = Decimal(_UNPACK[element.kind].unpack_from(raw, element.start)[0])
    if exact.is_nan():
        return b"nan"
    sign, digits, exponent = exact.as_tuple()
    if not isinstance(exponent, int):
        return b"-inf" if sign else b"inf"
    padded = "".join(map(str, digits)).lstrip("0")
    text = padded.rstrip("0")
    if not text:
        return b"0"
    return f"{'-' if sign else ''}{text}e{exponent + len(padded) - len(text)}".encode()
