"""What a transfer would do, read document by document, and what is in its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from pymongo.collection import Collection
from xxhash import xxh3_128_digest

from ...document.definition import Step
from ...document.value_sources import Scope
from ...server import connection
from ...values.compare import bind_now, equal_token, hashable
from .. import own_lookups
from ..base import Plan, problem
from ..refusals.unique_indexes import MOST_INSERTED
from ..update import expressions
from ..update.reader import TWICE, Row
from ..update.step import looked_up
from .contract import Transfer, carried
from .items import OPTIONS, key_of
from .reading import changes_of, is_exact

_PAGE = 1000
_SAMPLES = 5
_PREVIEWS = 3
#: What an entry of one document may hold; the server allows 16 MiB.
_MOST_BYTES = 15 << 20
# A command that compares what comes has room for so much.
_MOST_LOOKED_AT = 4 << 20
_FIXES = {
    "taken": "remove the one that has it, leave this one out with `where`, or give it another _id",
    "inexact": "correct these documents",
    "large": "make these documents smaller, or leave them out with `where`",
}
_POLICIES = {
    "taken": "no document is overwritten",
    "inexact": "a rollback is exact",
    "large": "a rollback is exact",
}
_WORDS = {
    "taken": "another document has this _id there, or would get it",
    "inexact": "holds a timestamp of zero, in whose place the server would put its own time",
    "large": "is too large to be kept in the journal with what comes of it",
}


@dataclass(kw_only=True)
class Survey:
    """What was found in one collection."""

    matched: int = 0
    carried: int = 0
    coming: int = 0
    left: int = 0
    previews: list[dict[str, Any]] = field(default_factory=list)
    #: What comes, as far as it is few enough to be looked at further; and its bytes.
    documents: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)
    obstacles: dict[str, list[Any]] = field(default_factory=dict)
    troubles: dict[tuple[str, str, str], list[Any]] = field(default_factory=dict)


def tell_own_lookups(
    plan: Plan, collection: Collection[dict[str, Any]], step: Step, scope: Scope, does: str
) -> None:
    """Tell what *step* would find in *collection*, to whose documents it *does* something."""
    options = changes_of(step.options)
    variables, specs = looked_up(options, f"steps[{step.index}].{step.kind}")
    shown = {variable: path for path, variable in variables.items()}
    own_lookups.tell(
        plan,
        {shown.get(name, f"let.{name}"): spec for name, spec in specs.items()},
        collection=collection,
        where=bind_now(step.options.get("where", {}), scope.now),
        changed={path.split(".")[0] for path in expressions.paths(options)},
        does=does,
        step=step.index,
        scope=scope,
    )


def survey(transfer: Transfer, *, seen: set[bytes] | None) -> Survey:
    """Read all that *transfer* would carry.

    Args:
        transfer: from one collection.
        seen: digests of the new ``_id``s so far, where two documents could get the same one.
    """
    found = Survey()
    position: dict[str, Any] = {}
    while rows := transfer.reader.page(position, _PAGE):
        position = {"last": rows[-1].identity}
        wanted = [row for row in rows if _judged(found, row) and transfer.wanted(row)]
        found.matched += len(rows)
        taken = transfer.taken(wanted)
        for row in wanted:
            if hashable(row.identity) in taken:
                if transfer.leaves(row):
                    found.left += 1
                else:
                    found.obstacles.setdefault("taken", []).append(row.identity)
            elif seen is not None and not _is_new(seen, transfer.new_ids(row)):
                found.obstacles.setdefault("taken", []).append(row.identity)
            else:
                _add(found, transfer, row)
    return found


def _judged(found: Survey, row: Row) -> bool:
    for trouble in row.troubles:
        key = (trouble.path, trouble.policy, trouble.why)
        found.troubles.setdefault(key, []).append(row.identity)
    if not carried(row):
        found.left += any(trouble.policy == "keep" for trouble in row.troubles)
        return False
    return True


def _is_new(seen: set[bytes], ids: Sequence[Any]) -> bool:
    tokens = {xxh3_128_digest(equal_token(one)) for one in ids}
    if len(tokens) < len(ids) or tokens & seen:
        return False
    seen |= tokens
    return True


def _add(found: Survey, transfer: Transfer, row: Row) -> None:
    item, owner = transfer.item(row)
    found.carried += 1
    found.coming += len(item.documents)
    whole = [raw for raw in (item.removed, *item.documents) if raw is not None]
    if not all(map(is_exact, whole)):
        found.obstacles.setdefault("inexact", []).append(row.identity)
    held = len(owner.before) + len(owner.after) if owner else 0
    if item.size + held > _MOST_BYTES:
        found.obstacles.setdefault("large", []).append(row.identity)
    found.size += sum(map(len, item.documents))
    if len(found.documents) < MOST_INSERTED and found.size < _MOST_LOOKED_AT:
        found.documents += [bson.decode(raw, OPTIONS) for raw in item.documents]
    if transfer.references:
        found.pairs.append((row.key, key_of(row.after)))
    if len(found.previews) < _PREVIEWS:
        before = owner.before if owner else row.document
        found.previews.append(
            {
                "_id": row.identity,
                "before": bson.decode(before, OPTIONS),
                "after": None if owner is None else bson.decode(owner.after, OPTIONS),
                "comes": [bson.decode(raw, OPTIONS) for raw in item.documents[:_SAMPLES]],
            }
        )


def tell(plan: Plan, transfer: Transfer, found: Survey) -> None:
    """Add what is in the way, and what is left by policy, to *plan*."""
    for what, ids in found.obstacles.items():
        plan.problems.append(
            problem(
                step=transfer.step,
                collection=transfer.name,
                what=_WORDS[what],
                count=len(ids),
                samples=ids[:_SAMPLES],
                policy=_POLICIES[what],
                fix=_FIXES[what],
            )
        )
    if found.carried and not connection.inspect(transfer.target.database.client).transactions:
        plan.warnings.append(
            f"{transfer.name}: this server has no transactions: a document that the application "
            "changes in the very moment in which it is carried may be met at both places. Stop the "
            "writers"
        )
    for (path, policy, why), ids in found.troubles.items():
        said = f"{path}: {why}"
        if policy == "fail":
            plan.problems.append(
                problem(
                    step=transfer.step,
                    collection=transfer.name,
                    what=said,
                    count=len(ids),
                    samples=ids[:_SAMPLES],
                    policy="when_unfit: fail",
                    fix="write these documents anew, with each field once"
                    if why == TWICE
                    else "correct these documents, leave them out with `where`, or choose keep",
                )
            )
        else:
            done = "set to null" if policy == "null" else "left where they are"
            plan.warnings.append(
                f"{transfer.name}: {len(ids):,} documents {done} by policy: {said}"
            )


def changed(row: Row) -> dict[str, Any]:
    """Return a document of which a field changes, for a preview."""
    before, after = bson.decode(row.before, OPTIONS), bson.decode(row.after, OPTIONS)
    return {
        "_id": row.identity,
        "before": {"_id": row.identity, **before},
        "comes": [{"_id": row.identity, **after}],
    }
