"""Evidence of runs that ended, were interrupted, were killed: finished, sealed, checked."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence import log_writer, record, seal, signature
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.support.playbooks import BIN, ROOT, environment

PATIENCE = 120.0


class Story:
    """One site: a migration that was killed, one that was interrupted, and one that ended."""

    def __init__(self, place: Site, public_key: str) -> None:
        self.site = place
        self.public_key = public_key
        self.killed = self.left_by(
            signal.SIGKILL,
            # Slow, so that it is at work when it is killed.
            *("migrate-003.yml", "-e", "migrate_batch_size=10"),
            *("-e", json.dumps({"migrate_throttle": {"pause_seconds": 2}})),
            ready=lambda _folder: bool(place.database["_migrations_journal"].find_one()),
        )
        self.unfinished = sorted(path.name for path in self.killed.iterdir())
        self.interrupted = self.left_by(
            *(signal.SIGINT, "migrate-003.yml", "--check"),
            ready=lambda folder: "Look before anything" in (folder / "stdout.txt").read_text(),
        )
        # What an automation controller collects is shown by a setting of Ansible.
        shown = {"ANSIBLE_SHOW_CUSTOM_STATS": "true", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        self.run = place.run("migrate-003.yml", env=shown)
        (self.folder,) = self.run.evidence

    def left_by(
        self, number: signal.Signals, *arguments: str, ready: Callable[[Path], bool]
    ) -> Path:
        """Run a command, end it with a signal when it is *ready*, and return its folder."""
        before = set(self.site.evidence())
        command = [str(BIN / "ansible-playbook"), *arguments, "-i", str(self.site.inventory)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: any(made(f) and ready(f) for f in set(self.site.evidence()) - before))
            process.send_signal(number)
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
        (folder,) = set(self.site.evidence()) - before
        # What it had started ends by itself, and until then the folder is in use.
        until(lambda: not log_writer.is_written(folder))
        return folder

    def look(self, name: str) -> Run:
        """Ask evidence.yml about a folder."""
        return self.site.run("evidence.yml", "-e", f"run={name}")


def made(folder: Path) -> bool:
    return (folder / "stdout.txt").exists()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen within two minutes"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def story(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    key = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    variables = {"vault_evidence_signing_key": private, "evidence_public_key": public.decode()}
    folder = tmp_path_factory.mktemp("evidence")
    with site(replica_set, client, folder, variables=variables) as place:
        place.secrets.append(private.splitlines()[1])
        yield Story(place, public.decode())


def test_a_killed_command_is_finished_by_the_next_one(story: Story):
    assert "seal.json" not in story.unfinished
    assert record.read(story.killed)["outcome"] == "killed"
    assert seal.verify(story.killed) == []
    journal = json.loads((story.killed / "journal.json").read_text())
    first = journal["batches"][0]
    assert first["documents"] > 0
    assert first["at"]
    report = (story.killed / "report.html").read_text()
    assert f"The database says of run {journal['run']['id']}" in report


def test_an_interrupted_command_is_told_from_a_killed_one(story: Story):
    assert record.read(story.interrupted)["outcome"] == "interrupted"
    assert record.read(story.interrupted)["check_mode"] is True
    assert seal.verify(story.interrupted) == []
    # The next command says that it did so, and does what it was called for.
    assert f"complete: {story.interrupted}" in story.run.output
    assert story.run.code == 0, story.run.output


def test_a_run_leaves_a_sealed_signed_and_packed_folder(story: Story):
    assert seal.verify(story.folder) == []
    assert signature.verify(story.folder, story.public_key) == []
    run = record.read(story.folder)
    document = story.site.database["_migrations"].find_one({"kind": "run", "migration": "003"})
    assert document
    assert (run["run"], run["digest"]) == (document["_id"], document["digest"])
    assert (run["outcome"], run["verified"], run["check_mode"]) == ("success", True, False)
    with tarfile.open(f"{story.folder}.tar.gz") as tar:
        packed = {Path(name).name for name in tar.getnames()} - {story.folder.name}
    assert packed == {path.name for path in story.folder.iterdir()}
    assert {"report.html", "checks.xml", "stdout.txt", "migration.yml", "log.jsonl"} <= packed


def test_the_journal_in_the_evidence_is_the_one_in_the_database(story: Story):
    journal = json.loads((story.folder / "journal.json").read_text())
    entries = list(story.site.database["_migrations_journal"].find().sort("seq"))
    touched = [
        len(entry.get("documents", [])) + sum(len(g["ids"]) for g in entry.get("groups", []))
        for entry in entries
    ]
    assert [row["documents"] for row in journal["batches"]] == touched
    assert journal["counts"][
        "journalEntries"
    ] == story.site.database.journalentries.count_documents({})


def test_the_screen_is_in_the_evidence(story: Story):
    screen = (story.folder / "stdout.txt").read_text()
    shown = story.run.done.stdout
    for line in ("Look before anything changes", "Migration 003 is applied and verified."):
        assert line in screen
        assert line in shown
    assert "\x1b" not in screen


def test_an_automation_controller_gets_the_result_as_artifacts(story: Story):
    _before, _heading, stats = story.run.done.stdout.partition("CUSTOM STATS")
    # One line of JSON for the whole command.
    artifacts = json.loads(re.search(r"RUN: (\{.*\})", stats)[1])
    assert artifacts["migration_outcome"] == "success"
    assert artifacts["migration_evidence"] == str(story.folder)
    assert artifacts["migration_run"] == record.read(story.folder)["run"]
    assert artifacts["migration_seal"] == seal.digest(story.folder / "seal.json")
    assert Path(artifacts["migration_archive"]).is_file()
    assert artifacts["migration_counts"]["modified"] > 0
    assert artifacts["migration_counts"]["failed_checks"] == 0


def test_evidence_that_was_edited_is_found_and_named(story: Story):
    intact = story.look("newest")
    assert intact.code == 0, intact.output
    assert "intact, signed" in intact.output
    fresh = story.folder.with_name(f"{story.folder.name}.html")
    assert "Sealed evidence, unchanged" in fresh.read_text()

    log = story.folder / "log.jsonl"
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines, start=1) if b'"status": "ok"' in line)
    lines[number - 1] = lines[number - 1].replace(b'"status": "ok"', b'"status": "OK"')
    log.write_bytes(b"".join(lines))
    edited = story.look(record.read(story.folder)["run"])
    log.write_bytes(whole)
    assert edited.code == 2
    assert f"log.jsonl: line {number} was edited" in edited.output
    assert "This evidence was changed after it was sealed" in fresh.read_text()


def test_no_secret_is_in_the_evidence(story: Story):
    found = [
        (path, secret)
        for path in story.site.evidence_root.rglob("*")
        if path.is_file()
        for secret in story.site.secrets
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
