"""What the scenarios' tests look at: facts on hosts, and the database by a connection of their own.

Molecule runs them with the folder of the scenario's cluster in CLUSTER_FOLDER.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from pymongo import MongoClient
from pymongo.database import Database
from testinfra.host import Host

from embedded.app import App
from embedded.cluster import Cluster

Facts = dict[str, Any]


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of the scenario's cluster."""
    return Path(os.environ["CLUSTER_FOLDER"])


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Cluster:
    """The cluster; tests that look at facts read `cluster.facts`."""
    return Cluster(folder)


@pytest.fixture(scope="session")
def controller() -> Host:
    """The machine that ran the playbooks; applications run on it, too."""
    return testinfra.get_host("local://")


@pytest.fixture(scope="session")
def members(cluster: Cluster) -> list[Host]:
    """The members' hosts: their containers, or this machine."""
    backend = cluster.facts["backend"]
    if backend == "local":
        return [testinfra.get_host("local://")]
    # The engine's command needs what it needed when the containers were made.
    os.environ.update(cluster.facts["engine_environment"])
    return [testinfra.get_host(f"{backend}://{each['name']}") for each in cluster.facts["members"]]


@pytest.fixture(scope="session")
def client(cluster: Cluster) -> Iterator[MongoClient[Facts]]:
    """The administrator's connection, which no playbook uses."""
    with MongoClient[Facts](
        cluster.facts["admin_uri"], serverSelectionTimeoutMS=30000, tz_aware=True
    ) as made:
        yield made


@pytest.fixture(scope="session")
def database(client: MongoClient[Facts], cluster: Cluster) -> Database[Facts]:
    """The migrated database."""
    return client[cluster.facts["database"]]


@pytest.fixture(scope="session")
def apps(folder: Path, cluster: Cluster) -> list[App]:
    """The instances of the application, as they are now."""
    return [App(folder / "apps", name) for name in cluster.facts["apps"]]


@pytest.fixture(scope="session")
def plays(folder: Path) -> list[tuple[int, str]]:
    """The exit code and the output of each playbook that the scenario ran, in their order."""
    logs = sorted((folder / "logs").glob("*.log"))
    return [
        (json.loads(log.with_suffix(".json").read_text())["code"], log.read_text()) for log in logs
    ]


@pytest.fixture(scope="session")
def fingerprints(folder: Path) -> Facts:
    """The contents of the database that the scenario noted, by name."""
    found: Facts = json.loads((folder / "fingerprints.json").read_text())
    return found
