"""Entries of documents that went elsewhere."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from pymongo.database import Database

from ...document.definition import Step
from ...ledger import shapes
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ..base import Touched
from ..entries import Effect, EntryKind, Remaining
from ..update import images, packing
from . import settle as settling
from . import undo as undoing
from .items import (
    afters_of,
    are_items,
    are_pairs,
    id_of,
    items_of,
    raw_items,
)
from .state import Now

_COMMENT = "migration-playbooks verify"
_are_images = shapes.each(
    {
        "collection": str,
        "path": str,
        "counted": shapes.optional(shapes.count),
        **packing.SHAPE,
    }
)


def _are_owners(value: Any) -> bool:
    if value is None:
        return True
    if not shapes.each(packing.SHAPE)([value]):
        return False
    try:
        return len(afters_of(value)) == int(value["count"])
    except (KeyError, ValueError):
        return False


class Transferred(EntryKind):
    """Documents went elsewhere, and what belongs to them followed."""

    holds_documents = True
    shape: ClassVar[Shape] = {
        "target": str,
        "items": are_items,
        "owners": _are_owners,
        "references": _are_images,
        "pairs": are_pairs,
        "removes": bool,
        "created_collection": bool,
    }

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def mistake(self, entry: Entry) -> str:
        """Return in what its parts contradict one another."""
        told = [*entry["references"], *([entry["owners"]] if entry["owners"] else [])]
        if any(one.get("counted", 0) > one["count"] for one in entry["references"]):
            return "it counts more of what follows than there is"
        return next(filter(None, map(packing.mistake, told)), "")

    def touched(self, entry: Entry) -> Touched:
        """Return the collection that documents came to; see :meth:`touches`."""
        return self.touches(entry)[0]

    def touches(self, entry: Entry) -> list[Touched]:
        """Return where documents came and went, and what followed."""
        name = entry["collection"]
        owned = (entry["owners"] or {}).get("fields", ())
        within = name == entry["target"]
        return [
            Touched(collection=entry["target"], inserts=True, removes=within, other_ids=within),
            *([Touched(collection=name, removes=True)] if entry["removes"] and not within else []),
            *(Touched(collection=name, field=one, places=True) for one in owned),
            *(
                Touched(collection=told["collection"], field=one, places=True)
                for told in entry["references"]
                for one in told["fields"]
            ),
        ]

    def ids(self, entry: Entry) -> list[Any]:
        """Return where the documents came from."""
        return [id_of(item.source) for item in items_of(entry)]

    def size(self, entry: Entry) -> int:
        """Return how many documents went, and how many followed."""
        followed = sum(int(told["count"]) for told in entry["references"])
        return len(items_of(entry)) + followed

    def written(self, entry: Entry) -> dict[str, int]:
        """Return what left, what came, and what followed, by collection."""
        name, items = entry["collection"], items_of(entry)
        found: Counter[str] = Counter()
        if entry["target"] == name:
            found[name] += len(items)
        else:
            found[name] += sum(item.removed is not None for item in items)
            found[entry["target"]] += sum(len(item.documents) for item in items)
        if entry["owners"]:
            found[name] += int(entry["owners"]["count"])
        for told in entry["references"]:
            found[told["collection"]] += int(told["count"]) - int(told.get("counted", 0))
        return dict(found)

    def preview(self, entry: Entry) -> dict[str, Any]:
        """Each of them comes back."""
        return {"restore": self.size(entry) - int(entry.get("undone", 0))}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Finish each document that was begun, or take it back."""
        load, _refused = settling.settle(writer, entry)
        return load.counts(removes=entry["removes"], within=entry["collection"] == entry["target"])

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Put each document back where it was, exactly, unless it was changed since."""
        del step
        undoing.undo(writer, entry, on_conflict)

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return those that are still where they went, or not back where they were."""
        now = Now(database, entry, comment=_COMMENT)
        left = [
            id_of(item.source)
            for item in now.items
            if any(now.at_target(raw) == raw for raw in item.documents)
            or (item.removed is not None and now.at_source(item) is None)
        ]
        left += [one.identity for one in now.owners if one.is_written and not one.is_untouched]
        return Remaining(
            what=f"{entry['collection']}: nothing is left of {self.kind}",
            examined=self.size(entry),
            left=left,
        )

    def changed_since(self, database: Database[dict[str, Any]], entry: Entry) -> list[Any]:
        """Return the ids of documents that are where they went and hold something else by now."""
        now = Now(database, entry, comment=_COMMENT)
        return [id_of(raw) for raw in raw_items(now.items) if now.at_target(raw) not in (None, raw)]

    def effects(self, entry: Entry) -> list[Effect]:
        """Return what left, what came, and what followed."""
        items = items_of(entry)
        removed = [item.removed for item in items if item.removed is not None]
        told = [*entry["references"], *([entry["owners"]] if entry["owners"] else [])]
        return [
            Effect(collection=entry["collection"], removed=removed),
            Effect(collection=entry["target"], inserted=list(raw_items(items))),
            *(
                Effect(
                    collection=one.get("collection", entry["collection"]),
                    fields=images.digests(one),
                )
                for one in told
            ),
        ]
