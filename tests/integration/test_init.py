"""`make init`: what it writes works, what the login lacks is granted by what it prints."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from mongo_migration.procedures import first_look, login
from pymongo import MongoClient
from pymongo.database import Database

from authoring import init
from embedded.mongod import ReplicaSet, Standalone
from tests.support import newcomers
from tests.support.playbooks import BIN, environment

Client = MongoClient[dict[str, Any]]
Data = Database[dict[str, Any]]

DOCUMENT = """\
id: "001"
name: first
summary: A first one.
after: []
downtime: none
steps:
  - set_field: {collections: [OrderItems], field: source, value: {value: web}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return newcomers.checkout(tmp_path / "project")


@pytest.fixture
def uri(client: Client, replica_set: ReplicaSet, database: Data) -> Iterator[str]:
    database["order_items"].insert_many([{"_id": number} for number in range(3)])
    roles = [{"role": "readWrite", "db": database.name}]
    with newcomers.login(client, replica_set.uri("migrator"), roles) as found:
        yield found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, root: Path, uri: str, database: Data) -> Any:
    def run_init(*more: str, uri: str = uri) -> int:
        monkeypatch.setenv("MONGO_URI", uri)
        return init.main(["--name", "shop", "--database", database.name, *more], root)

    return run_init


def variables(root: Path) -> dict[str, Any]:
    command = [BIN / "ansible-inventory", "-i", root / "shop", "--host", "shop-db"]
    command += ["--vault-password-file", root / "vault-password"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=True, cwd=root
    )
    return dict(json.loads(done.stdout))


def test_what_it_writes_is_an_inventory_and_the_secret_is_in_its_vault_alone(
    run: Any, root: Path, uri: str, database: Data, capsys: pytest.CaptureFixture[str]
):
    (root / "migrations").mkdir()
    (root / "migrations" / "001-first.yml").write_text(DOCUMENT)
    assert run() == 0

    found = variables(root)
    assert found["mongo_database"] == database.name
    assert found["mongo_collections"] == {"OrderItems": "order_items"}
    vault = root / "inventories/shop/group_vars/mongodb/vault.yml"
    password = (root / "vault-password").read_bytes().strip()
    opened = VaultLib([("default", VaultSecret(password))]).decrypt(vault.read_bytes()).decode()
    assert uri.replace("'", "''") in opened
    shown = capsys.readouterr().out
    for text in [shown, *(path.read_text() for path in root.rglob("*") if path.is_file())]:
        assert uri not in text
        assert newcomers.PASSWORD not in text
    assert (root / "vault-password").stat().st_mode & 0o077 == 0
    assert database.list_collection_names() == ["order_items"]  # nothing was written there


def test_what_it_prints_grants_what_the_login_lacks(
    run: Any, client: Client, uri: str, database: Data, capsys: pytest.CaptureFixture[str]
):
    assert run() == 0
    shown = capsys.readouterr().out
    assert "newcomer@admin lacks collMod, serverStatus" in shown
    printed = re.findall(r'db\.getSiblingDB\("(\w+)"\)\.runCommand\((.*)\)', shown)
    try:
        for place, command in printed:
            if login.ROLE not in command or not command.startswith('{"createRole"'):
                client[place].command(json.loads(command))  # the server of the tests has the role
        with MongoClient(uri) as newcomer:
            assert first_look.look(newcomer, database.name).login.missing == ()
        assert any(command.startswith('{"createRole"') for _place, command in printed)
    finally:
        client.admin.command("updateUser", newcomers.USER, roles=[])


@pytest.fixture
def address(replica_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(init.argument_specs.CONNECTION_OPTIONS["connection_timeout"], "default", 1)
    return replica_set.uri("migrator").rpartition("@")[2].partition("/")[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mongodb://newcomer:wrong@{}/?authSource=admin", "refused the login of 'newcomer'"),
        ("mongodb://newcomer:a/b@{}/", "isn't a connection string"),
        ("mongodb://localhost:1/", "No usable MongoDB at localhost:1"),
    ],
)
def test_what_does_not_work_is_said_and_nothing_is_written(  # noqa: PLR0917
    run: Any, root: Path, capsys: pytest.CaptureFixture[str], given: str, said: str, address: str
):
    assert run(uri=given.format(address)) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.rstrip().endswith("Nothing was written.")
    assert sorted(root.rglob("*")) == [root / "inventories"]


def test_an_inventory_is_never_overwritten_and_a_question_without_a_terminal_says_what_to_pass(
    run: Any, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert run() == 0
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert run() == 2
    assert "inventories/shop exists already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    monkeypatch.delenv("MONGO_URI")
    assert init.main(["--name", "other"], root) == 2
    assert "set MONGO_URI" in capsys.readouterr().err
    assert init.main([], root) == 2
    assert "make init NAME=" in capsys.readouterr().err


def test_a_server_without_passwords_needs_no_vault(
    root: Path,
    standalone: Standalone,
    standalone_database: Data,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    standalone_database["a"].insert_one({})
    monkeypatch.setenv("MONGO_URI", standalone.uri(None))
    assert init.main(["--name", "shop", "--database", standalone_database.name], root) == 0
    assert "asks for no password" in capsys.readouterr().out
    assert not (root / "vault-password").exists()
    (root / "vault-password").write_text("not needed")
    assert variables(root)["mongo_uri"] == standalone.uri(None)
