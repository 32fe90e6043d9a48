"""When two ``_id``s are one to the server, told by their bytes.

The server holds ``1``, ``1.0`` and ``NumberDecimal("1.00")`` to be the same ``_id``, and lets a
replacement change one into the other. So what names a document here is not the bytes of its
``_id``, but those of what it is equal to. Whatever else its kind, equal means equal bytes: a
collection's collation doesn't count, since no update turns ``a`` into ``A``.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from fractions import Fraction
from math import isfinite, isnan

from bson.decimal128 import Decimal128

from ..values import elements
from ..values.elements import Element

_DOUBLE, _INT32, _INT64, _DECIMAL = 0x01, 0x10, 0x12, 0x13
_STRING, _SYMBOL = 0x02, 0x0E
_NUMBERS = frozenset({_DOUBLE, _INT32, _INT64, _DECIMAL})
_NESTED = frozenset({elements.DOCUMENT, elements.ARRAY})
_UNPACK = {_DOUBLE: struct.Struct("<d"), _INT32: struct.Struct("<i"), _INT64: struct.Struct("<q")}
_LENGTH = struct.Struct("<I")
# The types of BSON begin at 1, or at 0xFF: this one is none of them.
_NUMBER = b"\0"


def of(raw: bytes, element: Element) -> bytes:
    """Return what the value of *element* in *raw* is equal to: the same bytes for equal values.

    Raises:
        ValueError: it isn't BSON.
    """
    kind = element.kind
    if kind in _NUMBERS:
        return _NUMBER + _number(raw, element)
    if kind in _NESTED:
        parts = [bytes([kind])]
        for one in elements.elements(raw, element.start):
            value = of(raw, one)
            parts += [one.name, b"\0", _LENGTH.pack(len(value)), value]
        return b"".join(parts)
    if kind == _SYMBOL:  # long out of use, and equal to a string
        kind = _STRING
    return bytes([kind]) + raw[element.start : element.stop]


def _number(raw: bytes, element: Element) -> bytes:
    exact: float | Decimal
    if element.kind == _DECIMAL:
        exact = Decimal128.from_bid(raw[element.start : element.stop]).to_decimal()
        finite, is_nan = exact.is_finite(), exact.is_nan()
    else:
        exact = _UNPACK[element.kind].unpack_from(raw, element.start)[0]
        finite, is_nan = isfinite(exact), isnan(exact)
    if is_nan:
        return b"nan"
    if not finite:
        return b"inf" if exact > 0 else b"-inf"
    both = Fraction(exact)
    return b"%x/%x" % (both.numerator, both.denominator)
