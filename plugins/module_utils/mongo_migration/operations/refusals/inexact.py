"""Documents of which no driver writes the same bytes again: what was journalled isn't what was.

An array whose keys don't count up, a regular expression whose flags aren't in order, a reference
whose parts are, a document that has a field twice, or such an ``_id``: reading gives the nearest
that a driver knows. A filter made of that finds nothing, and what is put back differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bson
from bson.codec_options import DatetimeConversion
from pymongo.collection import Collection

from ...values.raw import raw_documents
from .validators import Refusal

_SAMPLES = 5
# In which bytes can be arranged in more than one way.
_IN_PARTS = ["object", "array", "regex", "javascriptWithScope"]
# Which drivers write as another type. Of values, the plan tells these by themselves.
_OLD_IDS = ["dbPointer", "symbol", "undefined"]
_OPTIONS: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


def possible(field: str) -> dict[str, Any]:
    """Return an expression: whether a document may be one, by the types of ``_id`` and *field*."""
    return {
        "$or": [
            {"$in": [{"$type": "$_id"}, [*_IN_PARTS, *_OLD_IDS]]},
            {"$in": [{"$type": f"${field}"}, _IN_PARTS]},
        ]
    }


def find(
    collection: Collection[dict[str, Any]],
    selector: Mapping[str, Any],
    field: str,
    *,
    comment: str | None,
) -> Refusal:
    """Return which documents of *selector* can't be found or put back by what a driver reads."""
    count, samples = 0, list[Any]()
    for raw in raw_documents(
        collection.database,
        collection.name,
        filter={"$and": [selector, {"$expr": possible(field)}]},
        projection={field: 1},
        comment=comment,
    ):
        document = bson.decode(raw, _OPTIONS)
        if bson.encode(document) != raw:
            count += 1
            samples += [document["_id"]] if len(samples) < _SAMPLES else []
    return Refusal(count=count, samples=samples)
