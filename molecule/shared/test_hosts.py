"""What holds after every scenario: who runs, who can read what, and that no secret leaked."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from testinfra.host import Host

from embedded.app import App
from embedded.cluster import Cluster


def passwords(cluster: Cluster) -> list[str]:
    uris = [cluster.facts[f"{user}_uri"] for user in ("admin", "migrator", "app")]
    found = [urlsplit(uri).password for uri in uris]
    return sorted({unquote(each) for each in found if each})


def test_the_members_run_mongod_as_they_were_asked_to(
    cluster: Cluster, members: list[Host], folder: Path
) -> None:
    shape = cluster.facts["shape"]
    if cluster.facts["backend"] == "local":
        said = members[0].check_output("ps -eww -o args").splitlines()
        lines = [line for line in said if f"--dbpath {folder}/" in line]
    else:
        # mongod is the first process of its container.
        lines = [host.check_output("cat /proc/1/cmdline").replace("\0", " ") for host in members]
    assert len(lines) == shape["members"]
    for line in lines:
        assert ("--keyFile" in line) is shape["auth"]
        assert ("--tlsMode requireTLS" in line) is shape["tls"]


def test_the_members_keep_their_secrets_for_themselves(
    cluster: Cluster, members: list[Host], folder: Path
) -> None:
    if not cluster.facts["shape"]["auth"]:
        pytest.skip("there are no secrets")
    where = "/tmp/secrets/" if cluster.facts["backend"] != "local" else f"{folder}/servers/"
    for host in members:
        modes = host.check_output(f"stat -c %a {where}keyfile").split()
        assert modes == ["600"]


def test_both_instances_of_the_application_run_and_answer(apps: list[App]) -> None:
    assert [app.alive for app in apps] == [True, True]
    assert len({app.pid for app in apps}) == 2
    assert [app.get("/api/health/ready").status for app in apps] == [200, 200]


def test_no_password_stands_in_a_process_list(cluster: Cluster, controller: Host) -> None:
    # What runs in containers stands in this list, too.
    running = controller.check_output("ps -eww -o args")
    assert "mongod" in running
    assert [word for word in passwords(cluster) if word in running] == []


def test_no_password_stands_in_what_the_playbooks_said_or_left(
    cluster: Cluster, folder: Path
) -> None:
    words = [word.encode() for word in passwords(cluster)]
    files = [p for name in ("logs", "evidence", "backups") for p in (folder / name).rglob("*")]
    files += (folder / "apps").glob("*.log")
    guilty = []
    for path in files:
        if path.is_file():
            content = path.read_bytes()
            if path.name.endswith(".tar.gz"):
                content = gzip.decompress(content)
            if any(word in content for word in words):
                guilty.append(str(path))
    assert guilty == []


def test_archives_and_evidence_are_for_their_owner_alone(controller: Host, folder: Path) -> None:
    for archive in (folder / "backups").rglob("backup-*.tar.gz"):
        file = controller.file(str(archive))
        assert oct(file.mode) == "0o600"
        assert controller.run(f"gzip -t {archive}").rc == 0
    for place in (folder / "evidence").glob("*"):
        # Its group may read it; passwords never stand in it.
        assert controller.file(str(place)).mode & 0o027 == 0


def test_a_stranger_is_refused(cluster: Cluster) -> None:
    if not cluster.facts["shape"]["auth"]:
        pytest.skip("this server asks nobody")
    uri = cluster.facts["admin_uri"]
    stranger = uri.replace(uri.partition("//")[2].partition("@")[0] + "@", "")
    stranger = stranger.replace("authSource=admin&", "")
    with (
        MongoClient(stranger, serverSelectionTimeoutMS=30000) as client,
        pytest.raises(OperationFailure, match=r"[Aa]uthentication"),
    ):
        client[cluster.facts["database"]]["items"].find_one()


def test_plain_text_is_refused_where_tls_is_asked_for(cluster: Cluster) -> None:
    if not cluster.facts["shape"]["tls"]:
        pytest.skip("this server speaks plain text")
    address = cluster.facts["members"][0]["address"]
    with (
        MongoClient(address, directConnection=True, serverSelectionTimeoutMS=2000) as client,
        pytest.raises(PyMongoError),
    ):
        client.admin.command("ping")


def test_no_lease_is_held_any_more(database: Database[dict[str, Any]]) -> None:
    lease = database["_migrations"].find_one({"_id": "lease"})
    assert lease is None or lease["expires"] is None
