"""Whether the team was told in advance: what announce.yml left in the evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mongo_migration.support import plain_files

NOTICE = "notice.json"


def find(
    *,
    root: Path,
    migration: str,
    deployment: str,
    now: datetime,
    hours: float,
    verify: Callable[[Path], list[str]],
    database: str = "",
    days: float = 30,
) -> tuple[dict[str, Any] | None, str]:
    """Return the newest notice of *migration* that was sent early enough, or why there is none.

    Args:
        root: the evidence of the machine that runs the playbooks.
        migration: its id.
        deployment: the inventory host that is to be changed.
        now: the time.
        hours: how long before now it must have been sent.
        verify: returns why a folder proves nothing.
        database: that is to be changed; empty for any.
        days: how old it may be.
    """
    newest: dict[str, Any] | None = None
    problems: list[str] = []
    for path in sorted(root.glob(f"*/{NOTICE}")):
        told = _read(path)
        if told is None or migration not in told["migrations"]:
            continue
        if told["deployment"] != deployment or not told["sent_to"]:
            continue
        sent = told["sent"]
        if sent < now - timedelta(days=days):
            continue
        wrong = _wrong(told, now, database) or verify(path.parent)
        if wrong:
            problems.append(f"{path.parent.name} doesn't count: {'; '.join(wrong)}")
            continue
        newest = told
        if sent <= now - timedelta(hours=hours):
            return {**told, "sent": sent.isoformat(timespec="seconds")}, ""
    if newest is None:
        nobody = f"announce.yml sent no notice of migration {migration}"
        return None, "; ".join([nobody, *problems])
    age = (now - newest["sent"]).total_seconds() / 3600
    return None, f"migration {migration} was announced only {age:.1f} h ago, not {hours:g} h"


def _wrong(told: dict[str, Any], now: datetime, database: str) -> list[str]:
    """Return what a notice says that can't be."""
    wrong = []
    if told["sent"] > now + timedelta(minutes=2):
        wrong.append("it will only be sent, by its time")
    if database and told["database"] != database:
        wrong.append(f"it is about the database '{told['database']}'")
    if told["event"] != "notice":
        wrong.append(f"it announces '{told['event']}'")
    return wrong


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told = plain_files.read_json(path)
        sent = datetime.fromisoformat(str(told["sent"]))
        return {
            "migrations": [str(each) for each in told["migrations"]],
            "deployment": str(told["deployment"]),
            "sent_to": list(told["sent_to"]),
            "database": str(told.get("database") or ""),
            "event": str(told.get("event") or "notice"),
            "sent": sent if sent.tzinfo else sent.replace(tzinfo=UTC),
            "folder": path.parent.name,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
