"""What the server computes in a projection, whatever a document has under that name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_value(computed: Any) -> Any:
    """Return *computed*, an expression, as the value of a projection.

    A plain object there is no value to the server, but paths into what the document has: where that
    is an array, each of its elements gets them. A `$let` without variables doesn't help: the server
    takes it away before it looks again.
    """
    if isinstance(computed, Mapping):
        is_operator = len(computed) == 1 and next(iter(computed)).startswith("$")
        return dict(computed) if is_operator else {"$mergeObjects": [computed]}
    return computed if isinstance(computed, str | list) else {"$literal": computed}
