"""A long task in a terminal: what it draws, and how it ends when a person or the line gives up."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.database import Database

from embedded.processes import wait_until
from tests.support.inventories import write_inventory
from tests.support.playbooks import BIN, ROOT, environment, run_playbook
from tests.support.terminal import CTRL_C, ERASE, Terminal

Data = Database[dict[str, Any]]

DOCUMENT = """
id: "001"
name: colour-items
summary: Gives every item a colour.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, value: {value: red}}
"""
ITEMS = 4000
AT_WORK = r"migrate [█░]+ +\d+\.\d % · [\d,]+/4,000 documents"


@pytest.fixture
def command(database: Data, migrator_uri: str, tmp_path: Path) -> list[str]:
    """A play with one slow task on a database of its own."""
    database["items"].insert_many([{"number": number} for number in range(ITEMS)])
    inventory = write_inventory(tmp_path / "inventory", uri=migrator_uri, database=database.name)
    play = {
        "hosts": "mongodb",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Migrate",
                "mongo_migrate": {
                    "uri": "{{ mongo_uri }}",
                    "database": database.name,
                    "definition": DOCUMENT,
                    "batch_size": 100,
                    # Slow until it is told otherwise: {} means as fast as the limits allow.
                    "throttle": "{{ gentle | default({'pause_seconds': 0.4}) }}",
                },
            },
        ],
    }
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]))
    return [str(BIN / "ansible-playbook"), str(path), "-i", str(inventory)]


@pytest.fixture
def terminal(command: list[str]) -> Iterator[Terminal]:
    with Terminal(command) as started:
        yield started


def newest_run(database: Data) -> dict[str, Any]:
    found = database["_migrations"].find_one({"kind": "run"})
    assert found is not None
    return found


def lease_is_free(database: Data) -> bool:
    held = database["_migrations"].find_one({"_id": "lease"})
    return held is not None and held["expires"] is None


def test_ctrl_c_ends_it_between_two_batches_and_says_how_to_go_on(
    terminal: Terminal, database: Data
):
    terminal.wait_for(AT_WORK)
    terminal.wait_for(r" [5-9]00/4,000")
    terminal.type(CTRL_C)
    assert terminal.wait() == 99, "Ansible's code for an interruption by a person"

    drawn = [frame for frame in terminal.frames if re.match(AT_WORK, frame)]
    assert len(drawn) > 1
    done = [int(re.findall(r"([\d,]+)/4,000", frame)[0].replace(",", "")) for frame in drawn]
    assert done == sorted(done)
    assert all(len(frame.partition("^C")[0]) < 120 for frame in drawn), "no frame wraps"
    assert all("\n" not in frame for frame in drawn)
    run = newest_run(database)
    assert run["phase"] == "interrupted"
    assert database["items"].count_documents({"colour": "red"}) == run["counts"]["modified"] < ITEMS
    assert run["counts"]["modified"] % 100 == 0
    assert lease_is_free(database)
    assert "Stopped at a batch boundary: SIGINT received" in terminal.text
    assert f"Run {run['_id']} is interrupted" in terminal.text
    # A migration of a folder of one's own has no playbook of its own.
    assert "ansible-playbook playbooks/migrate.yml -i " in terminal.text


def test_a_lost_terminal_interrupts_it_and_the_next_run_finishes(
    terminal: Terminal, command: list[str], database: Data
):
    terminal.wait_for(r"[1-9]\d*00/4,000")
    terminal.close()
    assert wait_until(lambda: newest_run(database)["phase"] == "interrupted", 20)
    assert "SIGHUP received" in newest_run(database)["error"]
    assert wait_until(lambda: lease_is_free(database), 5)

    # Where nobody draws, there is nothing to erase either.
    with Terminal([*command, "-e", '{"gentle": {}}'], env={"CI": "true"}) as log:
        assert log.wait() == 0
    assert "\x1b[K" not in log.output
    assert "\r\x1b" not in log.output
    assert newest_run(database)["phase"] == "applied"
    assert database["items"].count_documents({"colour": "red"}) == ITEMS


def test_the_line_is_gone_when_ansible_writes_its_own(command: list[str]):
    with Terminal([*command, "-e", '{"gentle": {}}'], columns=60) as terminal:
        assert terminal.wait() == 0

    last_drawn = terminal.text.rpartition(ERASE)[2]
    assert re.match(r"\s*changed\b.*Migrate", last_drawn), "on an empty line"
    assert all(len(frame) < 60 for frame in terminal.frames[:-1])


def test_check_mode_draws_nothing(command: list[str], database: Data):
    with Terminal([*command, "--check"]) as terminal:
        assert terminal.wait() == 0

    assert terminal.frames == []
    assert database["_migrations"].find_one() is None


def test_another_terminal_pauses_retunes_resumes_and_aborts_it(
    terminal: Terminal, command: list[str], database: Data
):
    inventory = command[-1]

    def control(*words: str) -> subprocess.CompletedProcess[str]:
        done = run_playbook(
            ["control.yml", *(part for word in words for part in ("-e", word))], inventory
        )
        assert done.returncode == 0, done.stdout
        return done

    terminal.wait_for(AT_WORK)
    assert "do=resume" in control("do=pause").stdout
    terminal.wait_for(r"paused by \S+@\S+ since \d\d:\d\d:\d\d UTC")
    status = run_playbook(["status.yml"], inventory).stdout
    assert re.search(r"progress +[\d,]+ of 4,000 documents, .*paused by", status)
    control("do=limits", "batch_size=50", "pause_seconds=3")
    control("do=resume")
    terminal.wait_for("batches of 50")
    control("do=abort")
    assert terminal.wait() == 2
    assert "aborted by" in newest_run(database)["error"]
    assert newest_run(database)["phase"] == "interrupted"


@pytest.mark.parametrize("action", ["pause", "limits"])
def test_steering_needs_a_run(command: list[str], action: str):
    done = run_playbook(["control.yml", "-e", f"do={action}"], command[-1])

    assert done.returncode == 2
    assert f"The command '{action}' failed.\n    happened  No run is at work on" in done.stdout
    assert "next      ansible-playbook status.yml -i " in done.stdout
    assert "reserved name" not in done.stdout + done.stderr


def test_an_unknown_action_is_an_error(command: list[str]):
    done = run_playbook(["control.yml", "-e", "action=halt"], command[-1])

    assert done.returncode != 0
    assert "Pass -e do=pause, resume, abort or limits, not 'halt'." in done.stdout


def test_ansible_finds_the_documented_module_behind_each_action_plugin():
    names = sorted(path.stem for path in (ROOT / "plugins" / "action").glob("mongo_*.py"))
    done = subprocess.run(
        [str(BIN / "ansible-doc"), "--json", *names],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    # They hand on what their modules say, and nothing to them.
    plain = {path.name for path in (ROOT / "plugins" / "action").iterdir() if path.is_symlink()}
    plain = {name for name in plain if _target(name) == "mongo_verify.py"} | {"mongo_verify.py"}
    for name, found in json.loads(done.stdout).items():
        # What the plugin hands to its module: a file for bars, or for a screen of figures.
        if f"{name}.py" not in plain:
            assert {"progress_file", "output"} & set(found["doc"]["options"]), name


def _target(name: str) -> str:
    return (ROOT / "plugins" / "action" / name).readlink().name
