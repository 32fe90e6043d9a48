"""What a check of a verification comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..operations.base import Check
from ..operations.left_alone import item
from ..values.abridged import abridge

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


def left_alone(results: Sequence[Result], plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the documents that a policy left as they are, by collection and reason.

    What an `update` couldn't compute and kept is known from the plan: it is what was there before.
    """
    found = [each for one in results if isinstance(one, Check) for each in one.left_alone]
    found += [
        item(
            row["collection"],
            f"{each['path']}: {each['why']}",
            policy=each["policy"],
            count=each["count"],
            ids=each["samples"],
        )
        for row in plan["steps"]
        for each in row.get("unfit", ())
        if each["policy"] != "fail"
    ]
    return [{**each, "ids": list(map(abridge, each["ids"]))} for each in found]


def as_dict(result: Result) -> dict[str, Any]:
    """Return a result as plain values."""
    return result if isinstance(result, dict) else result.as_dict()
