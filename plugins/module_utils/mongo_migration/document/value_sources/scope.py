"""What sources read from: the data as they are, and as earlier steps of a plan leave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.client_session import ClientSession

from ..collections import Collections


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What sources read from: the collections, the instant of the run, documents to come."""

    collections: Collections
    now: Any
    # Documents that an earlier step of the plan will insert: a plan must see them, too.
    planned: dict[str, list[dict[str, Any]]]
    comment: str | None = None
    # The transaction that all is read in, where values are found once more for a batch.
    session: ClientSession | None = None
    # By the real name of a collection, what earlier steps of the plan do to its documents: each an
    # operations.futures.Rewrite.
    rewrites: dict[str, list[Any]] = field(default_factory=dict)
    # By the real name, filters for the documents that earlier steps of the plan take away.
    leaving: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    # By the real name, the validator, its level and its action that earlier steps of the plan set.
    rules: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def leave(self, collection: str, selector: Mapping[str, Any]) -> None:
        """Note that an earlier step of the plan takes the documents of *selector* away."""
        self.leaving.setdefault(collection, []).append(dict(selector))

    def staying(self, collection: str, selector: Mapping[str, Any]) -> dict[str, Any]:
        """Return *selector* without what earlier steps of the plan take away."""
        gone = self.leaving.get(collection)
        return {"$and": [selector, {"$nor": list(gone)}]} if gone else dict(selector)
