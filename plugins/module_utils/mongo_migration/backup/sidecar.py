"""What may be known of an encrypted archive without its key: a small description beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import ArchiveError
from .manifest import Manifest

SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class About:
    """What listing, retention and estimates need to know of any archive.

    No name of a collection is in it, no definition and no value.
    """

    database: str
    started: str
    finished: str
    consistent: bool
    documents: int
    size: int
    note: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> About:
        """Return what *manifest* says."""
        return cls(**{one.name: getattr(manifest, one.name) for one in fields(cls)})


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
        whole = json.loads(path.read_bytes())
        about = About(**whole.pop("about"))
        found = Sidecar(about=about, **whole)
    except FileNotFoundError as error:
        raise ArchiveError(
            f"{path.name}, the description of the encrypted archive, isn't beside it. Copy both."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path} can't be read: {error}.") from error
    if not isinstance(found.key, str | None) or not isinstance(found.sha256, str):
        raise ArchiveError(f"{path} can't be read: it isn't a description of an archive.")
    return found
