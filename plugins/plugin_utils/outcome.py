"""A task's result, as a callback gets it, read alike from every ansible-core since 2.16.

From 2.19 on its parts are public; before, only the underscored ones were there.
"""

from __future__ import annotations

from typing import Any


def values(result: Any) -> dict[str, Any]:
    """Return what the task returned."""
    found: dict[str, Any] = result.result if hasattr(result, "result") else result._result
    return found


def task(result: Any) -> Any:
    """Return the task."""
    return result.task if hasattr(result, "task") else result._task


def host(result: Any) -> Any:
    """Return the host that it ran for."""
    return result.host if hasattr(result, "host") else result._host
