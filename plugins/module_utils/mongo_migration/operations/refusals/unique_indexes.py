"""Which documents a unique index would refuse: the server is asked to compare, as it would itself.

What documents will hold is described by stages: those that a step sets, with their new value, and
those that it inserts, beside the ones that stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import bson
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from xxhash import xxh3_128_digest

from ...support import listing, mongosh
from ...support.retry import is_about_a_document
from ...values.compare import equal_token, hashable
from .. import futures
from ..base import Plan, Scope, problem
from ..futures import Rewrite
from .validators import Refusal

_SAMPLES = 5
# Documents that a step inserts and that are compared: a command has room for so many.
MOST_INSERTED = 2000
# Stands for an empty array, of which a unique index allows one.
_EMPTY = {"$literal": {"empty": "array"}}
# Comparisons of a document with the keys whose value is known, beyond which it takes too long.
_MOST_COMPARISONS = 50_000_000
# Where keys are compared here, so many documents are told with the one that they are the same as.
_REMEMBERED = 200_000


def too_many(documents: int, pairs: int) -> bool:
    """Return whether it would take too long to tell by *pairs* what *documents* will hold."""
    return documents * pairs > _MOST_COMPARISONS


def of(collection: Collection[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the specifications of the unique indexes of *collection*, without that of ``_id``."""
    for spec in listing.indexes(collection.database, collection.name):
        # One that is about to become unique refuses what a unique one would, from now on.
        if spec.get("unique") or spec.get("prepareUnique"):
            yield spec


