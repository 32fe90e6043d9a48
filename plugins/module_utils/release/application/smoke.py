"""The smoke tests of application hosts: from their variables to requests, from tallies to words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What is read of a host's variables.
NAMES = ("app_health_url", "app_smoke_tests")


def requests(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what to ask one host, as ``requests`` of `http_watch`.

    Args:
        host: its variables.
    """
    found: list[dict[str, Any]] = []
    if host.get("app_health_url"):
        found.append({"name": "health", "url": host["app_health_url"]})
    for test in host.get("app_smoke_tests") or ():
        found.append(
            {
                "name": test["name"],
                "url": test["url"],
                "method": test.get("method", "GET"),
                "headers": test.get("headers") or {},
                "status": test.get("status", 200),
                "contains": test.get("contains", ""),
                "seconds": test.get("seconds", 10),
                **({"body": test["body"]} if test.get("body") is not None else {}),
            }
        )
    return found


def wrong(tally: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    """Return the wrong answers of one host, in words; nothing where all are right.

    Args:
        tally: of `http_watch`; None where there is none.
    """
    if tally is None:
        return ["it gave no account of its answers"]
    return [f"{name}: {problem}" for name, seen in tally.items() for problem in seen["problems"]]
