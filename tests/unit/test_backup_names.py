from __future__ import annotations

import pytest
from mongo_migration.backup import names


@pytest.mark.parametrize(
    ("collection", "escaped"),
    [
        ("items", "items"),
        ("a b", "a+b"),
        ("a/b", "a%2Fb"),
        ("ünïcode", "%C3%BCn%C3%AFcode"),
        ("x.y-z_~", "x.y-z_~"),
        ("50%", "50%25"),
    ],
)
def test_names_are_escaped_as_mongodump_does(collection: str, escaped: str) -> None:
    assert names.escape(collection) == escaped
    assert names.unescape(escaped) == collection


def test_a_name_of_238_characters_is_kept_and_a_longer_one_shortened() -> None:
    assert names.escape("a" * 238) == "a" * 238
    # SHA-1 of 239 times "a", as URL-safe base64 without padding
    assert names.escape("a" * 239) == "a" * 208 + "%24_cMIV897lX9H69gojV5ddCb0Q5Q"
    assert len(names.escape("ü" * 200)) == 238


def test_paths_follow_the_layout_of_mongodump() -> None:
    assert names.data_file("shop", "items", "collection") == "dump/shop/items.bson"
    assert names.metadata_file("shop", "items") == "dump/shop/items.metadata.json"
    assert names.data_file("shop", "weather", "timeseries") == (
        "dump/shop/system.buckets.weather.bson"
    )
    assert names.metadata_file("shop", "weather") == "dump/shop/weather.metadata.json"
