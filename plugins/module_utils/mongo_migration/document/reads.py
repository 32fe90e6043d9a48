"""What filters, expressions and sources of values read: fields of a document, other collections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Stands for the whole document.
ALL = ""
_WHOLE = ("$$ROOT", "$$CURRENT")


def fields(
    *,
    filters: Iterable[Any] = (),
    expressions: Iterable[Any] = (),
    sources: Iterable[Mapping[str, Any]] = (),
    paths: Iterable[str] = (),
) -> frozenset[str] | None:
    """Return the top-level fields of a document that are read; None: any of them.

    Args:
        filters: as of a find.
        expressions: of the aggregation language.
        sources: where values come from, as of `set_field` and `update`.
        paths: that are read themselves.
    """
    found = {path.split(".")[0] for path in paths}
    for tree in filters:
        found.update(_of_filter(tree))
    for tree in expressions:
        found.update(_of_expression(tree))
    for source in sources:
        found.update(_of_source(source))
    return None if ALL in found else frozenset(found)


def levels(options: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield *options* and what becomes of elements of arrays, however deep, each with its place."""
    yield where, options
    for path, inner in options.get("each", {}).items():
        yield from levels(inner, f"{where}.each.{path}")


def keys(tree: Any) -> Iterator[str]:
    """Yield the keys of every mapping in *tree*."""
    if isinstance(tree, Mapping):
        yield from tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from keys(item)


def variables(tree: Any) -> frozenset[str]:
    """Return the names that expressions use as ``$$name``."""
    return frozenset(path.split(".")[0] for path in paths(tree))


def paths(tree: Any) -> Iterator[str]:
    """Yield what expressions say behind ``$$``: names, and paths within what they stand for."""
    if isinstance(tree, str):
        if tree.startswith("$$"):
            yield tree[2:]
    elif isinstance(tree, (Mapping, list)):
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            yield from paths(part)


def collections(tree: Any) -> Iterator[str]:
    """Yield the collections that sources and pipelines read, by the document's names."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if isinstance(value, Mapping) and isinstance(value.get("from"), str):
                yield value["from"]
            if key == "$unionWith":
                yield value if isinstance(value, str) else value.get("coll", "")
            yield from collections(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from collections(item)


def lookups(tree: Any) -> Iterator[tuple[str, frozenset[str] | None]]:
    """Yield what sources and pipelines read elsewhere: collection, and its fields or None, any."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            own = key in ("reference", "aggregate") and isinstance(value, Mapping)
            if own and "match" in value:
                yield value["from"], _of_lookup(value)
                # Expressions over the document itself, and stages, which may look up once more.
                yield from lookups([value["match"], value.get("pipeline", [])])
                continue
            if isinstance(value, Mapping) and isinstance(value.get("from"), str):
                yield value["from"], None
            if key == "$unionWith":
                yield value if isinstance(value, str) else value.get("coll", ""), None
            yield from lookups(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from lookups(item)


# Stages that give nothing of a document but what they name.
_PLAIN = {
    "$match", "$sort", "$limit", "$skip", "$group", "$project", "$set", "$addFields", "$unset",
    "$unwind", "$count", "$sortByCount", "$replaceWith", "$replaceRoot", "$setWindowFields",
}  # fmt: skip


def _of_lookup(spec: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the fields of the other collection that a source reads; None: any of them."""
    take = spec.get("take", [])
    paths = [*spec["match"], *([take] if isinstance(take, str) else take)]
    stages = spec.get("pipeline", [])
    if any(set(stage) - _PLAIN for stage in stages):
        return None
    # Keys name fields, too, as of $sort; more than are read does no harm.
    named = [
        key
        for stage in stages
        for body in stage.values()
        for key in keys(body)
        if not key.startswith("$")
    ]
    return fields(
        paths=[*paths, *named],
        filters=[spec.get("where", {})],
        expressions=[stages, *_names(stages)],
    )


def _names(stages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what stages name by a plain text, as expressions."""
    for stage in stages:
        for name in ("$unset", "$count"):
            named = stage.get(name, [])
            yield from (f"${one}" for one in ([named] if isinstance(named, str) else named))


def _of_filter(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "$expr":
                yield from _of_expression(value)
            else:
                if not key.startswith("$"):
                    yield key.split(".")[0]
                yield from _of_filter(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _of_filter(item)


def _of_expression(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key != "$literal":
                yield from _of_expression(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _of_expression(item)
    elif isinstance(tree, str):
        if tree.startswith(_WHOLE):
            yield ALL
        elif tree.startswith("$") and not tree.startswith("$$"):
            yield tree[1:].split(".")[0]


def _of_source(source: Mapping[str, Any]) -> Iterator[str]:
    for kind, body in source.items():
        if kind == "expression":
            yield from _of_expression(body)
        elif kind == "first_of":
            for item in body:
                yield from _of_source(item)
        elif kind in ("reference", "aggregate"):
            yield from _of_expression(body["match"])
            yield from _of_expression(body.get("within", {}).get("value"))
        elif kind == "map":
            yield from _of_expression([body.get("input"), body.get("otherwise")])
        elif kind == "number":
            by = body.get("by", [])
            yield from _of_expression(list(by.values())) if isinstance(by, Mapping) else _tops(by)
            yield from _tops(body.get("order", []))
        elif kind == "python":
            yield from _of_expression(body["inputs"]) if "inputs" in body else [ALL]
        elif kind == "unique_text":
            by = body.get("by", [])
            yield from _of_source(body["of"])
            yield from _of_expression(list(by.values())) if isinstance(by, Mapping) else _tops(by)
            yield from _tops(body.get("order", []))


def _tops(paths: Iterable[str]) -> Iterator[str]:
    return (path.split(".", maxsplit=1)[0] for path in paths)
