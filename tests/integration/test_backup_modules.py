"""mongo_backup and mongo_restore, as Ansible calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.support import backups

ROOT = Path(__file__).parents[2]


def call(module: str, check: bool = False, **options: Any) -> dict[str, Any]:
    # Ansible quotes a failed task as it was written, here on its command line.
    secrets = {
        name: options[name]
        for name in ("uri", "identity", "passphrase", "encrypt_passphrase")
        if name in options
    }
    for name in secrets:
        options[name] = f"{{{{ lookup('ansible.builtin.env', 'SECRET_{name.upper()}') }}}}"
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible",
            *("localhost", "-i", "localhost,", "-c", "local", "-m", module),
            *("-a", json.dumps(options), "-e", f"ansible_python_interpreter={sys.executable}"),
            *(["--check"] if check else []),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            **{f"SECRET_{name.upper()}": secret for name, secret in secrets.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    for name, secret in secrets.items():
        hidden = secret.split("@")[0].rpartition(":")[2] if name == "uri" else secret
        assert hidden not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.partition("=>")[2])
    # The ad-hoc command leaves out what says so in its headline.
    return {"failed": "FAILED!" in done.stdout, **result}


@pytest.fixture
def login(migrator_uri: str, database: Database[dict[str, Any]]) -> dict[str, Any]:
    database["items"].insert_many([{"_id": n, "n": n} for n in range(100)])
    return {"uri": migrator_uri, "database": database.name}


def test_backup_and_restore_as_modules(
    login: dict[str, Any], database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    before = backups.facts(database)
    planned = call("mongo_backup", check=True, **login, dest=str(tmp_path))
    assert planned["changed"] is True
    assert planned["plan"]["documents"] == 100
    assert list(tmp_path.iterdir()) == []

    taken = call(
        "mongo_backup",
        **login,
        dest=str(tmp_path),
        change={"ticket": "CHG-1"},
        verification="drill",
    )
    assert taken["changed"] is True, taken
    assert taken["drill"]["passed"] is True
    assert Path(taken["archive"]).is_file()

    listed = call("mongo_backup", database=database.name, dest=str(tmp_path), state="list")
    assert listed["changed"] is False
    assert listed["backups"][0]["note"] == {"ticket": "CHG-1"}

    database["items"].delete_many({"_id": {"$lt": 10}})
    refused = call("mongo_restore", **login, archive=taken["latest"])
    assert refused["failed"] is True
    assert f"confirm: {database.name}" in refused["msg"]
    assert refused["plan"]["collections"][0]["documents_now"] == 90

    planned = call("mongo_restore", check=True, **login, archive=taken["latest"])
    assert planned["plan"]["confirmed"] is False
    assert database["items"].count_documents({}) == 90

    restored = call("mongo_restore", **login, archive=taken["latest"], confirm=database.name)
    assert restored["changed"] is True, restored
    assert Path(restored["safety_backup"]).parent == tmp_path / "before-restore"
    after = backups.facts(database)
    assert after == before


def test_foreign_archive_is_refused_before_a_server_is_asked(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.tar.gz"
    foreign.write_bytes(b"not an archive" * 50)

    result = call(
        "mongo_restore",
        uri="mongodb://nobody:secret@127.0.0.1:1/",
        database="shop",
        archive=str(foreign),
        confirm="shop",
    )

    assert result["failed"] is True
    assert "wasn't made by mongo_backup" in result["msg"]


def test_external_command_is_required_and_its_receipt_returned(login: dict[str, Any]) -> None:
    assert call("mongo_backup", **login, state="external")["failed"] is True

    result = call(
        "mongo_backup",
        **login,
        state="external",
        external_command=["/bin/echo", '{"id": "snap-1", "snapshot_time": "now"}'],
    )

    assert result["external"]["receipt"]["id"] == "snap-1"
