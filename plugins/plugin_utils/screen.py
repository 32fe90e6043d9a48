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
_LABEL = re.compile(r"\S+ {2,}")


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
    if label := _LABEL.match(line, hang):
        if " " not in line[label.end() :]:
            return [whole]  # a path, to be copied as well
        hang = label.end() if label.end() < width // 4 else hang + 2
    return textwrap.wrap(
        line,
        width - 1,
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    ) or [whole]
