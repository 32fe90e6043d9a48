"""Servers and databases for the tests: real ones, started once for a session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from embedded.app import App
from embedded.mongod import ReplicaSet, Standalone
from tests.support import databases

Client = MongoClient[dict[str, Any]]

# What pytest finds by its settings, the processes that a test starts find by their environment,
# however pytest itself was started.
_ROOT = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), str(_ROOT / "plugins" / "module_utils")])
os.environ["ANSIBLE_CONFIG"] = str(_ROOT / "ansible.cfg")

# Tests start hundreds of processes; each would compile the engine anew, which takes more than a
# second, where the shell that pytest was started from forbids Python to keep its byte code.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Several servers share a small machine, and the tests' data are small.
CACHE_GB = 0.25
# A test waits for two thirds of its time: for a server, a lease, an election.
_WORKERS_PER_CORE = 3
# What the servers of a worker, its Python and what that starts take.
_BYTES_PER_WORKER = 1.5e9


def pytest_xdist_auto_num_workers() -> int:
    """Return what `--numprocesses auto` means: as many as keep the machine busy and fit into it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    return max(2, min(_WORKERS_PER_CORE * cores, int(memory / _BYTES_PER_WORKER)))


@pytest.fixture(scope="session")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of one member that asks for passwords."""
    with ReplicaSet(tmp_path_factory.mktemp("replica_set"), cache_gb=CACHE_GB) as servers:
        yield servers


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A server that is not a replica set and asks for no passwords."""
    folder = tmp_path_factory.mktemp("standalone")
    with Standalone(folder, auth=False, cache_gb=CACHE_GB) as server:
        yield server


@pytest.fixture(scope="session")
def _three_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("three"), 3, cache_gb=CACHE_GB) as servers:
        yield servers


@pytest.fixture
def three_members(_three_members: ReplicaSet) -> Iterator[ReplicaSet]:
    """Three members, all well at the start of the test, whatever the last one did to them."""
    yield _three_members
    for number, member in enumerate(_three_members.members):
        if member.alive:
            _three_members.resume(number)
    _three_members.revive()
    _three_members.wait_for_primary()
    _three_members.wait_for_secondaries()


@pytest.fixture(scope="session")
def client(replica_set: ReplicaSet) -> Iterator[Client]:
    """The administrator of the replica set."""
    with replica_set.client() as admin:
        yield admin


@pytest.fixture(scope="session")
def independent(replica_set: ReplicaSet) -> Iterator[Client]:
    """A second connection of the administrator, to look at what others did."""
    with replica_set.client() as admin:
        yield admin


@pytest.fixture
def database(client: Client) -> Iterator[Database[dict[str, Any]]]:
    """A fresh database on the replica set; `migrator` and `app` have their roles on it."""
    with databases.fresh(client, roles=True) as fresh:
        yield fresh


@pytest.fixture
def standalone_database(standalone: Standalone) -> Iterator[Database[dict[str, Any]]]:
    """A fresh database on the standalone server."""
    with standalone.client() as admin, databases.fresh(admin, roles=False) as fresh:
        yield fresh


@pytest.fixture
def three_database(three_members: ReplicaSet) -> Iterator[Database[dict[str, Any]]]:
    """A fresh database on the three members."""
    with three_members.client() as admin, databases.fresh(admin, roles=True) as fresh:
        yield fresh


@pytest.fixture
def migrator_uri(replica_set: ReplicaSet, database: Database[dict[str, Any]]) -> str:
    """How the playbooks log in: with no more rights than they need."""
    del database  # whose roles this user needs
    return replica_set.uri("migrator")


@pytest.fixture
def app_uri(replica_set: ReplicaSet, database: Database[dict[str, Any]]) -> str:
    """How the application logs in to the test's database."""
    return replica_set.uri("app", database=database.name)


@pytest.fixture
def start_app(tmp_path: Path, app_uri: str) -> Iterator[Callable[..., App]]:
    """Start an application on the test's database: `start_app("app1", writes_per_second=10)`."""
    uri_file = tmp_path / "app.uri"
    uri_file.write_text(app_uri)
    started: list[App] = []

    def start(name: str = "app1", **options: Any) -> App:
        app = App(tmp_path / "apps", name, uri_file=uri_file, **options)
        started.append(app)
        return app.start()

    yield start
    for app in started:
        # A playbook may have restarted it under another process id since.
        App(app.folder, app.name).stop()
