"""Whether the team was told in advance: what announce.yml left in the evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NOTICE = "notice.json"


def find(
    *,
    root: Path,
    migration: str,
    deployment: str,
    now: datetime,
    hours: float,
    verify: Callable[[Path], list[str]],
    days: float = 30,
) -> tuple[dict[str, Any] | None, str]:
    """Return the newest notice of *migration* that was sent early enough, or why there is none.

    Args:
        root: the evidence of the machine that runs the playbooks.
        migration: its id.
        deployment: the inventory host that is to be changed.
        now: the time.
        hours: how long before now it must have been sent.
        verify: returns what in a folder isn't as it was sealed.
        days: how old it may be.
    """
    newest: dict[str, Any] | None = None
    for path in sorted(root.glob(f"*/{NOTICE}")):
        told = _read(path)
        if told is None or migration not in told["migrations"]:
            continue
        if told["deployment"] != deployment or not told["sent_to"]:
            continue
        sent = told["sent"]
        if sent < now - timedelta(days=days) or verify(path.parent):
            continue
        newest = told
        if sent <= now - timedelta(hours=hours):
            return {**told, "sent": sent.isoformat(timespec="seconds")}, ""
    if newest is None:
        return None, f"nobody was told of migration {migration} by announce.yml"
    age = (now - newest["sent"]).total_seconds() / 3600
    return None, f"migration {migration} was announced only {age:.1f} h ago, not {hours:g} h"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(path.read_text())
        sent = datetime.fromisoformat(str(told["sent"]))
        return {
            "migrations": [str(each) for each in told["migrations"]],
            "deployment": str(told["deployment"]),
            "sent_to": list(told["sent_to"]),
            "sent": sent if sent.tzinfo else sent.replace(tzinfo=UTC),
            "folder": path.parent.name,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
