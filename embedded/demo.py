"""`make demo`: both migrations on a real MongoDB, from an empty folder to the result.

python -m embedded.demo --size 20000
python -m embedded.demo --clean
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from .app import ROOT
from .binary import MongodMissingError
from .company import OWNER_FIELDS
from .processes import ProcessError
from .sandbox import Sandbox
from .seed import seed

MIGRATIONS = ("003", "004")
SMALLEST = 100

NEXT = """\
  The sandbox keeps running. In another terminal, with the virtual environment on the path
  (source .venv/bin/activate):

    ansible-playbook status.yml -i sandbox                              what was done
    ansible-playbook migrate-004.yml -i sandbox                         again: changes nothing
    ansible-playbook verify.yml -i sandbox -e migration=004             look once more
    ansible-playbook rollback.yml -i sandbox -e migration=004           exactly back
    ansible-playbook migrate-004.yml -i sandbox --check --diff          the plan, nothing written
    ansible-playbook backup.yml -i sandbox                              a verified archive

  make demo-clean stops the servers and removes everything."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo or clean up after it."""
    parser = argparse.ArgumentParser(prog="python -m embedded.demo")
    parser.add_argument("--size", type=int, default=20000, help="documents to make")
    parser.add_argument("--clean", action="store_true", help="stop and remove everything")
    options = parser.parse_args(arguments)
    if options.size < SMALLEST:
        parser.error(f"--size must be at least {SMALLEST}")
    try:
        return _clean() if options.clean else _demo(options.size)
    except (ProcessError, MongodMissingError, PyMongoError) as error:
        print(f"\n{_paint('31', 'The demo stopped:')} {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. make demo starts afresh; make demo-clean removes everything.")
        return 130


def _clean() -> int:
    done = Sandbox().remove()
    print("\n".join(f"  {line}" for line in done) or "  There is no sandbox.")
    return 0


def _demo(size: int) -> int:
    sandbox = Sandbox()
    _heading("A MongoDB")
    sandbox.start_mongodb()
    with sandbox.client() as client:
        database = client[sandbox.database]
        version = client.server_info()["version"]
        kind = (
            "your own, from MONGO_URI" if sandbox.external else "embedded, one-member replica set"
        )
        print(f"  MongoDB {version} ({kind})")

        _heading("A company")
        if sandbox.empty(client):
            print("  An earlier demo filled this database: it is dropped and filled afresh.")
        company = seed(database, size, today=_today())
        print(
            f"  {company.total:,} documents of {len(company.organizations)} organizations in "
            f"{len(company.counts)} collections of the database {database.name}"
        )

        _heading("An application, on two ports")
        for app in sandbox.start_apps():
            reply = app.get("/api/health")
            print(f"  {app.name}  {app.url}/api/health  {reply.status}  {reply.content['version']}")

        for migration in MIGRATIONS:
            code = _run_playbook(f"migrate-{migration}.yml")
            if code:
                print(f"\n{_paint('31', f'Migration {migration} failed')} (exit {code}).")
                print("The sandbox keeps running: look with status.yml, or clean with demo-clean.")
                return code

        _heading("The result, counted on a connection of our own")
        problems = _show_periods(database) + _show_models(database)
    if problems:
        print(_paint("31", "\n  Not as it should be: " + "; ".join(problems)))
        return 1
    _heading("What to try next")
    print(NEXT)
    return 0


def _run_playbook(playbook: str) -> int:
    """Run the literal command, its output as it comes."""
    command = ["ansible-playbook", playbook, "-i", "sandbox"]
    _heading(f"$ {shlex.join(command)}")
    commands = Path(sys.executable).parent
    environment = {
        # ANSIBLE_… of the user's shell would make this another demo than the README's.
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    command[0] = str(commands / command[0])
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _show_periods(database: Database[dict[str, Any]]) -> list[str]:
    """Show what 003 made; return what is wrong."""
    organizations = database["organizations"].count_documents({})
    periods = database["financialperiods"].count_documents({})
    entries = database["journalentries"].count_documents({})
    assigned = database["journalentries"].count_documents(
        {"financialPeriod": {"$type": "objectId"}}
    )
    print(f"  003  {organizations} organizations have {periods} financial periods:")
    for period in database["financialperiods"].find().sort("startDate", 1):
        starts, ends = (f"{period[name]:%Y-%m-%d %H:%M}" for name in ("startDate", "endDate"))
        print(f"         {period['name']:<14} {starts} to {ends} UTC  {period['status']}")
    print(f"       {assigned:,} of {entries:,} journal entries have one")
    problems = []
    if periods < organizations:
        problems.append("organizations without a period")
    if assigned != entries:
        problems.append("journal entries without a period")
    return problems


def _show_models(database: Database[dict[str, Any]]) -> list[str]:
    """Show what 004 did to the thirteen models; return what is wrong."""
    print("\n  004  collection        documents   with organizationId   index")
    problems = []
    for name in OWNER_FIELDS:
        collection = database[name]
        total = collection.count_documents({})
        having = collection.count_documents({"organizationId": {"$type": "objectId"}})
        indexed = any(
            dict(index["key"]) == {"organizationId": 1} for index in collection.list_indexes()
        )
        good = having == total and indexed
        mark = _paint("32", "yes") if indexed else _paint("31", "no")
        print(f"       {name:<16} {total:>10,}   {having:>19,}   {mark}")
        if not good:
            problems.append(name)
    return problems


def _today() -> datetime:
    """The start of this day, so that all demos of a day have the same data."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _heading(text: str) -> None:
    print(f"\n{_paint('1', text)}", flush=True)


def _paint(code: str, text: str) -> str:
    """Colour a text where somebody looks at it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{code}m{text}\033[0m"


if __name__ == "__main__":
    sys.exit(main())
