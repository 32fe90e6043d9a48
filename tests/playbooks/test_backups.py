"""Backups as a user takes, lists and restores them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Site, site
from tests.support import archives
from tests.support.snapshot import differences, snapshot

MINE, OTHER = (pyrage.x25519.Identity.generate() for _ in range(2))


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with site(replica_set, client, tmp_path_factory.mktemp("place")) as made:
        yield made


def extra(folder: Path, **variables: Any) -> list[str]:
    """Variables as a vault would give them: in no command line."""
    path = folder / "extra.json"
    path.write_text(json.dumps(variables))
    return ["-e", f"@{path}"]


def test_an_encrypted_backup_is_listed_without_the_key_and_restored_with_it(
    place: Site, tmp_path: Path
):
    to_me = {"backup_encrypt_recipients": [str(MINE.to_public())]}
    archives = sorted(place.backups.glob("backup-*"))
    checked = place.run("backup.yml", "--check", *extra(tmp_path, **to_me))
    assert "encrypted" in checked.output
    assert "MB are free: enough" in checked.output
    assert sorted(place.backups.glob("backup-*")) == archives

    taken = place.run("backup.yml", *extra(tmp_path, **to_me))
    assert taken.code == 0, taken.output
    before = snapshot(place.database)
    listed = place.run("backup.yml", "-e", "state=list", "-e", "verify=true")
    assert listed.code == 0, listed.output
    (line,) = [one for one in listed.output.splitlines() if ".tar.gz.age" in one]
    assert line.split()[-3:] == ["yes", "verified,", "latest"]

    place.database["items"].delete_many({})
    # Relative to the folder of the backups, as nothing of that name is where we stand.
    restore = ["restore.yml", "-e", "archive=latest.tar.gz.age"]
    confirmed = ["-e", f"confirm={place.database.name}"]
    none = place.run(*restore, *confirmed)
    wrong = place.run(*restore, *confirmed, *extra(tmp_path, vault_backup_identity=str(OTHER)))
    right = place.run(*restore, *confirmed, *extra(tmp_path, vault_backup_identity=str(MINE)))

    assert none.code == 2
    assert "identity_file" in none.output
    assert wrong.code == 2
    assert "can't be opened with this key" in " ".join(wrong.output.split())
    assert differences(before, wrong.data)
    assert right.code == 0, right.output
    assert differences(before, right.data) == []
    for run in (none, wrong, right):
        texts = [run.output, *(one.read_text() for path in run.evidence for one in path.iterdir())]
        assert not [text for text in texts if str(MINE) in text or str(OTHER) in text]
    (safety,) = (place.backups / "before-restore").glob("backup-*.tar.gz.age")
    assert safety.stat().st_mode & 0o777 == 0o600


def test_one_with_changes_is_restored_and_made_whole(place: Site, tmp_path: Path):
    """Under the names that a person types; what there is between them is compared elsewhere."""
    first = place.run("backup.yml")
    base = first.read("backup.json")["archive"]
    place.database["items"].update_many({}, {"$set": {"changed": True}})
    second = place.run("backup.yml", "-e", f"backup_base={base}")
    assert second.code == 0, second.output
    before, archive = second.data, Path(second.read("backup.json")["archive"])
    assert archive.name.endswith(".changes.tar.gz")
    place.database["items"].delete_many({})

    folded = place.run("backup.yml", "-e", "state=fold", "-e", f"archive={archive.name}")
    assert folded.code == 0, folded.output
    facts = folded.read("backup.json")
    assert facts["folded"] == [str(archive), base]
    assert facts["archive"] in folded.last_words()
    mistyped = place.run("backup.yml", "-e", "state=folded", "-e", f"archive={archive.name}")
    assert mistyped.code == 2
    assert "present, list, fold" in " ".join(mistyped.output.split())

    confirmed = ["-e", f"confirm={place.database.name}"]
    for one in (archive.name, Path(facts["archive"]).name):
        restored = place.run("restore.yml", "-e", f"archive={one}", *confirmed)
        assert restored.code == 0, restored.output
        assert differences(before, restored.data) == []
        place.database["items"].delete_many({})


def test_a_relative_archive_is_found_where_the_command_was_given(place: Site, tmp_path: Path):
    assert place.run("backup.yml", "-e", f"backup_dir={tmp_path / 'mine'}").code == 0
    check = ["restore.yml", "--check"]
    env = {"PWD": str(tmp_path)}

    here = place.run(*check, "-e", "archive=mine/latest.tar.gz", env=env)
    absolute = place.run(*check, "-e", f"archive={tmp_path}/mine/latest.tar.gz")
    nowhere = place.run(*check, "-e", "archive=mine/nothing.tar.gz", env=env)

    assert here.code == 0, here.output
    assert f"what {tmp_path}/mine/latest.tar.gz holds" in " ".join(here.output.split())
    assert absolute.code == 0, absolute.output
    assert nowhere.code == 2
    assert f"{place.backups}/mine/nothing.tar.gz" in nowhere.output


def test_a_restore_that_ended_halfway_is_shown_and_nothing_builds_on_it(place: Site):
    archive = place.backups / "backup-20261123-020533.tar.gz"
    mark = {"_id": "restore", "kind": "restore", "phase": "replacing", "archive": str(archive)}
    place.database["_migrations"].insert_one({**mark, "source": place.database.name})
    try:
        status = place.run("status.yml")
        migrated = place.run("migrate-003.yml")
    finally:
        place.database["_migrations"].delete_one({"_id": "restore"})

    command = f"ansible-playbook restore.yml -i {place.inventory} -e archive={archive}"
    assert status.code == 0, status.output
    assert "the restore is incomplete, some collections are from the backup" in status.output
    assert command in status.output
    assert migrated.code == 2
    assert command in " ".join(migrated.output.split())
    assert not migrated.application_in_maintenance
    assert place.phases("003") == []


def test_a_damaged_archive_is_refused_while_the_writers_are_still_at_work(place: Site):
    assert place.run("backup.yml").code == 0
    archive = place.backups / "damaged.tar.gz"
    raw = bytearray((place.backups / "latest.tar.gz").read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes(raw)
    before = snapshot(place.database)

    refused = place.run(
        "restore.yml", "-e", f"archive={archive}", "-e", f"confirm={place.database.name}"
    )

    assert refused.code == 2
    words = " ".join(refused.output.split())
    assert "The archive is damaged" in words
    assert "data Nothing was written." in words
    assert "Maintenance mode is off." in words
    assert not refused.application_in_maintenance
    assert differences(before, refused.data) == []


def test_a_restore_that_fails_before_it_replaces_anything_says_so(place: Site):
    """Two documents that the archive's own unique index refuses, told only while it is built."""
    archive = place.backups / "contradictory.tar.gz"
    archives.write(
        archive,
        {"items": [{"_id": 1, "n": 1}, {"_id": 2, "n": 1}]},
        database=place.database.name,
        indexes=[{"v": 2, "key": {"n": 1}, "name": "n", "unique": True}],
    )
    before = snapshot(place.database)

    failed = place.run(
        "restore.yml", "-e", f"archive={archive}", "-e", f"confirm={place.database.name}"
    )
    checked = place.run("restore.yml", "--check", "-e", "archive=nothing.tar.gz")
    opened = place.run("maintenance.yml", "-e", "state=off")

    assert failed.code == 2
    words = " ".join(failed.output.split())
    assert "Nothing was replaced: the data are as they were. Maintenance mode stays on" in words
    assert "maintenance.yml" in words
    assert failed.application_in_maintenance
    assert differences(before, failed.data) == []
    # It is on, whoever switched it.
    assert checked.code == 2
    words = " ".join(checked.output.split())
    assert "Maintenance mode was on before this run, and stays ON." in words
    assert "data Nothing was written." in words
    assert opened.code == 0, opened.output
    assert not opened.application_in_maintenance


