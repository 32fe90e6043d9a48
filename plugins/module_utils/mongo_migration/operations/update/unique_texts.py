"""Texts that no other document has: the same after a kill and a resume, and given once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ...document import reads
from ...document.update_sources import Python
from ...document.value_sources import Found, Resolution, Unresolved
from ...errors import DefinitionError
from ...values.compare import bind_now, hashable
from .equal_texts import EqualTexts

Spec = Mapping[str, Any]
_SEPARATOR = "-"


def check(spec: Spec, path: str, changed: list[str], where: Mapping[str, Any], place: str) -> None:
    """Refuse to make texts of what this very step changes: a resumed run would read other ones.

    Raises:
        DefinitionError: it does.
    """
    read = reads.fields(filters=[where], sources=[{"unique_text": spec}])
    tops = {name.split(".", maxsplit=1)[0] for name in changed} - {path.split(".", maxsplit=1)[0]}
    own = reads.fields(sources=[{"unique_text": spec}])
    if read is None or own is None:
        raise DefinitionError(
            f"{place}: say what the function is given, such as inputs: [$title]: a whole document "
            "holds what this step changes"
        )
    both = (read & tops) | (own & {path.split(".", maxsplit=1)[0]})
    if both:
        raise DefinitionError(
            f"{place}: neither `of` nor `by`, `order` or `where` may read "
            f"{', '.join(sorted(both))}, which the same step changes. Change it in a migration "
            "before or behind this one"
        )


def given(
    collection: Any,
    where: Mapping[str, Any],
    spec: Spec,
    path: str,
    mine: set[bytes],
    *,
    files: Mapping[str, str],
    now: Any,
) -> Iterator[tuple[Any, Resolution]]:
    """Yield the text of each document, as if none of *mine* had one yet.

    In their order, each gets its own text, or the first of ``text-2``, ``text-3``, … that no other
    document of its group has. Where that would give one of *mine* another text than it has,
    documents have come since: then the others go by what is there.
    """
    rows = _rows(collection, where, bind_now(spec, now), path)
    function = Python(spec["of"]["python"], files) if "python" in spec["of"] else None
    for row in rows:
        row["made"] = (
            function.find([row["i"]])[0] if function else Found(row["i"][0], "unique_text")
        )
    same = EqualTexts(collection)
    same.learn(_wanted(rows, spec))
    texts = dict(_given(rows, spec, same, mine))
    written = [row for row in rows if hashable(row["_id"]) in mine]
    if any(_text(texts.get(hashable(row["_id"]))) != row.get("t") for row in written):
        texts = dict(_given(rows, spec, same, set()))
    for row in rows:
        there = row.get("t")
        known = Found(there, "unique_text") if isinstance(there, str) else None
        found = texts.get(hashable(row["_id"]), known)
        if found is not None:
            yield row["_id"], found


def _rows(collection: Any, where: Mapping[str, Any], spec: Spec, path: str) -> list[dict[str, Any]]:
    order = spec.get("order", ["_id"])
    keys = order if isinstance(order, dict) else dict.fromkeys(order, 1)
    by = spec.get("by", [])
    groups = list(by.values()) if isinstance(by, Mapping) else [f"${name}" for name in by]
    of = spec["of"]
    inputs = of["python"]["inputs"] if "python" in of else [of["expression"]]
    if isinstance(inputs, Mapping):
        inputs = list(inputs.values())
    return list(
        collection.aggregate(
            [
                {"$match": {"$or": [where, {path: {"$type": "string"}}]}},
                {"$sort": {**keys, "_id": keys.get("_id", 1)}},
                {"$project": {"g": groups, "t": f"${path}", "i": inputs}},
            ],
            allowDiskUse=True,
        )
    )


def _wanted(rows: list[dict[str, Any]], spec: Spec) -> Iterator[str]:
    """Yield the texts that will be compared: all there are, and the first that would follow."""
    times: Counter[str] = Counter()
    for row in rows:
        yield from (part for part in row["g"] if isinstance(part, str))
        if isinstance(row.get("t"), str):
            yield row["t"]
        text = _text(row["made"])
        if text is not None:
            times[text] += 1
            yield text if times[text] == 1 else _numbered(text, times[text], spec)


def _given(
    rows: list[dict[str, Any]], spec: Spec, same: EqualTexts, mine: set[bytes]
) -> Iterator[tuple[bytes, Resolution]]:
    """Yield the text of each document that gets one: in order, none that another one has."""
    for row in rows:
        row["group"] = hashable([same.key(p) if isinstance(p, str) else p for p in row["g"]])
    taken = {
        (row["group"], same.key(row["t"]))
        for row in rows
        if isinstance(row.get("t"), str) and hashable(row["_id"]) not in mine
    }
    last: dict[tuple[bytes, str], int] = {}
    for row in rows:
        token, group, made = hashable(row["_id"]), row["group"], row["made"]
        if isinstance(row.get("t"), str) and token not in mine:
            continue
        text = _text(made)
        if text is None or not isinstance(made, Found):
            yield token, made if isinstance(made, Unresolved) else Unresolved("it gives no text")
            continue
        number, wanted = last.get((group, text), 1), text
        while (group, same.key(wanted)) in taken:
            number += 1
            wanted = _numbered(text, number, spec)
        taken.add((group, same.key(wanted)))
        last[group, text] = number
        yield token, Found(wanted, "unique_text")


def _numbered(text: str, number: int, spec: Spec) -> str:
    return f"{text}{spec.get('separator', _SEPARATOR)}{number}"


def _text(found: Resolution | None) -> str | None:
    """Return the text that was found; empty text is none."""
    return (
        found.value or None if isinstance(found, Found) and isinstance(found.value, str) else None
    )
