"""The one place where BSON becomes JSON and extended JSON becomes BSON."""

from __future__ import annotations

import json
from typing import Any

from bson import json_util
from bson.codec_options import CodecOptions
from bson.json_util import JSONMode, JSONOptions

# Dates leave the database as they are: aware, in UTC.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)

_RELAXED = JSONOptions(json_mode=JSONMode.RELAXED, tz_aware=True)
_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True)


def to_plain(value: Any) -> Any:
    """Return *value* as relaxed extended JSON: only dict, list, str, int, float, bool and None."""
    return json.loads(json_util.dumps(value, json_options=_RELAXED))


def from_plain(value: Any) -> Any:
    """Return the BSON value that extended JSON *value* stands for (``{"$oid": …}`` → ObjectId).

    Raises:
        ValueError, TypeError, bson.errors.BSONError: *value* has a malformed ``$type`` wrapper.
    """
    return json_util.loads(json.dumps(value), json_options=_RELAXED)


def in_order(value: Any) -> str:
    """Return canonical extended JSON for *value*, its keys in their order."""
    return json_util.dumps(value, json_options=_CANONICAL, ensure_ascii=False)


def canonical(value: Any) -> str:
    """Return one fixed text for *value*: canonical extended JSON with sorted keys."""
    return json.dumps(
        json.loads(json_util.dumps(value, json_options=_CANONICAL)),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )


def short(value: Any, limit: int = 80) -> str:
    """Return *value* as text for a message, cut to *limit* characters."""
    text = json.dumps(to_plain(value), ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"
