"""One question to the gate, as the module and the action plugin ``change_gate_check`` put it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from . import copies
from .gate import Gate, Migration, Verdict

_TICKET_SYSTEM: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "headers": {"type": "dict", "no_log": True},
    "expect": {"type": "list", "elements": "dict", "required": True},
    "timeout": {"type": "float", "default": 10},
    "ca_certs": {"type": "path"},
}
_STRINGS = ("operator", "approver", "reason", "override", "ticket", "confirm", "login")
_STRING_LISTS = ("rehearsal_deployments", "rehearsal_databases", "confirmed", "typed")
ARGUMENTS: dict[str, Any] = {
    "project": {"type": "path", "required": True},
    "database": {"type": "str", "required": True},
    "deployment": {"type": "str", "required": True},
    "documents": {"type": "list", "elements": "path", "default": []},
    "variables": {"type": "dict", "default": {}},
    "collections": {"type": "dict", "default": {}},
    "confirmation_required": {"type": "bool", "default": False},
    "record_in": {"type": "path"},
    "record_required": {"type": "bool", "default": True},
    "approver_required": {"type": "bool", "default": False},
    "ticket_required": {"type": "bool", "default": False},
    "ticket_pattern": {"type": "str", "default": ""},
    "ticket_system": {"type": "dict", "options": _TICKET_SYSTEM},
    "clean_revision_required": {"type": "bool", "default": False},
    "tag_required": {"type": "bool", "default": False},
    "tag_pattern": {"type": "str", "default": ""},
    "windows": {"type": "list", "elements": "dict", "default": []},
    "freezes": {"type": "list", "elements": "dict", "default": []},
    "timezone": {"type": "str", "default": "UTC"},
    "rehearsal": {"type": "str", "choices": ["any", "copy"], "default": "any"},
    "rehearsal_days": {"type": "float", "default": 0},
    "rehearsal_evidence": {"type": "path"},
    "rehearsal_public_key": {"type": "str", "default": ""},
    "public_key": {"type": "str", "default": ""},
    "checklist": {"type": "list", "elements": "dict", "default": []},
    "notice_hours": {"type": "float", "default": 24},
    "evidence": {"type": "path"},
    "maintenance_mode": {"type": "str", "default": "auto"},
    "way_out": {"type": "bool", "default": False},
    **{name: {"type": "str"} for name in _STRINGS},
    **{name: {"type": "list", "elements": "str", "default": []} for name in _STRING_LISTS},
}
# What the evidence keeps of the settings: everything but what may hold a password, and what stands
# in the record of the change already.
_NOT_KEPT = frozenset(
    {"ticket_system", "variables", "collections", "project", "confirm", "typed", "record_in"}
)


def ask(
    settings: Mapping[str, Any],
    *,
    now: datetime,
    load: Callable[..., Any],
    prove: Callable[..., list[str]],
) -> Verdict:
    """Return what the gate says.

    Args:
        settings: as :data:`ARGUMENTS` describes them.
        now: the time.
        load: reads a migration document; see :func:`mongo_migration.document.definition.load`.
        prove: returns why a folder of evidence proves nothing; see :mod:`evidence.proof`.

    Raises:
        SettingError: a setting can't be understood.
        OSError: a document can't be read.
    """
    ours = settings["public_key"]
    theirs = settings["rehearsal_public_key"] or ours

    def verify(folder: Path, modules: Sequence[str]) -> list[str]:
        # Of what ran elsewhere, the signature may be of another key.
        elsewhere = bool(modules) and copies.MODULE not in modules
        return prove(folder, modules, now=now, public_key=theirs if elsewhere else ours)

    # A way out applies no document, and a broken one must not close it.
    documents = [] if settings["way_out"] else settings["documents"]
    migrations = [_migration(Path(path), settings, load) for path in documents]
    return Gate(settings, migrations=migrations, now=now, verify=verify).check()


def kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as the evidence keeps them."""
    known = {name: value for name, value in settings.items() if name not in _NOT_KEPT}
    system = settings.get("ticket_system") or {}
    return {**known, "ticket_system_expects": system.get("expect") or []}


def _migration(path: Path, settings: Mapping[str, Any], load: Callable[..., Any]) -> Migration:
    made = load(
        path.read_text(encoding="utf-8"),
        path.name,
        variables=settings["variables"].get(path.name[:3]) or {},
        collections=settings["collections"],
    )
    return Migration(
        id=made.id, digest=made.digest, downtime=made.downtime, variables=made.variables
    )
