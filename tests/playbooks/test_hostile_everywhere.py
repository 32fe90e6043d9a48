"""A hostile company goes through every playbook, and every output is looked at.

One deployment is taken through a life of commands once; what each of them showed, wrote and told
is then looked at, each in a test of its own.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.playbooks.webhooks import Channel, channel
from tests.support.hostile import BIDI, ESCAPES, EVERYTHING, LINES, MENTIONS, SCRIPT, harm
from tests.support.mailbox import Mailbox, mailbox
from tests.support.playbooks import ROOT

ROOT_PLAYBOOKS = sorted(path.name for path in ROOT.glob("*.yml"))
# A name that MongoDB takes for a collection.
NAME = EVERYTHING.replace("$", "").replace("\0", "")[:100]
# A forged line would begin like this; a name with a line break in it is shown on one.
FORGED = "27 of 27 checks passed"
# Whose output has to name something of theirs, or looking at it would prove nothing.
SHOWING = {"maintenance.yml", "monitor.yml", "status.yml"}


@dataclass
class Seen:
    """What the commands did, by playbook, and what the team was told."""

    runs: dict[str, Run]
    team: Channel
    mails: Mailbox
    files: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path_factory: Any
) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("hostile")
    with channel("hook") as team, mailbox() as mails:
        variables = {
            "announce_webhooks": [
                {"name": name, "url": team.url, "template": name}
                for name in ("slack", "teams", "generic", "statuspage")
            ],
            "announce_mail": {
                "host": "127.0.0.1",
                "port": mails.port,
                "security": "none",
                "sender": "migrations@example.com",
                "to": ["team@example.com"],
            },
            "monitor_long_operation_seconds": 0,
        }
        with (
            site(replica_set, client, folder, variables=variables) as place,
            stranger(replica_set, place),
        ):
            found = Seen(runs={}, team=team, mails=mails)
            take_through(place, found)
            yield found


@contextmanager
def stranger(servers: ReplicaSet, place: Site) -> Iterator[None]:
    """Let a client with a hostile name and a hostile question be at work all the time."""
    name = f"shop{ESCAPES}{BIDI}{SCRIPT}"[:60]
    over = threading.Event()

    def ask() -> None:
        with servers.client("app", appname=name) as other:
            while not over.is_set():
                with suppress(PyMongoError):
                    slow = {"$where": f"sleep(200) || {json.dumps(SCRIPT)} != ''"}
                    other[place.database.name][NAME].find_one(slow, comment=EVERYTHING[:200])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def fill(place: Site) -> None:
    """Write what an application's user may write: names, values and ids."""
    database = place.database
    database[NAME].insert_one({f"field {EVERYTHING}": EVERYTHING})
    database[f"users{LINES}{ESCAPES}"].insert_one({"name": EVERYTHING})
    theirs = {"executionId": "1", "author": f"anna{EVERYTHING}", "state": f"FAILED{EVERYTHING}"}
    database["mongockChangeLog"].insert_one({**theirs, "changeId": f"users{LINES}{ESCAPES}"})
    database["organizations"].update_many({}, {"$set": {"name": EVERYTHING}})
    database["users"].update_many({}, {"$set": {"name": EVERYTHING, "email": EVERYTHING}})
    for name in ("items", "journalentries"):
        one = database[name].find_one()
        assert one is not None
        database[name].delete_one({"_id": one["_id"]})
        database[name].insert_one({**one, "_id": EVERYTHING, "name": EVERYTHING})


