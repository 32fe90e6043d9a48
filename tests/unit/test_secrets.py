"""Secrets in every spelling."""

from __future__ import annotations

import base64
import json
import random
import shlex
from urllib.parse import quote, quote_plus

import pytest
from mongo_migration.support import secrets

PASSWORD = "pä'ß {{w}}/or+d&%41\"\\x"
URI = f"mongodb://app:{quote(PASSWORD, safe='')}@db1,db2/bizzai?replicaSet=rs0"


@pytest.mark.parametrize(
    "written",
    [
        PASSWORD,
        quote(PASSWORD, safe=""),
        quote(PASSWORD),
        quote_plus(PASSWORD),
        quote(PASSWORD, safe="").replace("%C3", "%c3"),
        quote(quote(PASSWORD, safe=""), safe=""),
        json.dumps({"password": PASSWORD}),
        json.dumps({"password": PASSWORD}, ensure_ascii=False),
        repr(PASSWORD),
        repr([json.dumps(PASSWORD)]),
        json.dumps(json.dumps([json.dumps(PASSWORD)])),
        PASSWORD.replace(" ", "\n    "),
        shlex.quote(PASSWORD),
        PASSWORD.encode().hex(),
        URI,
        URI.replace("app:", "other:"),
    ],
)
@pytest.mark.parametrize("secret", [PASSWORD, URI], ids=["password", "uri"])
def test_no_spelling_of_a_password_is_left(secret: str, written: str):
    masked = secrets.Masker([secret]).text(f"before {written} after")

    assert secrets.MASK in masked
    for part in ("w}}", "or+d", "or%2Bd", "p%C3%A4", "p%c3%a4", PASSWORD.encode().hex()):
        assert part not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


@pytest.mark.parametrize("before", ["", "u", "user:", "a longer user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_secret_is_found_wherever_it_stands(before: str, encode):
    password = "".join(random.choices("abcdefgh?>~ÿ0123", k=16))
    written = encode(f"{before}{password} and more".encode()).decode()

    masked = secrets.Masker([password]).text(f"Authorization: Basic {written}\nnext")

    rest = masked.removeprefix("Authorization: Basic ").removesuffix("\nnext")
    assert secrets.MASK in rest
    # What is left is before the secret, and at most the four bits that it shares with that.
    kept = rest.partition(secrets.MASK)[0]
    assert len(kept) <= -(-len(before) * 8 // 6)
    assert rest.endswith(secrets.MASK)


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("postgres://u:p4ss@word@h/db", "p4ss@word"),
        ("redis://:onlypass@h:6379/0", "onlypass"),
        ("host=db user=app password=s3cretword sslmode=on", "s3cretword"),
        ("https://hooks.example.com/x?access_token=tok-12345&v=1", "tok-12345"),
        ('{"user": "app", "password": "from json"}', "from json"),
        ("-----BEGIN KEY-----\nMIIEvQIBADAN\nAbcd+/123456\n-----END KEY-----", "MIIEvQIBADAN"),
    ],
)
def test_a_secret_within_a_secret_is_masked_too(secret: str, part: str):
    assert part not in secrets.Masker([secret]).text(f"login with {part} failed")


def test_a_password_of_any_uri_is_masked_and_all_else_stays():
    text = "see https://docs.example.com/a@b and mongodb://u:p@h/ at 10:20"

    assert secrets.Masker([]).text(text) == text.replace("u:p@", f"u:{secrets.MASK}@")


def test_the_whole_goes_before_its_parts():
    masker = secrets.Masker(["pass", "password-long"])

    assert masker.text("password-long pass") == f"{secrets.MASK} {secrets.MASK}"


def test_data_keeps_its_form():
    masker = secrets.Masker(["s3cret"])

    assert masker.value({"a": ["x s3cret", 1, None, {"s3cret": True}]}) == {
        "a": [f"x {secrets.MASK}", 1, None, {secrets.MASK: True}]
    }


def test_a_short_secret_masks_itself_and_no_part_of_other_words():
    masker = secrets.Masker(["ab"])

    assert masker.text("ab YWI= 6162") == f"{secrets.MASK} YWI= 6162"
