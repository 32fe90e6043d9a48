"""Deployments to migrate, each a fresh database on a server that the session shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bson.codec_options import DatetimeConversion
from mongo_migration.server import connection
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import ReplicaSet, Standalone
from tests.conftest import CACHE_GB
from tests.support.arbiter import WithArbiter
from tests.support.migrations import Deployment

Client = MongoClient[dict[str, Any]]


@pytest.fixture(scope="session")
def _migrator(replica_set: ReplicaSet) -> Iterator[Client]:
    with _engine_client(replica_set.uri("migrator")) as client:
        yield client


@pytest.fixture
def roomy(independent: Client) -> Iterator[None]:
    """A cache that holds a document of 16 MB and its entry in the oplog.

    Both are dirty until they are checkpointed. Of a small cache that is more than the share that
    the server allows one write (transactionTooLargeForCacheThreshold): it refuses by code 388 what
    a test writes before it comes to what it is about.
    """

    def resize(size: str) -> None:
        configured = {"wiredTigerEngineRuntimeConfig": f"cache_size={size}"}
        independent.admin.command({"setParameter": 1, **configured})

    resize("1GB")
    yield
    resize(f"{int(CACHE_GB * 1024)}MB")


@pytest.fixture
def deployment(
    _migrator: Client, independent: Client, database: Database[dict[str, Any]]
) -> Deployment:
    """An empty database on the replica set, migrated by a user with no more rights than needed."""
    return Deployment(_migrator, _as_stored(independent[database.name]))


@pytest.fixture
def standalone_deployment(
    standalone: Standalone, standalone_database: Database[dict[str, Any]]
) -> Iterator[Deployment]:
    """An empty database on a server without transactions."""
    with _engine_client(standalone.uri(None)) as migrator:
        yield Deployment(migrator, _as_stored(standalone_database))


def _as_stored(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    """Return *database* so that it also gives dates that Python doesn't know."""
    return database.with_options(
        codec_options=database.codec_options.with_options(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO
        )
    )


def _engine_client(uri: str) -> Client:
    """Return a client with the options that the modules give theirs."""
    return connection.connect({"uri": uri, "database": "bizzai"})


@pytest.fixture(scope="session")
def _with_arbiter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithArbiter]:
    with WithArbiter(tmp_path_factory.mktemp("arbiter"), 3, cache_gb=CACHE_GB) as servers:
        yield servers


@pytest.fixture
def with_arbiter(_with_arbiter: WithArbiter) -> Iterator[WithArbiter]:
    """A primary, a secondary and an arbiter, all well before and after the test."""
    yield _with_arbiter
    _with_arbiter.revive()
    _with_arbiter.wait_for_primary()
    _with_arbiter.wait_for_secondaries()
