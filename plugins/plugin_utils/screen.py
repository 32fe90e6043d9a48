"""How wide the screen is, and lines that keep to it."""

from __future__ import annotations

import os
import re
import sys
import textwrap

# Where nobody looks, or nobody can tell: what most terminals have room for.
DEFAULT = 100
_NARROWEST = 40
# A line that is there to be pasted is never broken: a terminal folds it without a line break.
_PASTED = re.compile(r"\bansible-playbook |\bansible-vault |\bdb\.|\bmake |https?://")
_BULLET = re.compile(r"\s*(?:(?:[-*•]|\d+\.) +)?")
# One or two columns of words before the text, as in a list of checks.
_LABELS = (re.compile(r"(?:\S+(?: \S+)* {2,}){2}"), re.compile(r"\S+(?: \S+)* {2,}"))


def _terminal() -> int | None:
    try:
        found = sys.__stdout__
        return os.dup(found.fileno()) if found and found.isatty() else None
    except (OSError, ValueError):
        return None


# The callback loads this before Ansible starts a worker, which is detached from the terminal.
_TERMINAL = _terminal()


def columns() -> int | None:
    """Return the width of the terminal that standard output is; None where it is none."""
    if _TERMINAL is None:
        return None
    try:
        found = os.get_terminal_size(_TERMINAL).columns
    except OSError:
        return None
    # Some terminals, of containers above all, have no size.
    return max(_NARROWEST, found or DEFAULT)


def fold(line: str, width: int | None, indent: str = "", *, hang: int = 0) -> list[str]:
    """Return *line* behind *indent* as lines of less than *width* columns, broken between words.

    What follows stands below where the text of the line begins, behind its bullet or its label, and
    *hang* columns further.
    """
    whole = f"{indent}{line}"
    if width is None or len(whole) < width or _PASTED.search(line):
        return [whole]
    begins = _BULLET.match(line)
    hang = len(begins[0]) + hang if begins else hang
    for kind, room in zip(_LABELS, (0.4, 0.25), strict=True):
        label = kind.match(line, hang)
        if label and label.end() < width * room:
            hang = label.end()
            break
    folded = textwrap.wrap(
        line,
        width - 1,
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
    if len(folded) > 1 and folded[0].strip() == line[:hang].strip():
        # A label alone, before a word that is longer than the line: a path, to be copied as well.
        folded[:2] = [f"{indent}{line[:hang]}{folded[1].strip()}"]
    return folded or [whole]


def repeats(message: str, shown: str) -> bool:
    """Return whether all of *message* stands in *shown*, the last text on the screen.

    A command's last task fails with its headline and what is next, which its last words just said.
    """
    words = " ".join(shown.split())
    parts = [" ".join(part.split()).rstrip(".") for part in message.split(" Next: ")]
    return bool(words) and all(part and part in words for part in parts)
