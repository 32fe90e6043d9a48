"""Whether two names are one person's, and what a name may be made of."""

from __future__ import annotations

import re
import unicodedata

# Letters that nobody sees though Unicode counts them as letters.
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0")
_ADDRESS = re.compile(r"<([^<>]*)>\s*$")
# Letters of these look like one another's.
_ALIKE = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE")


def key(name: str) -> str:
    """Return what two spellings of one person's name have in common; empty for no name.

    The account counts: what follows ``@`` or ``+``, a domain before a backslash, the case, forms of
    letters, accents, punctuation and what can't be seen don't.
    """
    address = _ADDRESS.search(name)
    account = unicodedata.normalize("NFKD", address.group(1) if address else name)
    account = account.rpartition("\\")[2].partition("@")[0].partition("+")[0]
    return "".join(
        letter for letter in account.casefold() if letter.isalnum() and letter not in _UNSEEN
    )


def same(one: str, other: str) -> bool:
    """Return whether both names are one person's."""
    return key(one) == key(other)


def oddity(text: str) -> str:
    """Return what in *text* can't be read as it stands there; empty if nothing.

    Line breaks, control characters and characters without a picture would let one text pass for
    another one, in a list, on a screen, or before the eyes of an auditor.
    """
    for letter in text:
        if letter in _UNSEEN or not letter.isprintable():
            name = unicodedata.name(letter, "control character").lower()
            return f"it holds what can't be seen: U+{ord(letter):04X} ({name})"
    scripts = {script for letter in text if (script := _script(letter))}
    if len(scripts) > 1:
        return f"it mixes {' and '.join(sorted(script.capitalize() for script in scripts))} letters"
    return ""


def _script(letter: str) -> str:
    if not letter.isalpha():
        return ""
    word = unicodedata.name(letter, "").partition(" ")[0]
    return word if word in _ALIKE else ""
