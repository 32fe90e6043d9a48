"""Secrets in every spelling that they are met in, and their removal from text.

Whoever holds a secret hands it on in many forms: within a connection string, escaped for a URL,
for JSON or for a shell, as base64 of `user:password`, a line of a key. A program that fails repeats
any of them.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "********"
# A part of a secret, or another spelling of it, that is shorter than this would mask half of any
# text. The secret itself is masked whatever its length.
_SHORTEST = 4
_SHORTEST_BASE64 = 8

_AUTHORITY = re.compile(r"[a-z][\w+.-]*://([^\s\"'<>]*)@", re.IGNORECASE)
# What a name ends with that stands for a secret. Not what it holds: authSource is none.
NAMED = re.compile(
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signature|sig|credentials?|auth|authorization)$",
    re.IGNORECASE,
)
# In a query, a DSN, a header, an environment file.
_ASSIGNED = re.compile(
    r"([\w.-]+)\s*[=:]\s*(?!//)(?:(?:Bearer|Basic|Token)\s+)?[\"']?([^\s;&,\"']+)", re.IGNORECASE
)
# Text in text is escaped again and again, and what folds long lines does it at a space.
_LOOSE = {"\\": r"\\+", '"': r"\\*\"", "'": r"\\*'", " ": r"\s+", "\n": r"(?:\n|\\+n)\s*"}
# Escapes of a URL are met in capitals and in small letters.
_ESCAPED = re.compile("%[0-9A-Fa-f]{2}")
_IN_ANY_URI = re.compile(r"(\w[\w+.-]*://[^:/@\s]*:)[^@/\s]+@")


def parts(secret: str) -> set[str]:
    """Return *secret*, and what in it is a secret of its own.

    The password of a URI, what stands behind `password=`, the values of an object of JSON, the
    lines of a key.
    """
    found = {secret}
    for match in _AUTHORITY.finditer(secret):
        authority = match[1]
        # A password may itself hold an unescaped colon or @: take every reading.
        found |= {authority[: at.start()].partition(":")[2] for at in re.finditer("@", authority)}
        found.add(authority.partition(":")[2])
    found |= {match[2] for match in _ASSIGNED.finditer(secret) if NAMED.search(match[1])}
    found |= set(named(_parsed(secret)))
    found |= {line.strip() for line in secret.splitlines()}
    return {part for part in found if part == secret or len(part) >= _SHORTEST}


def named(value: Any, name: str = "") -> Iterator[str]:
    """Yield each text in *value*, plain data, that stands under the name of a secret."""
    if isinstance(value, str) and NAMED.search(name):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from named(each, str(key) if not NAMED.search(name) else name)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from named(each, name)


def substrings(secrets: Iterable[str]) -> set[str]:
    """Return all that must be in no text, for those that replace one substring after the other."""
    known = {secret for secret in secrets if secret.strip()}
    return {
        word
        for secret in known
        for word in (*spellings(secret), *(w for p in parts(secret) for w in _in_base64(p)))
    }


def spellings(secret: str) -> set[str]:
    """Return *secret* and its parts as programs write them; not the ones in base64."""
    found: set[str] = set()
    for part in parts(secret):
        for plain in {part, unquote(part), unquote_plus(part)}:
            if len(plain) >= _SHORTEST:
                found |= set(_spelled(plain))
    return ({secret} | found) - {""}


class Masker:
    """Takes secrets out of text.

    Args:
        secrets: each as a whole, such as a connection string or a key; empty ones are none.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if secret.strip()}
        found = {spelled for secret in known for spelled in spellings(secret)}
        encoded = {
            middle
            for secret in known
            for part in parts(secret) | {unquote(part) for part in parts(secret)}
            for middle in _in_base64(part)
        }
        # The longest first: what is a part of another one must not cut it.
        words = [_pattern(word) for word in sorted(found, key=len, reverse=True)]
        # What surrounds the middle belongs to the same word, and is as secret as that.
        words += [rf"{re.escape(word)}[\w+/=-]*" for word in sorted(encoded, key=len, reverse=True)]
        self._pattern = re.compile("|".join(words)) if words else None

    def text(self, text: str) -> str:
        """Return *text* without the secrets, and without the password of any URI."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _IN_ANY_URI.sub(rf"\1{MASK}@", text) if "://" in text else text

    def value(self, value: Any) -> Any:
        """Return *value*, plain data of JSON, with every text and every name in it masked."""
        if isinstance(value, str):
            masked = self.text(value)
            return value if masked == value else masked
        if isinstance(value, Mapping):
            return {self.value(key): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value


def _pattern(word: str) -> str:
    """Return the regular expression of *word*, as it may be escaped once more or folded."""
    made = "".join(_LOOSE.get(character) or re.escape(character) for character in word)
    return _ESCAPED.sub(r"(?i:\g<0>)", made)


def _spelled(plain: str) -> Iterator[str]:
    yield plain
    for quoted in (quote(plain, safe=""), quote(plain), quote_plus(plain)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
        yield quote(quoted, safe="")
    yield json.dumps(plain)[1:-1]
    yield json.dumps(plain, ensure_ascii=False)[1:-1]
    yield json.dumps(plain)[1:-1].replace("/", "\\/")
    yield repr(plain)[1:-1]
    yield shlex.quote(plain)
    yield plain.replace("'", "''")
    yield html.escape(plain)
    yield html.escape(plain, quote=False)
    yield plain.encode().hex()
    yield plain.encode().hex().upper()


def _in_base64(secret: str) -> Iterator[str]:
    """Yield what base64 of a text that holds *secret* has in common, wherever in it that stands."""
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        # Only what is made of the secret's bits alone.
        middle = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        if len(middle) >= _SHORTEST_BASE64:
            yield middle
            yield middle.translate(str.maketrans("+/", "-_"))


def _parsed(secret: str) -> Any:
    if secret[:1] not in ("{", "["):
        return None
    try:
        return json.loads(secret)
    except (ValueError, RecursionError):
        return None
