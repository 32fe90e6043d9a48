"""A hostile company: no terminal, template or log of ours obeys what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import ReplicaSet
from tests.support import databases
from tests.support.hostile import ESCAPES, EVERYTHING, LINES, SCRIPT, harm
from tests.support.inventories import write_inventory
from tests.support.playbooks import run_playbook

# A forged line would begin like this; a name with a line break in it is shown on one.
FORGED = "27 of 27 checks passed"


@pytest.fixture(scope="module")
def inventory(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path_factory: Any
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("hostile")
    with databases.fresh(client, roles=True) as database:
        _fill(database)
        yield write_inventory(
            folder / "inventory", uri=replica_set.uri("migrator"), database=database.name
        )


def _fill(database: Database[dict[str, Any]]) -> None:
    """Write what an application's user may write: names, values, and our own state."""
    name = EVERYTHING.replace("$", "").replace("\0", "")[:100]
    database[name].insert_one({f"field {EVERYTHING}": EVERYTHING})
    database[f"users{LINES}{ESCAPES}"].insert_one({"name": EVERYTHING})
    theirs = {"executionId": "1", "author": f"anna{EVERYTHING}", "state": f"FAILED{EVERYTHING}"}
    database["mongockChangeLog"].insert_one({**theirs, "changeId": f"users{LINES}{ESCAPES}"})
    now = datetime.now(UTC)
    who = {"user": f"anna{EVERYTHING}", "host": f"h{LINES}{ESCAPES}", "pid": 1}
    database["_migrations"].insert_many(
        [
            {
                "_id": "maintenance",
                **{"on": True, "since": now, "by": who, "reason": f"tests{EVERYTHING}"},
            },
            {
                "_id": "lease",
                "token": 3,
                "holder": who,
                "purpose": f"migrate{EVERYTHING}",
                "since": now,
                "expires": now + timedelta(hours=1),
            },
        ]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["status.yml"],
        ["attach.yml", "-e", "seconds=1"],
        ["maintenance.yml", "-e", "state=status"],
        ["preflight.yml"],
        ["adopt.yml", "--check"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_the_database_holds_is_shown_and_never_obeyed(inventory: Path, arguments: list[str]):
    done = run_playbook(arguments, inventory)

    assert "anna" in done.stdout or done.returncode, done.stdout + done.stderr
    assert not harm(done.stdout + done.stderr)
    assert not any(line.strip().startswith(FORGED) for line in done.stdout.splitlines())
    assert not Path("/tmp/owned").exists()


def test_a_watch_shows_names_harmless_on_screen_and_in_metrics(inventory: Path, tmp_path: Path):
    seen, metrics = tmp_path / "seen.json", tmp_path / "seen.prom"
    asked = ["monitor.yml", "-e", "once=true"]
    asked += ["-e", f"output={seen}", "-e", f"openmetrics={metrics}"]

    done = run_playbook(asked, inventory)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "gone" in done.stdout, "the collection is in the table"
    assert not harm(done.stdout + done.stderr)
    assert not harm(metrics.read_text())
    assert not harm(seen.read_text())
    assert "gone" in metrics.read_text()


SHOWING = """
- hosts: localhost
  gather_facts: false
  vars:
    text: !unsafe {text}
    vault_login: !unsafe 'p4ss "w{{{{rd'
    login_uri: !unsafe 'mongodb://u:other-p4ss@db/'
  tasks:
    - name: A text
      ansible.builtin.debug:
        msg: "{{{{ text }}}}"
    - name: Lines
      ansible.builtin.debug:
        msg: "{{{{ [text, 'x ' ~ text] }}}}"
    - name: Kept facts
      ansible.builtin.set_fact:
        again: "{{{{ {{'name': text}} }}}}"
    - name: Facts
      ansible.builtin.debug:
        msg: "kept {{{{ again.name }}}}"
    - name: A difference
      ansible.builtin.copy:
        content: "{{{{ text }}}}"
        dest: "{folder}/copy"
        mode: "0600"
    - name: Secrets
      ansible.builtin.command:
        argv: [echo, "{{{{ vault_login }}}}", "{{{{ vault_login | b64encode }}}}", other-p4ss]
    - name: Secrets in text
      ansible.builtin.debug:
        msg: "{{{{ [vault_login, vault_login | urlencode, vault_login | to_json, login_uri] }}}}"
    - name: Turns of a loop
      ansible.builtin.command: {{argv: ["true"]}}
      loop: ["{{{{ text }}}}"]
    - name: A warning
      ansible.builtin.debug:
        msg: "{{{{ lookup('ansible.builtin.file', '/nowhere/' ~ text[:20], errors='warn') }}}}"
    - name: A failure
      ansible.builtin.command: {{argv: [grep, -v, nothing, "{folder}/copy", "/nowhere"]}}
"""


@pytest.mark.parametrize("how", [[], ["-v"], ["-vvv"], ["callback"]], ids=str)
def test_whatever_ansible_shows_is_harmless(tmp_path: Path, how: list[str]):
    play = tmp_path / "play.yml"
    text = yaml.safe_dump(EVERYTHING, default_style='"', width=10_000).strip()
    play.write_text(SHOWING.format(text=text, folder=tmp_path))
    environment = {"ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "true"}
    if how == ["callback"]:
        environment["ANSIBLE_STDOUT_CALLBACK"] = "default"
    options = [] if how == ["callback"] else how

    done = run_playbook([str(play), "--diff", *options], env=environment)

    shown = done.stdout + done.stderr
    assert "gone" in shown
    assert "A failure" in shown
    assert SCRIPT[:20] in shown
    assert not harm(shown)
    assert not Path("/tmp/owned").exists()
    for part in ("p4ss", "w{{rd", "cDRzcyAi"):
        assert part not in shown
