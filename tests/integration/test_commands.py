"""Commands of another tool inside the procedure: real programs that really write, or fail to."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence import report
from mongo_migration.document import definition
from mongo_migration.errors import InterruptedRunError, MigrationError, PlanBlockedError
from mongo_migration.procedures import journal_summary, rollback, work
from mongo_migration.procedures import migrate as runner
from mongo_migration.support.stop import StopSignal
from mongo_migration.values import ejson

from embedded.mongod import Deployment as Servers
from embedded.mongod import ReplicaSet
from tests.support import databases
from tests.support.driver import Job
from tests.support.migrations import ANNA, Deployment, failed, named
from tests.support.playbooks import ROOT
from tests.support.snapshot import differences

PROGRAM = """
import os, pathlib, sys, time
uri, name, what = os.environ["MONGO_URI"], os.environ["NAME"], sys.argv[1]
log = pathlib.Path(__file__).with_suffix(".log")
log.write_text((log.read_text() if log.exists() else "") + what + "\\n")
print("connecting to", uri, flush=True)
from urllib.parse import quote, unquote
password = uri.partition("://")[2].partition(":")[2].partition("@")[0]
print("with", password, unquote(password), quote(quote(password)), flush=True)
print("as", __import__("base64").b64encode(("migrator:" + unquote(password)).encode()), flush=True)
print("the rest of our environment:", os.environ.get("NOT_FOR_YOU"), file=sys.stderr, flush=True)
if what == "hang" or (what == "hang-first" and log.read_text().count(what) == 1):
    time.sleep(600)
if what == "fail":
    sys.exit("schema_migrations is locked")
from pymongo import MongoClient
database = MongoClient(uri)[name]
if what in ("up", "hang-first"):
    database.items.update_many({}, {"$set": {"price": 1}})
elif what == "down":
    database.items.update_many({}, {"$unset": {"price": ""}})