def fields_of(spec: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the top-level fields that matter to the index *spec*; None: any of them."""
    named = [*spec["key"], *_fields_in(spec.get("partialFilterExpression", {}))]
    if any("$" in name for name in named):
        return None
    return frozenset(name.split(".")[0] for name in named)


def refuses(
    collection: Collection[dict[str, Any]],
    spec: Mapping[str, Any],
    *,
    inserted: Sequence[dict[str, Any]] = (),
    comment: str | None,
) -> Refusal:
    """Return how many documents too many there would be, with the ``_id`` of some.

    Args:
        collection: of the documents, as they are.
        spec: of the index.
        inserted: documents that come.
        comment: for the server's operations.
    """
    return _by_server(collection, spec, [], inserted, comment)


def foreseen(
    collection: Collection[dict[str, Any]],
    spec: Mapping[str, Any],
    *,
    rewrites: Sequence[Rewrite],
    inserted: Sequence[dict[str, Any]] = (),
    comment: str | None,
) -> Refusal | None:
    """Return the same for the documents as *rewrites* make them; None where nobody can tell."""
    mine = [one for one in rewrites if one.concerns(fields_of(spec))]
    if not all(one.told for one in mine):
        return None
    future = futures.of_server(collection, mine)
    if future is not None:
        try:
            return _by_server(collection, spec, future, inserted, comment)
        except OperationFailure as error:
            if not (mine and is_about_a_document(error)):
                raise
    if spec.get("collation"):
        return None
    rows = futures.in_parts(collection, mine, keys(spec), comment=comment)
    if rows is None:
        return None
    coming = futures.through(
        collection.database, map(bson.encode, inserted), keys(spec), comment=comment
    )
    return _twins(chain(rows, coming), len(spec["key"]))


def tell(
    plan: Plan,
    scope: Scope,
    spec: Mapping[str, Any],
    *,
    step: int,
    name: str,
    collection: Collection[dict[str, Any]],
) -> None:
    """Add to *plan* what a unique index refuses once this step and the earlier ones are done.

    Args:
        plan: of the step.
        scope: of the plan, which knows what they do.
        spec: of the index, which is there or will be.
        step: the index of the step.
        name: the document's name of the collection.
        collection: of the documents.
    """
    if (
        spec.get("prepareUnique")
        and (held := refuses(collection, spec, comment=scope.comment)).count
    ):
        plan.problems.append(_not_put_back(step, name, spec["name"], held))
        return
    refusal = foreseen(
        collection,
        spec,
        rewrites=scope.rewrites.get(collection.name, []),
        inserted=scope.planned.get(name, [])[:MOST_INSERTED],
        comment=scope.comment,
    )
    if refusal is None:
        plan.warnings.append(
            f"{name}: whether the documents are unique for '{spec['name']}' can't be known before "
            "they are changed"
        )
    elif refusal.count:
        plan.problems.append(problem_of(step, name, spec["name"], refusal))


def _not_put_back(step: int, collection: str, index: str, refusal: Refusal) -> dict[str, Any]:
    meanwhile = {"collMod": collection, "index": {"name": index, "prepareUnique": False}}
    return problem(
        step=step,
        collection=collection,
        what=f"documents are the same to the index '{index}', whose prepareUnique lets them stay "
        "and be changed, and would refuse to put them back",
        count=refusal.count,
        samples=refusal.samples,
        policy="unique index",
        fix=f"make these documents differ, or take it back meanwhile: {mongosh.run(meanwhile)}",
    )


def later(
    collection: Collection[dict[str, Any]],
    spec: Mapping[str, Any],
    changed: Iterable[Mapping[str, Any]],
    gone: set[bytes],
    *,
    comment: str | None,
) -> Refusal:
    """Return what the index would refuse of documents of which some are *changed*.

    Args:
        collection: of the documents, as they are.
        spec: of the index, which has no collation.
        changed: what :func:`keys` make of those that change.
        gone: hashable ids of those that go.
        comment: for the server's operations.
    """
    seen = set(gone)

    def rows() -> Iterator[Mapping[str, Any]]:
        for row in changed:
            seen.add(hashable(row["_id"]))
            yield row
        for row in collection.aggregate(keys(spec), allowDiskUse=True, comment=comment):
            if hashable(row["_id"]) not in seen:
                yield row

    return _twins(rows(), len(spec["key"]))


def _by_server(
    collection: Collection[dict[str, Any]],
    spec: Mapping[str, Any],
    future: Sequence[dict[str, Any]],
    inserted: Sequence[dict[str, Any]],
    comment: str | None,
) -> Refusal:
    names = {f"k{n}": f"$k{n}" for n in range(len(spec["key"]))}
    coming = [{"$literal": document} for document in inserted]
    stages: list[dict[str, Any]] = [
        *future,
        *([{"$unionWith": {"pipeline": [{"$documents": coming}]}}] if coming else []),
        *keys(spec),
        {
            "$group": {
                "_id": names,
                "count": {"$sum": 1},
                "ids": {"$firstN": {"input": "$_id", "n": _SAMPLES}},
            }
        },
        {"$match": {"count": {"$gt": 1}}},
        {
            "$group": {
                "_id": None,
                "count": {"$sum": {"$subtract": ["$count", 1]}},
                "samples": {"$firstN": {"input": "$ids", "n": _SAMPLES}},
            }
        },
    ]
    options: dict[str, Any] = {"allowDiskUse": True, "comment": comment}
    if spec.get("collation"):
        options["collation"] = {k: v for k, v in spec["collation"].items() if k != "version"}
    else:
        options["collation"] = {"locale": "simple"}
    found = list(collection.aggregate(stages, **options))
    if not found:
        return Refusal(count=0, samples=[])
    return Refusal(count=found[0]["count"], samples=found[0]["samples"])


def keys(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return stages that make of documents the keys that the index *spec* has of them."""
    paths = list(spec["key"])
    there = [{path: {"$exists": True}} for path in paths]
    return [
        *([{"$match": spec["partialFilterExpression"]}] if _partial(spec) else []),
        *([{"$match": {"$or": there}}] if spec.get("sparse") else []),
        {"$project": {f"k{number}": _keys_of(path) for number, path in enumerate(paths)}},
        *({"$unwind": f"$k{number}"} for number in range(len(paths))),
    ]


def _twins(rows: Iterable[Mapping[str, Any]], keys: int) -> Refusal:
    """Compare keys here, as the server does; of very many, the partner isn't told."""
    seen: dict[bytes, Any] = {}
    count, samples = 0, list[Any]()
    for row in rows:
        parts = [equal_token(row[f"k{number}"]) for number in range(keys)]
        token = xxh3_128_digest(hashable(parts))
        if token not in seen:
            seen[token] = row["_id"] if len(seen) < _REMEMBERED else None
            continue
        count += 1
        if len(samples) < _SAMPLES:
            first = seen[token]
            samples.append([row["_id"]] if first is None else [first, row["_id"]])
    return Refusal(count=count, samples=samples)


def problem_of(step: int, collection: str, index: str, refusal: Refusal) -> dict[str, Any]:
    """Return what a plan says of documents that *index* would refuse."""
    return problem(
        step=step,
        collection=collection,
        what=f"documents would be the same to the unique index '{index}'",
        count=refusal.count,
        samples=refusal.samples,
        policy="unique index",
        fix="make these documents differ, or change the index",
    )


def _partial(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("partialFilterExpression"))


def _keys_of(path: str) -> dict[str, Any]:
    """Return an expression for the keys that an index makes of the value at *path*."""
    value = {"$ifNull": [f"${path}", None]}
    some = {"$cond": [{"$eq": ["$$value", []]}, [_EMPTY], "$$value"]}
    return {
        "$let": {
            "vars": {"value": value},
            # An array may hold a value twice: that is one document all the same.
            "in": {"$cond": [{"$isArray": ["$$value"]}, {"$setUnion": [some]}, ["$$value"]]},
        }
    }


def _fields_in(tree: Any) -> set[str]:
    """Return the fields that a filter names."""
    if isinstance(tree, list):
        return {name for item in tree for name in _fields_in(item)}
    if not isinstance(tree, Mapping):
        return set()
    return {
        name
        for key, value in tree.items()
        for name in ({key} if not key.startswith("$") else _fields_in(value))
    }
