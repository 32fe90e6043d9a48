"""``report.html``."""

from __future__ import annotations

from pathlib import Path


def render(folder: Path) -> str:
    """Return the report."""
    return ""