"""


class Tool:
    """A foreign migrator, with the document that wraps it."""

    def __init__(self, folder: Path, site: Deployment, uri: str) -> None:
        self.path = folder / "tool.py"
        self.path.write_text(PROGRAM)
        self.site = site
        self.uri = uri
        site.data["items"].insert_many([{"_id": n, "name": f"item {n}"} for n in range(3)])
        site.data["others"].insert_one({"_id": 1})

    def document(self, what: str = "up", **options: Any) -> tuple[str, str]:
        command = {
            "argv": [sys.executable, str(self.path), what],
            "cwd": str(self.path.parent),
            "env": {"NAME": self.site.data.name},
            "secrets": ["MONGO_URI"],
            "timeout_seconds": 60,
            "writes": ["items"],
            "down": [sys.executable, str(self.path), "down"],
            **options,
        }
        document = {
            "id": "701",
            "name": "old-tool",
            "summary": "Runs a migrator of old.",
            "downtime": "none",
            "steps": [{"command": {k: v for k, v in command.items() if v is not None}}],
            "postconditions": [
                {
                    "name": "every item has a price",
                    "none": {"in": "items", "where": {"price": None}},
                }
            ],
        }
        return json.dumps(document), "701-old-tool.yml"

    def migrate(self, document: tuple[str, str], *, stop: StopSignal | None = None) -> Any:
        self.last = document
        return runner.migrate(
            work.Job(
                client=self.site.client,
                database=self.site.data.name,
                settings=runner.Settings(lease_seconds=10, secrets={"MONGO_URI": self.uri}),
                change={},
                operator=ANNA,
                progress=lambda event: None,
                stop=stop or StopSignal(),
            ),
            definition.load(*document),
        )

    def roll_back(self, on_conflict: str = "keep", document: tuple[str, str] | None = None) -> Any:
        return rollback.roll_back(
            work.Job(
                client=self.site.client,
                database=self.site.data.name,
                settings=runner.Settings(lease_seconds=10, secrets={"MONGO_URI": self.uri}),
                change={},
                operator=ANNA,
                progress=lambda event: None,
                stop=StopSignal(),
            ),
            "701",
            definition=definition.load(*(document or self.last)),
            on_conflict=on_conflict,
        )

    def runs(self) -> list[str]:
        """What the program was called for, as itself wrote it down."""
        log = self.path.with_suffix(".log")
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def tool(tmp_path: Path, deployment: Deployment, replica_set: ReplicaSet) -> Tool:
    return Tool(tmp_path, deployment, replica_set.uri("migrator"))


def password(tool: Tool) -> str:
    return tool.uri.split(":")[2].split("@")[0]


def test_a_command_runs_once_and_its_output_is_kept_without_secrets(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NOT_FOR_YOU", "the vault's password")
    before = tool.site.content()
    plan = tool.site.plan(tool.document())
    assert "isn't journalled" in plan["warnings"][0]
    assert differences(before[0], tool.site.content()[0]) == []

    result = tool.migrate(tool.document())
    (outcome,) = result["commands"]
    assert outcome["exit_code"] == 0
    assert "connecting to ********" in outcome["output"]
    assert "the rest of our environment: None" in outcome["output"]
    assert failed(tool.site.verify(tool.document())) == []
    assert tool.migrate(tool.document())["changed"] is False
    assert tool.runs() == ["up"]
    kept = str(tool.site.everything())
    assert password(tool) not in kept
    assert password(tool) not in str(result)
    # Nor the password alone, which isn't the secret's whole, in any form.
    assert "with ******** ******** ********" in outcome["output"]
    encoded = base64.b64encode(f"migrator:{password(tool)}".encode()).decode()
    assert encoded[16:32] not in kept + str(result)

    tool.roll_back()
    assert tool.runs() == ["up", "down"]
    assert differences(before[0], tool.site.content()[0]) == []


def test_what_a_command_may_not_write_is_proved_unchanged(tool: Tool):
    document = tool.document()
    tool.site.maintenance("on")
    runner.migrate(
        work.Job(
            client=tool.site.client,
            database=tool.site.data.name,
            settings=runner.Settings(writers_stopped=True, secrets={"MONGO_URI": tool.uri}),
            change={},
            operator=ANNA,
            progress=lambda event: None,
            stop=StopSignal(),
        ),
        definition.load(*document),
    )
    verified = tool.site.verify(document)
    assert failed(verified) == []
    assert named(verified, "items: nothing else changed")["status"] == "skipped"
    assert named(verified, "others: nothing else changed")["status"] == "passed"
    tool.site.data["others"].update_one({"_id": 1}, {"$set": {"by": "the tool"}})
    assert failed(tool.site.verify(document)) == ["others: nothing else changed"]
    tool.site.maintenance("off")


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("fail", {}, "failed with exit code 1"),
        ("hang", {"timeout_seconds": 1}, "took longer than its 1 s and was ended"),
    ],
)
def test_a_failed_command_is_a_failed_run_and_is_not_repeated(
    tool: Tool, what: str, options: dict[str, Any], said: str
):
    document = tool.document(what, **options)
    with pytest.raises(MigrationError, match=said) as error:
        tool.migrate(document)
    assert password(tool) not in str(error.value.details)
    assert tool.site.data["_migrations"].find_one({"migration": "701"})["phase"] == "failed"
    with pytest.raises(MigrationError, match="is not run again"):
        tool.migrate(document)
    # A program that was ended early may not have come as far as to write that it was called.
    assert tool.runs() == [what] or (what == "hang" and not tool.runs())


def test_a_failed_command_is_undone_by_its_down(tool: Tool):
    with pytest.raises(MigrationError, match="schema_migrations is locked"):
        tool.migrate(tool.document("fail"))
    assert tool.roll_back()["phase"] == "rolled_back"
    assert tool.runs() == ["fail", "down"]


def test_without_a_down_the_rollback_says_what_is_left_to_do(tool: Tool):
    document = tool.document(down=None)
    assert "can't undo it" in tool.site.plan(document)["warnings"][0]
    tool.migrate(document)
    with pytest.raises(MigrationError, match="only a restore of the backup from before it"):
        tool.roll_back()
    assert tool.runs() == ["up"]


def test_a_command_that_is_not_there_refuses_the_plan(tool: Tool):
    document = tool.document(argv=["npm-of-nowhere", "run", "migrate:up"])
    with pytest.raises(PlanBlockedError, match="no program 'npm-of-nowhere' on this host"):
        tool.migrate(document)
    assert tool.site.data["_migrations"].find_one({"kind": "run"}) is None


def test_a_secret_that_is_not_given_is_named_and_nothing_is_run(tool: Tool):
    document = tool.document(secrets=["MONGO_URI", "NPM_TOKEN"])
    with pytest.raises(MigrationError, match="NPM_TOKEN, which the inventory doesn't give"):
        tool.migrate(document)
    assert tool.runs() == []


def test_a_stop_ends_the_command_with_all_that_it_started(tool: Tool):
    stop = StopSignal()
    document = tool.document("hang")
    watched: list[str] = []

    def progress(event: dict[str, Any]) -> None:
        watched.append(str(event.get("detail", "")))
        if any("environment" in line for line in watched):
            stop.ask("a test")

    with pytest.raises(InterruptedRunError, match="was ended with it"):
        runner.migrate(
            work.Job(
                client=tool.site.client,
                database=tool.site.data.name,
                settings=runner.Settings(lease_seconds=10, secrets={"MONGO_URI": tool.uri}),
                change={},
                operator=ANNA,
                progress=progress,
                stop=stop,
            ),
            definition.load(*document),
        )
    assert not processes_of(tool)


def kill_in_the_command(tool: Tool, document: tuple[str, str]) -> None:
    """Migrate in a process that is killed while its command runs, and the command with it."""
    job = Job(
        uri=tool.uri,
        database=tool.site.data.name,
        text=document[0],
        settings={"lease_seconds": 2, "secrets": {"MONGO_URI": tool.uri}},
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.driver"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    process.stdin.write(job.dump())
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not tool.runs() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tool.runs(), f"it ended with {process.poll()} before it ran the command; see stderr"
    process.kill()
    process.wait()
    for identifier in processes_of(tool):
        os.kill(identifier, 9)


@pytest.fixture(params=["replica_set", "standalone"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Tool]:
    servers: Servers = request.getfixturevalue(request.param)
    with servers.client() as admin, databases.fresh(admin, roles=False) as data:
        yield Tool(tmp_path, Deployment(client=data.client, data=data), servers.uri())


def test_a_command_is_taken_through_its_whole_life(either: Tool):
    """Plan, kill, resume, verify, evidence, rollback, verify, as the corpus does with the rest."""
    tool, document = either, either.document("hang-first", rerun=True)
    before = tool.site.content()
    planned = tool.site.plan(document)
    assert planned["problems"] == []
    assert tool.runs() == []
    kill_in_the_command(tool, document)
    assert differences(before[0], tool.site.content()[0]) == []

    tool.migrate(document)
    assert tool.runs() == ["hang-first"] * 2
    assert [row["price"] for row in tool.site.data["items"].find()] == [1, 1, 1]
    assert failed(tool.site.verify(document)) == []
    journal = journal_summary.describe(
        client=tool.site.client, database=tool.site.data.name, migration="701"
    )
    assert [row["kind"] for row in journal["batches"]] == ["command"]
    (row,) = report.of_collections(ejson.to_plain(planned), ejson.to_plain(journal))
    # What it wrote isn't journalled, and the evidence claims nothing of it.
    assert (row["name"], row["planned"], row["written"], row["after"]) == ("items", 0, 0, 3)

    tool.roll_back()
    assert tool.runs()[2:] == ["down"]
    assert failed(tool.site.verify(document, "rolled_back")) == []
    assert tool.site.content() == before


@pytest.mark.parametrize("rerun", [False, True])
def test_a_killed_process_leaves_a_command_that_is_repeated_only_where_that_is_said(
    tool: Tool, rerun: bool
):
    document = tool.document("hang-first", rerun=rerun)
    kill_in_the_command(tool, document)
    if rerun:
        assert tool.migrate(document)["commands"][0]["exit_code"] == 0
    else:
        with pytest.raises(MigrationError, match="how it ended isn't known"):
            tool.migrate(document)
    assert tool.runs() == ["hang-first"] * (2 if rerun else 1)


def processes_of(tool: Tool) -> list[int]:
    """The processes that have the tool's path on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(tool.path).encode() in line:
                found.append(int(entry.name))
    return found


def test_no_check_claims_what_only_a_journal_could_prove(tool: Tool):
    document = tool.document()
    tool.migrate(document)
    live = named(tool.site.verify(document), "nothing else changed")
    assert (live["status"], live["examined"]) == ("skipped", 0)
    undone = tool.roll_back()
    assert "as well as that does" in undone["plan"]["commands"][0]
    left = named(tool.site.verify(document, "rolled_back"), "nothing is left of")
    assert left["status"] == "skipped"