def test_a_drill_restores_the_archive_into_a_scratch_database_that_is_gone_afterwards(place: Site):
    taken = place.run("backup.yml", "-e", "backup_verification=drill")
    assert taken.code == 0, taken.output
    assert "restored into a scratch database, compared and dropped" in taken.output
    names = place.database.client.list_database_names()
    assert [one for one in names if one.startswith(f"{place.database.name}_")] == []


def test_a_backup_of_the_organizations_own_tool_gives_its_receipt(place: Site, tmp_path: Path):
    tool = tmp_path / "snapshot"
    tool.write_text(
        '#!/bin/sh\necho \'{"id": "snap-42", "snapshot_time": "2026-11-23T02:30:00Z"}\'\n'
    )
    tool.chmod(0o755)
    archives = sorted(place.backups.glob("backup-*"))
    taken = place.run("backup.yml", *extra(tmp_path, backup_external_command=[str(tool)]))
    assert taken.code == 0, taken.output
    assert "external backup snap-42 of 2026-11-23T02:30:00Z" in taken.output
    assert sorted(place.backups.glob("backup-*")) == archives


def test_a_receipt_counts_where_the_evidence_of_its_run_holds_it(place: Site, tmp_path: Path):
    tool = tmp_path / "snapshot"
    tool.write_text(
        '#!/bin/sh\necho \'{"id": "snap-7", "snapshot_time": "2026-11-23T02:30:00Z"}\'\n'
    )
    tool.chmod(0o755)
    mine = extra(tmp_path, backup_external_command=[str(tool)])
    done = place.run("migrate-003.yml", *mine)
    assert done.code == 0, done.output
    state = place.database["_migrations"]
    run = state.find_one({"kind": "run", "migration": "003"})
    assert run is not None
    assert run["backup"] == "external snap-7"

    state.update_one({"_id": run["_id"]}, {"$set": {"phase": "applied"}})
    believed = place.run("migrate-003.yml", "--check", *mine)
    state.update_one({"_id": run["_id"]}, {"$set": {"backup": "external forged"}})
    doubted = place.run("migrate-003.yml", "--check", *mine)
    assert "can't be relied on" not in believed.output
    assert "in no evidence of this run" in " ".join(doubted.output.split())
