"""Candidates of a ``set_field`` step, a page at a time, told apart without decoding each."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.max_key import MaxKey
from pymongo import ASCENDING

from ...values.as_value import as_value
from ...values.raw import embedded, raw_documents, take_id, whole
from ..field_rules import Target

# What the judgement of a candidate rests on, as bytes: its value and the key of its source.
Token = bytes
# Finds documents by a filter, in the order of ``_id``, from a bound on if one is given.
Find = Callable[[dict[str, Any], dict[str, Any] | None], list[bytes]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Documents along ``_id``, a column each."""

    ids: list[Any]
    tokens: list[Token]
    rests: list[bytes]  # all else in each document, where it was asked for
    # By token, unless it is settled: the value ``before`` and the ``key``, if there are any.
    meanings: dict[Token, dict[str, Any]]
    options: CodecOptions[dict[str, Any]]  # to decode others

    def part(self, start: int, stop: int) -> Page:
        """Return the documents from *start* up to *stop*."""
        return replace(
            self,
            ids=self.ids[start:stop],
            tokens=self.tokens[start:stop],
            rests=self.rests[start:stop],
        )

    def meaning(self, token: Token) -> dict[str, Any]:
        """Return what *token* says, also where that was settled when the page was read."""
        found = self.meanings.get(token)
        return bson.decode(whole(token), self.options) if found is None else found


def read(
    target: Target,
    field: str,
    *,
    where: Mapping[str, Any],
    position: Mapping[str, Any],
    limit: int,
    rest: bool,
    settled: Container[Token],
    comment: str,
) -> Page:
    """Return the next documents along ``_id``.

    Args:
        target: where they are, and the expressions whose values are a document's key.
        field: the one that is to be set.
        where: a filter for candidates.
        position: of the walk: what comes after its ``last``.
        limit: documents at most.
        rest: whether to read all else, too.
        settled: tokens whose meaning isn't asked for.
        comment: for the server's operations.
    """
    collection, inputs = target.collection, target.source.inputs
    wanted: dict[str, Any] = {"_id": "$_id", "before": f"${field}"}
    if inputs:
        wanted["key"] = inputs
    projection = {**wanted, "_id": 1}
    if rest:
        others = {"$unsetField": {"field": {"$literal": field}, "input": "$$ROOT"}}
        projection = {"_id": 0, "wanted": as_value(wanted), "rest": others}

    def find(selector: dict[str, Any], minimum: dict[str, Any] | None = None) -> list[bytes]:
        return list(
            raw_documents(
                collection.database,
                collection.name,
                filter={"$and": [where, selector]},
                projection=projection,
                hint={"_id": ASCENDING},
                sort={"_id": ASCENDING},
                minimum=minimum,
                limit=limit,
                batch_size=limit,
                comment=comment,
            )
        )

    return _page(along_id(position, find, limit), collection.codec_options, rest, settled)


def _page(
    found: list[bytes],
    options: CodecOptions[dict[str, Any]],
    rest: bool,
    settled: Container[Token],
) -> Page:
    """Return *found* in columns."""
    rests: list[bytes] = []
    if rest:
        parts = list(map(embedded, found))
        found, rests = [part["wanted"] for part in parts], [part["rest"] for part in parts]
    apart = [take_id(document, options) for document in found]
    tokens = [token for _, token in apart]
    return Page(
        ids=[identity for identity, _ in apart],
        tokens=tokens,
        rests=rests,
        meanings={
            token: bson.decode(whole(token), options)
            for token in dict.fromkeys(tokens)
            if token not in settled
        },
        options=options,
    )


def along_id(position: Mapping[str, Any], find: Find, limit: int) -> list[bytes]:
    """Return the next documents behind *position*, as *find* gives them along ``_id``."""
    if "last" not in position:
        return find({}, None)
    if isinstance(position["last"], MaxKey):
        return []  # nothing comes after it
    # An index bound, not a filter: `$gt` would stop at the end of one BSON type.
    last = {"_id": position["last"]}
    found = find({"_id": {"$ne": last["_id"]}}, last)
    if len(found) < limit:
        # A bound on one side reaches up to the greatest key of all, without that key.
        found += find({"_id": MaxKey()}, None)
    return found
