"""An order-independent fingerprint of documents: equal sets of documents have equal digests."""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_128_intdigest

_MODULUS = 1 << 128


class Digest:
    """The sum, modulo 2**128, of XXH3-128 over each document's raw BSON, and their count.

    A sum doesn't depend on the order of reading and, unlike XOR, isn't blind to a document that
    comes twice. It can be made in parts and added up, and a part can be taken out again.

    XXH3 (https://xxhash.com) finds accidents as well as a cryptographic hash does, at a seventh of
    the time. No sum of hashes stands up to somebody who makes documents that fit; where that
    matters, in archives and evidence, SHA-256 over the whole does.
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
        """Count many documents, without a Python statement for each."""
        numbers = list(map(xxh3_128_intdigest, documents))
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
