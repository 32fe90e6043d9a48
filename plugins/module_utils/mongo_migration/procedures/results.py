"""What a check of a verification comes to."""

from __future__ import annotations

from typing import Any

from ..operations.base import Check

# A check, or one that couldn't be made.
Result = Check | dict[str, Any]


def skipped(name: str, why: str) -> dict[str, Any]:
    """Return that a check wasn't made, and why."""
    return {
        "name": name,
        "status": "skipped",
        "expected": None,
        "observed": None,
        "examined": 0,
        "detail": why,
        "samples": [],
    }


def as_dict(result: Result) -> dict[str, Any]:
    """Return a result as plain values."""
    return result if isinstance(result, dict) else result.as_dict()
