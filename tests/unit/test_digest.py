from __future__ import annotations

import random

import bson
from mongo_migration.values.digest import Digest

DOCUMENTS = [bson.encode({"_id": number, "value": "x" * number}) for number in range(50)]


def test_digest_does_not_depend_on_the_order() -> None:
    shuffled = random.Random(7).sample(DOCUMENTS, len(DOCUMENTS))

    assert Digest.of(shuffled) == Digest.of(DOCUMENTS)


def test_parts_add_up_and_can_be_taken_out() -> None:
    whole, first, second = Digest.of(DOCUMENTS), Digest.of(DOCUMENTS[:9]), Digest.of(DOCUMENTS[9:])

    assert first + second == whole
    assert whole - second == first


def test_a_document_that_comes_twice_is_seen() -> None:
    assert Digest.of([DOCUMENTS[3], DOCUMENTS[3]]) != Digest.of([])
    assert Digest.of([*DOCUMENTS, DOCUMENTS[3]]) != Digest.of(DOCUMENTS)


def test_one_changed_bit_changes_it() -> None:
    changed = bytearray(DOCUMENTS[20])
    changed[-3] ^= 1

    assert Digest.of([changed]) != Digest.of([DOCUMENTS[20]])


def test_documents_of_the_same_fields_in_another_order_differ() -> None:
    assert Digest.of([bson.encode({"a": 1, "b": 2})]) != Digest.of([bson.encode({"b": 2, "a": 1})])


def test_written_and_parsed_it_is_equal() -> None:
    digest = Digest.of(DOCUMENTS)

    assert Digest.parse(digest.hexdigest(), digest.count) == digest
    assert digest.as_dict() == {"digest": digest.hexdigest(), "count": 50}
    assert len(digest.hexdigest()) == 32


def test_count_is_part_of_equality() -> None:
    assert Digest(5, 1) != Digest(5, 2)
    assert len({Digest(5, 1), Digest(5, 1)}) == 1
