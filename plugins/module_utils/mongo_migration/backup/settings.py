"""How a backup is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .crypt import Lock
from .store import Retention


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a backup is taken."""

    folder: Path
    retention: Retention = field(default_factory=Retention)
    note: dict[str, Any] = field(default_factory=dict)
    fsync_lock: bool = False
    snapshot_window: int | None = None
    lock: Lock = field(default_factory=Lock)
    base: Path | None = None  # write only what changed since this archive, if that can be had
    otherwise_whole: bool = True
    retry_seconds: float = 300  # without any progress, as when there is no primary

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Settings:
        """Return those that the options of a module ask for."""
        return cls(
            folder=Path(params["dest"]),
            retention=Retention(count=params["keep_count"], days=params["keep_days"]),
            note=params["change"],
            fsync_lock=params["fsync_lock"],
            base=Path(params["base"]) if params["base"] else None,
            snapshot_window=params["snapshot_window"],
            retry_seconds=params["retry_seconds"],
            lock=Lock(
                recipients=tuple(params["encrypt_recipients"]),
                passphrase=params["encrypt_passphrase"] or None,
            ),
        )


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)
