"""What may be known of an encrypted archive without its key: a small description beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import ArchiveError
from . import bounded, manifest_format
from .manifest import Base, Manifest

SUFFIX = ".json"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class About:
    """What listing, retention, estimates and an incremental backup need to know of any archive.

    No name of a collection is in it, no definition and no value: ``collections`` holds a mark for
    each, which only who knows its name and UUID can make. ``digest`` is that of the plain archive.
    """

    database: str
    started: str
    finished: str
    consistent: bool
    documents: int
    size: int
    note: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    cluster_time: dict[str, int] | None = None
    base: Base | None = None
    collections: list[str] = field(default_factory=list)
    digest: str = ""

    @classmethod
    def of(cls, manifest: Manifest, digest: str) -> About:
        """Return what *manifest* says of the archive with *digest*."""
        marks = [mark(one.name, one.uuid) for one in manifest.collections if one.uuid]
        known = [one.name for one in fields(cls) if one.name not in ("collections", "digest")]
        return cls(
            **{name: getattr(manifest, name) for name in known}, collections=marks, digest=digest
        )


def mark(name: str, uuid: str) -> str:
    """Return what tells a collection from any other, and shows neither *name* nor *uuid*."""
    return hashlib.sha256(f"{name}\0{uuid}".encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """The description of an encrypted archive: length and hash of the file as it lies there.

    ``key`` is the archive's own secret key, itself an age file that a passphrase opens.
    """

    length: int
    sha256: str
    about: About
    key: str | None = None
    verified: str = ""

    def dump(self) -> bytes:
        """Return its JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False).encode() + b"\n"


def path_of(archive: Path) -> Path:
    """Return where the description of *archive* lies."""
    return archive.with_name(f"{archive.name}{SUFFIX}")


def read(archive: Path) -> Sidecar:
    """Return the description of *archive*.

    Raises:
        ArchiveError: there is none, or it can't be read.
    """
    path = path_of(archive)
    try:
        with path.open("rb") as file:
            whole = bounded.parse_json(bounded.read(file, _MOST_BYTES))
        given = whole.pop("about")
        base = manifest_format.base(given.pop("base", None))
        about = About(**given, base=base)
        found = Sidecar(about=about, **whole)
        _check(found)
    except FileNotFoundError as error:
        raise ArchiveError(
            f"{path.name}, the description of the encrypted archive, isn't beside it. Copy both."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path} can't be read: {error}.") from error
    return found


def _check(found: Sidecar) -> None:
    """Require every value to be of its kind.

    Raises:
        TypeError: one isn't.
        ValueError: a time isn't one.
    """
    about = found.about
    texts = (found.sha256, found.verified, found.key or "", about.database, about.digest)
    numbers = (found.length, about.documents, about.size)
    if not (
        all(isinstance(one, str) for one in (*texts, about.started, about.finished))
        and all(isinstance(one, int) and one >= 0 for one in numbers)
        and isinstance(about.note, dict)
        and isinstance(about.server, dict)
        and manifest_format.is_cluster_time(about.cluster_time or {"t": 0, "i": 0})
        and isinstance(about.collections, list)
        and all(isinstance(one, str) for one in about.collections)
    ):
        raise TypeError("it isn't a description of an archive")
    for moment in (about.started, about.finished):
        if not manifest_format.is_moment(moment):
            raise ValueError("a time in it has no zone, or is none of ours")
