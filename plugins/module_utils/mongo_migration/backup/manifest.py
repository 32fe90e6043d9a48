"""What an archive says of itself: when, of what, how much, and hashes to hold it to."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import bson
from bson import json_util
from bson.json_util import JSONMode, JSONOptions

from ..ledger.state_format import ENGINE
from ..values.raw import RAW_CODEC
from .catalog import Found
from .footer import FORMAT

NAME = "manifest.json"
TOOL = f"migration-playbooks {ENGINE}"

_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True)


@dataclass(kw_only=True)
class Content:
    """Documents in a file of the archive.

    ``digest`` is None for what has no documents, and in archives of format 1, which had another
    kind of digest: their documents are held to ``sha256`` alone.
    """

    name: str
    file: str | None = None
    count: int = 0
    size: int = 0
    sha256: str | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Base:
    """The archive that an incremental one is based on: the name of its file, and its digest."""

    name: str
    digest: str


@dataclass(kw_only=True)
class Delta:
    """How the documents that an incremental archive holds of a collection relate to its base's.

    ``whole``: they are all, and the base's don't count. Otherwise they replace those of the same
    ``_id``; ``identities`` holds a document ``{_id}`` for each that was removed. Of those here,
    ``added`` weren't in the base; ``removed`` of the base's are gone.
    """

    whole: bool
    added: int = 0
    removed: int = 0
    identities: Content | None = None


@dataclass(kw_only=True)
class Collection(Content):
    """One collection, time series or view.

    ``definition`` is the exact BSON of its options and indexes. The JSON next to it is for people
    and for mongorestore; it can't tell ``{"$regex": …}`` in a view from a regular expression.
    ``delta`` is None in a whole archive, and for a view.
    """

    type: str
    uuid: str | None
    definition: str
    offset: int = 0
    end: int = 0
    at_snapshot: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    indexes: list[dict[str, Any]] = field(default_factory=list)
    delta: Delta | None = None

    @classmethod
    def describe(cls, found: Found) -> Collection:
        """Return the entry of a collection whose documents are still to be written."""
        return cls(
            name=found.name,
            type=found.type,
            uuid=found.uuid,
            definition=base64.b64encode(found.definition).decode(),
            options=_canonical(found.options),
            indexes=[_canonical(index) for index in found.indexes],
        )

    def found(self) -> Found:
        """Return it as it was found on the server."""
        return Found(
            name=self.name,
            type=self.type,
            uuid=self.uuid,
            definition=base64.b64decode(self.definition),
        )

    def exact(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return options and indexes as they were; the documents in them are raw."""
        both = bson.decode(base64.b64decode(self.definition), codec_options=RAW_CODEC)
        return dict(both["options"].items()), [dict(one.items()) for one in both["indexes"]]

    def metadata(self) -> bytes:
        """Return the text of mongodump's ``.metadata.json``."""
        text: dict[str, Any] = {"options": self.options} if self.options else {}
        text["indexes"] = self.indexes
        if self.uuid:
            text["uuid"] = self.uuid
        text |= {"collectionName": self.name, "type": self.type}
        return json.dumps(text, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(kw_only=True)
class File:
    """A file of the archive: where its tar header lies and where its content ends."""

    name: str
    offset: int
    content: int
    end: int
    size: int
    sha256: str


@dataclass(kw_only=True)
class Manifest:
    """All that is known of an archive. Times are ISO 8601 in UTC.

    ``base`` is None for a whole one. One that has a base holds only what changed since.
    """

    database: str
    started: str
    finished: str
    server: dict[str, Any]
    consistent: bool
    reason: str | None
    snapshot_time: str | None
    cluster_time: dict[str, int] | None
    collections: list[Collection]
    files: list[File]
    runs: list[dict[str, Any]] = field(default_factory=list)
    note: dict[str, Any] = field(default_factory=dict)
    tool: str = TOOL
    format: int = FORMAT
    base: Base | None = None

    @property
    def contents(self) -> list[Content]:
        """Return all that has documents in a file."""
        deltas = [one.delta.identities for one in self.collections if one.delta]
        return [one for one in (*self.collections, *deltas) if one is not None and one.file]

    @property
    def documents(self) -> int:
        """Return how many documents the archive holds."""
        return sum(one.count for one in self.collections)

    @property
    def size(self) -> int:
        """Return how many bytes of BSON the archive holds."""
        return sum(one.size for one in self.collections)

    def dump(self) -> bytes:
        """Return the manifest's JSON."""
        whole = asdict(self)
        # Earlier versions read a whole archive, and know nothing of these.
        for one in (whole, *whole["collections"]):
            for key in ("base", "delta"):
                if one.get(key, False) is None:
                    del one[key]
        return json.dumps(whole, indent=1, ensure_ascii=False).encode()

    def summary(self) -> dict[str, Any]:
        """Return the manifest as a module returns it: without what only a reader needs."""
        hidden = {"definition", "offset", "end", "options", "indexes"}
        whole = asdict(self)
        del whole["files"]
        whole["collections"] = [
            {key: value for key, value in one.items() if key not in hidden}
            | {"indexes": [index["name"] for index in one["indexes"]]}
            for one in whole["collections"]
        ]
        return whole | {"documents": self.documents, "size": self.size}


def _canonical(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json_util.dumps(value, json_options=_CANONICAL))
    return plain
