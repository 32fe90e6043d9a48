"""An order-independent fingerprint of documents: equal sets of documents have equal digests."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)
_EMPTY = blake2b(digest_size=_BYTES)


class Digest:
    """The sum, modulo 2**128, of BLAKE2b-128 over each document's raw BSON, and their count.

    A sum doesn't depend on the order of reading and, unlike XOR, isn't blind to a document that
    comes twice. It can be made in parts and added up, and a part can be taken out again.
    """

    __slots__ = ("_sum", "count")

    def __init__(self, total: int = 0, count: int = 0) -> None:
        self._sum = total % _MODULUS
        self.count = count

    @classmethod
    def parse(cls, hexdigest: str, count: int) -> Digest:
        """Return the digest that was written as *hexdigest* and *count*."""
        return cls(int(hexdigest, 16), count)

    @classmethod
    def of(cls, documents: Iterable[bytes | memoryview]) -> Digest:
        """Return the digest of *documents*, each one raw BSON."""
        digest = cls()
        digest.add_many(documents)
        return digest

    def add(self, raw: bytes | memoryview) -> None:
        """Count one document, given as raw BSON."""
        self.add_many((raw,))

    def add_many(self, documents: Iterable[bytes | memoryview]) -> None:
        """Count many documents: a fifth of the cost of as many calls of :meth:`add`."""
        # Copying a prepared hash is faster than making one, which parses keyword arguments.
        copy, number = _EMPTY.copy, int.from_bytes
        numbers = []
        for raw in documents:
            one = copy()
            one.update(raw)
            numbers.append(number(one.digest(), "little"))
        self._sum = (self._sum + sum(numbers)) % _MODULUS
        self.count += len(numbers)

    def hexdigest(self) -> str:
        """Return the sum as 32 hexadecimal digits."""
        return f"{self._sum:032x}"

    def as_dict(self) -> dict[str, str | int]:
        """Return the digest as plain values."""
        return {"digest": self.hexdigest(), "count": self.count}

    def __add__(self, other: Digest) -> Digest:
        return Digest(self._sum + other._sum, self.count + other.count)

    def __sub__(self, other: Digest) -> Digest:
        return Digest(self._sum - other._sum, self.count - other.count)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digest):
            return NotImplemented
        return self._sum == other._sum and self.count == other.count

    def __hash__(self) -> int:
        return hash((self._sum, self.count))

    def __repr__(self) -> str:
        return f"Digest({self.hexdigest()}, count={self.count})"
