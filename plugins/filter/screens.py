"""Filters that write tables as wide as the screen is."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import screen

# What the callback puts before a line.
_INDENT = 5


def changelog_lines(entries: Sequence[Mapping[str, Any]], files: Sequence[str] = ()) -> list[str]:
    """Return the changelog as lines for people; where nobody looks, with everything in it."""
    from mongo_migration.procedures import changelog_text
    from mongo_migration.support import tables

    with tables.as_wide_as((screen.columns() or 1000) - _INDENT):
        return changelog_text.lines(entries, files)


class FilterModule:
    """The filters."""

    def filters(self) -> Mapping[str, Any]:
        """Return the filters by name."""
        return {"changelog_lines": changelog_lines}
