"""How a backup is taken."""

from __future__ import annotations

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
    retry_seconds: float = 300  # without any progress, as when there is no primary


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)
