"""What a command says at its end, rendered as the playbooks do, for each way that it can end."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from invocation import command_line

from tests.support.playbooks import ROOT

sys.path.append(str(ROOT / "plugins" / "plugin_utils"))
import screen

CONCLUDE = ROOT / "roles" / "conclude"
FOLDER = ROOT / "docs" / "screens"
WIDTHS = (60, 100, 160)
_INDENT = "    "

# The command at hand, of which all of them are about.
LINE = command_line.CommandLine(playbooks=("migrate-004.yml",), inventory=("production",))
FACTS: dict[str, Any] = {
    "conclude_migration": "004",
    "conclude_inventory": "-i production",
    "conclude_what": "Migration 004",
    "conclude_contacts": {
        "on_call_engineer": {"name": "Asha Nair", "phone": "+91 00000 00001"},
        "database_admin": {"name": "Ravi Iyer", "phone": "+91 00000 00002"},
    },
    "evidence_path": "evidence/20261127-020400-migrate-004-bizzai-production",
    "backup_archive": "/backups/mongodb/backup-20261127-020725.tar.gz",
    "preflight_info": {"server": {"version": "6.0.5"}, "maintenance": {}},
    "preflight_todo": "migrate",
    "preflight_maintenance_found": "off",
    "maintenance_entered": False,
    "maintenance_left": False,
    "rollback_result": {},
    "recover_task": "Migrate",
    "recover_next": "",
    "recover_second_reason": "",
    "recover_reason": "No usable MongoDB at db1:27017 within 10 s.",
}
# What differs for a way to end; what none of them says is as above.
_STOPPED = {"maintenance_entered": True}
_BOTH = {"maintenance_entered": True, "maintenance_left": True}
OUTCOMES: dict[str, dict[str, Any]] = {
    "nothing_written": {},
    "at_work": {
        "recover_reason": "anna@bastion (process 4711): migrate 004 "
        "add-organization-to-all-models, since 2026-11-27 02:05:33 UTC, 12,400 of 19,874 "
        "documents, 62.4 %, about 2 s left. A killed process is forgotten within half a minute.",
        "recover_task": "Stop where another process is at work",
        "backup_archive": "",
    },
    "rolled_back": _BOTH,
    "held": _STOPPED,
    "caught_up": {"recover_reason": "2 writers didn't end within 120 s."},
    "stuck_caught_up": _STOPPED,
    "not_released": _STOPPED,
    "release_held": _STOPPED,
    "drifted": {"preflight_todo": "nothing"},
    "rollback_failed": {**_STOPPED, "recover_second_reason": "No primary within 300 s."},
    "rollback_unproved": _STOPPED,
    "stuck_nothing_written": _STOPPED,
    "stuck_rolled_back": _STOPPED,
    "partly": {**_BOTH, "recover_reason": "1 of 200 databases needs attention: tenant_7 refused."},
    "stuck_partly": _STOPPED,
    "failed": {},
}
# It went well: there is no outcome to look up.
SUCCESS = {
    "conclude_success": "Migration 004 is applied and verified.",
    "conclude_next": [
        "ansible-playbook status.yml -i production",
        "ansible-playbook rollback.yml -i production -e migration=004",
    ],
    "maintenance_stopped_seconds": 11.4,
    "__conclude_probe": {"seconds": 4.2, "refused": 31},
}


def outcomes() -> set[str]:
    """Return every way to end that the role knows."""
    found = yaml.safe_load((CONCLUDE / "vars" / "main.yml").read_text())
    return set(found["__conclude_outcomes"])


@cache
def last_words(outcome: str) -> str:
    """Return the last words of a command that ended by *outcome*, one of those, or ``success``."""
    return last_words_of(outcome, SUCCESS if outcome == "success" else OUTCOMES[outcome])


def last_words_of(outcome: str, facts: dict[str, Any]) -> str:
    """Return the same where the command knows *facts*."""
    variables: dict[str, Any] = {}
    for name in ("defaults", "vars"):
        variables |= yaml.safe_load((CONCLUDE / name / "main.yml").read_text())
    variables = {name: _trusted(value) for name, value in variables.items()}
    variables |= {**FACTS, **facts, "recover_outcome": "" if outcome == "success" else outcome}
    templar = Templar(DataLoader(), variables)
    text = (CONCLUDE / "templates" / "text.txt.j2").read_text()
    rendered = templar.template(
        trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True}
    )
    return command_line.complete(str(rendered).strip(), LINE, project=Path.cwd())


def commands(text: str) -> list[str]:
    """Return the commands that a text suggests, as they would be pasted."""
    found = (line.partition("ansible-playbook ") for line in text.splitlines())
    return [f"ansible-playbook {rest.strip()}" for _before, word, rest in found if word]


def shown(text: str, width: int, *, hang: int = 0) -> str:
    """Return *text* as the screen shows it."""
    lines = (
        part
        for line in text.splitlines()
        for part in screen.fold(line.rstrip(), width, _INDENT, hang=hang)
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _trusted(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    return [_trusted(item) for item in value] if isinstance(value, list) else value