def take_through(place: Site, found: Seen) -> None:
    """Run every playbook once; check mode where a command shows the same in it."""
    fill(place)

    def run(playbook: str, *arguments: str, **variables: Any) -> Run:
        more = ["-e", json.dumps(variables)] if variables else []
        found.runs[playbook] = place.run(playbook, *arguments, *more)
        return found.runs[playbook]

    run("preflight.yml", "-e", "migration=003")
    done = run("migrate-003.yml", reason=f"because {SCRIPT}{MENTIONS}")
    assert done.code == 0, done.output
    run("verify.yml", "-e", "migration=003")
    run("migrate-004.yml", "--check")
    run("release.yml", "--check", "-e", "migrations=003,004")
    run("repair.yml", "--check", "-e", "repair=null_fields")
    run("prune.yml", "--check", "-e", "migration=003")
    run("adopt.yml", "--check")
    run("backup.yml")
    run("rehearse.yml", "--check", "-e", "migration=004")
    place.database[f"later{NAME}"[:100]].insert_one({"_id": 1})
    run("restore.yml", "--check", "-e", "archive=latest.tar.gz")
    # A conflict: what the rollback leaves alone is told by its id.
    place.database["journalentries"].update_one(
        {"_id": EVERYTHING}, {"$set": {"financialPeriod": EVERYTHING}}
    )
    undone = run("rollback.yml", "-e", "migration=003")
    assert "is rolled back, but for one document" in " ".join(undone.output.split())
    # What the operator passes is a template, to Ansible: all else of it is text.
    said = EVERYTHING.replace("{", "")
    run("emergency-rollback.yml", "-e", "migration=003", reason=said)
    run("announce.yml", migration="003", event="progress", text=said)
    (place.evidence_root / f"x{NAME.replace('/', '')}").mkdir()
    forged = place.evidence_root / f"x{NAME.replace('/', '')}" / "seal.json"
    forged.write_text(json.dumps({"sealed": EVERYTHING, "files": {EVERYTHING: EVERYTHING}}))
    run("evidence.yml")
    plant(place)
    run("status.yml")
    run("maintenance.yml", "-e", "state=status")
    run("control.yml", "-e", "action=pause")
    written = {"output": place.evidence_root.parent / "seen.json"}
    written["openmetrics"] = place.evidence_root.parent / "seen.prom"
    run("attach.yml", seconds=5)
    run("monitor.yml", once=True, **{key: str(path) for key, path in written.items()})
    found.files = {path.name: path.read_text() for path in written.values()}


def plant(place: Site) -> None:
    """Write state of ours, of the right shape and full of their text."""
    state, now = place.database["_migrations"], datetime.now(UTC)
    run = state.find_one({"kind": "run"})
    assert run is not None
    who = {"user": f"anna{EVERYTHING}", "host": f"h{LINES}{ESCAPES}", "pid": 1}
    texts = {"error": EVERYTHING, "backup": EVERYTHING, "operator": who}
    planted = {**run, **texts, "_id": "planted", "number": run["number"] + 1000}
    state.insert_one({**planted, "migration": "999", "phase": "failed"})
    record = {"on": True, "since": now, "by": who, "reason": f"tests{EVERYTHING}"}
    state.replace_one({"_id": "maintenance"}, record, upsert=True)
    lease = {"token": 5000, "holder": who, "purpose": f"migrate{EVERYTHING}", "since": now}
    lease["expires"] = now + timedelta(hours=1)
    state.replace_one({"_id": "lease"}, lease, upsert=True)


@pytest.mark.parametrize("playbook", ROOT_PLAYBOOKS)
def test_what_is_shown_and_kept_is_harmless(seen: Seen, playbook: str) -> None:
    assert playbook in seen.runs, f"take the hostile company through {playbook}, too"
    run = seen.runs[playbook]
    if playbook in SHOWING:
        assert "gone" in run.output, run.output
    assert_harmless(run.output)
    for folder in run.evidence:
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix in (".txt", ".md", ".json", ".jsonl", ".html"):
                assert not harm(path.read_text()), path
        for name, check in (
            ("stdout.txt", assert_harmless),
            ("summary.md", assert_no_markup),
            ("report.html", assert_no_html),
        ):
            if (folder / name).exists():
                check((folder / name).read_text())
    assert not Path("/tmp/owned").exists()


def assert_harmless(text: str) -> None:
    """No escape, no bidi mark, and no line that somebody else wrote as a whole."""
    assert not harm(text)
    assert not any(line.strip().startswith(FORGED) for line in text.splitlines())


def assert_no_markup(text: str) -> None:
    """Outside of code, nothing of theirs is Markdown."""
    plain = re.sub(r"(?ms)^(```+).*?^\1$", "", text)
    plain = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", plain)
    for part in ("<script", "](http", "<!here>", "@channel"):
        assert part not in plain, part


def assert_no_html(text: str) -> None:
    """Nothing of theirs is a tag."""
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text or "alert(1)" not in text


def test_the_team_is_told_in_words_alone(seen: Seen) -> None:
    told = seen.team.messages
    assert told, "the run itself was announced"
    for message in told:
        for text in strings(message):
            assert_harmless(text)
            assert not re.search(r"<!here>|<script>|(?<!\w)@channel|\]\(http", text), text
    for mail in seen.mails.mails:
        assert mail["Bcc"] is None
        # The lines of a mail end so.
        body = mail.get_content().replace("\r\n", "\n")
        assert_harmless(f"{mail['Subject']}\n{body}")


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a message."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def test_a_watch_writes_their_names_harmless_into_its_files(seen: Seen) -> None:
    assert all("gone" in text for text in seen.files.values())
    for text in seen.files.values():
        assert not harm(text)
    for line in seen.files["seen.prom"].splitlines():
        assert re.match(r"#|[a-z_]+(\{.*\})? -?[0-9.e+-]+|[a-z_]+(\{.*\})? NaN", line), line
