"""One deployment with its application, on which a test runs the playbooks as a user does."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pymongo import MongoClient
from pymongo.database import Database

from embedded.app import App
from embedded.mongod import ReplicaSet
from embedded.seed import Company, seed
from tests.support import databases
from tests.support.inventories import SMOKE_SECRETS, write_inventory
from tests.support.playbooks import recap, run_playbook
from tests.support.snapshot import Snapshot, indexes, snapshot

# Small: what takes the time is Ansible, not the data.
SIZE = 600
HOST = "test-db"


@dataclass
class Run:
    """What one command did, seen from outside."""

    done: subprocess.CompletedProcess[str]
    data: Snapshot
    everything: Snapshot
    indexes: dict[str, Any]
    application_in_maintenance: bool
    writes_blocked: bool
    evidence: list[Path]

    @property
    def code(self) -> int:
        """The exit code."""
        return self.done.returncode

    @property
    def output(self) -> str:
        """All that the user saw."""
        return self.done.stdout + self.done.stderr

    @property
    def counters(self) -> dict[str, int]:
        """The deployment's line of the recap."""
        return recap(self.done)[HOST]

    def last_words(self) -> str:
        """What stands below the last phase, without the recap."""
        return self.output.rpartition("PLAY RECAP")[0].rpartition("Conclude")[2]

    def read(self, name: str) -> Any:
        """Return one file of the run's evidence."""
        (folder,) = self.evidence
        text = (folder / name).read_text()
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text) if name.endswith(".json") else text


@dataclass
class Site:
    """A seeded database, its application and its inventory."""

    servers: ReplicaSet
    database: Database[dict[str, Any]]
    company: Company
    app: App
    inventory: Path
    evidence_root: Path
    backups: Path
    secrets: list[str] = field(default_factory=list)
    apps: list[App] = field(default_factory=list)

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Run:
        """Run ansible-playbook with the site's inventory, and look at what there is afterwards."""
        before = set(self.evidence())
        done = run_playbook(arguments, self.inventory, env)
        return Run(
            done=done,
            data=snapshot(self.database),
            everything=snapshot(self.database, own=True),
            indexes=indexes(self.database),
            application_in_maintenance=self.app_in_maintenance(),
            writes_blocked=databases.writes_blocked(self.database.client),
            evidence=sorted(set(self.evidence()) - before),
        )

    def evidence(self) -> list[Path]:
        """All evidence folders."""
        return sorted(path for path in self.evidence_root.glob("*") if path.is_dir())

    def app_in_maintenance(self) -> bool:
        """What the running application says of itself."""
        return bool(self.app.get("/api/health").content["maintenance"])

    def maintenance(self) -> dict[str, Any]:
        """What the database says of maintenance mode."""
        return self.database["_migrations"].find_one({"_id": "maintenance"}) or {"on": False}

    def phases(self, migration: str) -> list[str]:
        """The phases of the migration's runs, oldest first."""
        runs = self.database["_migrations"].find({"kind": "run", "migration": migration})
        return [run["phase"] for run in runs.sort("number")]


@contextmanager
def site(
    servers: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    folder: Path,
    *,
    dirty: Sequence[str] = (),
    variables: Mapping[str, Any] | None = None,
    kinds: Sequence[str] = ("env",),
) -> Iterator[Site]:
    """Give a site of its own; it is gone afterwards.

    Args:
        servers: with the users that the embedded server makes.
        client: their administrator.
        folder: for inventory, application, backups and evidence.
        dirty: names of dirty cases among the data.
        variables: of the inventory.
        kinds: of the flag of each instance of the application.
    """
    with ExitStack() as stack:
        database = stack.enter_context(databases.fresh(client, roles=True))
        company = seed(database, SIZE, dirty=set(dirty) or False)
        app_uri = servers.uri("app", database=database.name)
        uri_file = folder / "app.uri"
        uri_file.write_text(app_uri)
        apps = []
        for number, kind in enumerate(kinds, start=1):
            app = App(folder / "apps", f"app{number}", uri_file=uri_file, flag_kind=kind).start()
            # A playbook may have restarted it under another process id since.
            stack.callback(lambda name=app.name: App(folder / "apps", name).stop())
            apps.append(app)
        evidence = folder / "evidence"
        inventory = write_inventory(
            folder / "inventory",
            uri=servers.uri("migrator"),
            database=database.name,
            app_uri=app_uri,
            apps=apps,
            variables={
                # Beside the inventory and not in it: Ansible reads every file of its folder.
                "evidence_root": str(evidence),
                "backup_dir": str(folder / "backups"),
                **(variables or {}),
            },
        )
        yield Site(
            servers=servers,
            database=database,
            company=company,
            app=apps[0],
            apps=apps,
            inventory=inventory,
            evidence_root=evidence,
            backups=folder / "backups",
            secrets=[_password(servers.uri("migrator")), _password(app_uri), *SMOKE_SECRETS],
        )


def documents(folder: Path, *, spoil: str, source: Path) -> Path:
    """Copy the migration documents, one with a postcondition that can't hold.

    It is about what the migration itself writes, or the plan would foresee it.

    Args:
        folder: where to.
        spoil: the id of that one.
        source: where from.
    """
    folder.mkdir()
    for path in source.glob("*.yml"):
        text = path.read_text()
        if path.name.startswith(spoil):
            check = (
                "  - name: there are a million items of organizations\n"
                "    count:\n"
                "      in: items\n"
                "      where: {organizationId: {$type: objectId}}\n"
                "      at_least: 1000000\n"
            )
            heading = "postconditions:\n"
            text = (
                text.replace(heading, heading + check)
                if re.search(f"^{heading}", text, re.MULTILINE)
                else f"{text}\n{heading}{check}"
            )
        (folder / path.name).write_text(text)
    return folder


def _password(uri: str) -> str:
    password = urlsplit(uri).password
    assert password
    return password
