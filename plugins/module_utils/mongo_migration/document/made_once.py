"""Expressions that give another value when they are asked again: chance, and the clock.

What they gave can't be found anew, neither by the transaction that writes it nor by a verification.
"""

from __future__ import annotations

from typing import Any

_VARYING = ("$$NOW", "$$CLUSTER_TIME", "$rand", "$function")


def varies(expression: Any) -> bool:
    """Return whether *expression* may give something else for the same document."""
    text = str(expression)
    return any(word in text for word in _VARYING)
