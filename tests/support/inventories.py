"""Inventories for playbook tests, pointing at the servers that the tests started."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from embedded.app import App
from embedded.app_flags import COLLECTION, DOCUMENT, FIELD

from .playbooks import ROOT

# Of smoke tests: in an address, a header and a body.
SMOKE_SECRETS = ("smoke-token-4711", "smoke-key-4712", "smoke-pin-4713")
_LOCAL = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
}


def app_command(app: App, action: str) -> str:
    """Return the shell-quoted command that does an action with an instance."""
    return shlex.join(
        [
            *("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "embedded.app", action),
            *("--folder", str(app.folder), "--name", app.name),
        ]
    )


def app_variables(app: App) -> dict[str, Any]:
    """Return the variables of one application host."""
    return {
        **_flag_variables(app),
        "app_become": False,
        "app_health_url": f"{app.url}/api/health/ready",
        "app_write_probe": {
            "url": f"{app.url}/api/items",
            "method": "POST",
            "body": {"name": "maintenance probe"},
            "refused_status": [503],
        },
        "app_smoke_tests": [
            {"name": "the application lives", "url": f"{app.url}/api/health/live"},
            {
                "name": "the application is out of maintenance mode",
                "url": f"{app.url}/api/health",
                "contains": '"maintenance": false',
            },
            {
                "name": "items are listed",
                "url": f"{app.url}/api/items?access_token={SMOKE_SECRETS[0]}",
                "headers": {"X-Api-Key": SMOKE_SECRETS[1]},
                "contains": '"items"',
            },
            {
                "name": "nothing else is there",
                "url": f"{app.url}/api/nothing",
                "method": "POST",
                "body": {"pin": SMOKE_SECRETS[2]},
                "status": 404,
            },
        ],
    }


def _flag_variables(app: App) -> dict[str, Any]:
    """Return how the instance is told of maintenance mode."""
    if app.flag_kind == "env":
        restart = app_command(app, "restart")
        return {"app_flag_path": str(app.flag), "app_restart_command": restart}
    kinds: dict[str, dict[str, Any]] = {
        "file": {"kind": "file", "path": str(app.flag)},
        "http": {
            "kind": "http",
            "url": f"{app.url}/api/admin/maintenance",
            "headers": {"Authorization": f"Bearer {app.token}"},
            "on": {"body": {"maintenance": True}},
            "off": {"body": {"maintenance": False}},
            "read": {"url": f"{app.url}/api/health", "contains": '"maintenance": true'},
        },
        "document": {
            "kind": "document",
            "collection": COLLECTION,
            "filter": {"_id": DOCUMENT},
            "field": FIELD,
        },
    }
    return {"app_flag": kinds[app.flag_kind]}


def write_inventory(
    folder: Path,
    *,
    uri: str,
    database: str,
    app_uri: str | None = None,
    apps: Sequence[App] = (),
    variables: Mapping[str, Any] | None = None,
) -> Path:
    """Write an inventory folder: group mongodb with one host, group app with one per instance.

    Args:
        folder: where; it is made.
        uri: the migrator's.
        database: the database to migrate.
        app_uri: the application user's, for the proof that its writes are refused.
        apps: the instances.
        variables: for all hosts; they win over the ones from here.
    """
    hosts: dict[str, Any] = {
        "all": {
            "vars": _LOCAL,
            "children": {
                "mongodb": {"hosts": {"test-db": {}}},
                "app": {"hosts": {f"test-{app.name}": app_variables(app) for app in apps}},
            },
        }
    }
    everyone: dict[str, Any] = {
        "mongo_database": database,
        "mongo_collections": COLLECTIONS,
        "migration_variables": {"003": {}, "004": {}},
        "migrations_assumed_applied": [],
        "backup_dir": str(folder / "backups"),
        # Beside the inventory: what lies in its folder, Ansible reads as a part of it.
        "evidence_root": str(folder.parent / "evidence"),
        "contacts": {
            "on_call_engineer": {"name": "Test On-Call", "phone": "+91 00 0000 0001"},
            "database_admin": {"name": "Test Admin", "phone": "+91 00 0000 0002"},
            "devops_lead": {"name": "Test Lead", "email": "lead@example.com"},
        },
        # Two seconds of each run; test_monitor.py turns it on.
        "monitor_enabled": False,
        "mongo_uri": uri,
        **({"maintenance_probe_uri": app_uri} if app_uri else {}),
        **(variables or {}),
    }
    (folder / "group_vars").mkdir(parents=True, exist_ok=True)
    _dump(folder / "hosts.yml", hosts)
    # Secrets as every inventory of the project: unreadable for others.
    (folder / "group_vars" / "all.yml").touch(mode=0o600)
    _dump(folder / "group_vars" / "all.yml", everyone)
    return folder


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(value), sort_keys=False))


# The names of the requirements, and what mongoose makes of them.
COLLECTIONS = {
    "journalEntries": "journalentries",
    "financialPeriods": "financialperiods",
    "paymentIns": "paymentins",
    "paymentOuts": "paymentouts",
    "purchaseReturns": "purchasereturns",
    "bankAccounts": "bankaccounts",
    "stockLedgers": "stockledgers",
}
