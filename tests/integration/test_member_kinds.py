"""A replica set with a member of each kind: what a majority can count on, as the server sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import ConnectionFailedError
from mongo_migration.server import members
from pymongo.errors import WTimeoutError
from pymongo.write_concern import WriteConcern

from embedded.mongod import ReplicaSet
from tests.conftest import CACHE_GB
from tests.support import backups, databases, torture
from tests.support.snapshot import snapshot
from tests.support.torture import Db

PRIMARY, HIDDEN, ARBITER, DELAYED, ANALYTICS = range(5)
DELAY_SECONDS = 3600


class EachKind(ReplicaSet):
    """One to write to, and one each: hidden, an arbiter, from an hour ago, for analysts alone."""

    def _role(self, number: int) -> dict[str, Any]:
        late = {"secondaryDelaySecs": DELAY_SECONDS, "votes": 0}
        return {
            PRIMARY: {},
            HIDDEN: {"hidden": True, "priority": 0},
            ARBITER: {"arbiterOnly": True},
            DELAYED: {"hidden": True, "priority": 0, **late},
            # Read by whoever asks for its tag; seen by all, without a vote.
            ANALYTICS: {"votes": 0, "priority": 0, "tags": {"nodeType": "ANALYTICS"}},
        }[number]

    def give_vote(self, votes: int) -> None:
        """Let the delayed member vote, or not; also where no majority could confirm that."""
        with self.client() as admin:
            configuration = admin.admin.command("replSetGetConfig")["config"]
            configuration["members"][DELAYED]["votes"] = votes
            configuration["version"] += 1
            admin.admin.command("replSetReconfig", configuration, force=True)


@pytest.fixture(scope="module")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EachKind]:
    with EachKind(tmp_path_factory.mktemp("kinds"), 5, cache_gb=CACHE_GB) as servers:
        yield servers


@pytest.fixture
def servers(_servers: EachKind) -> Iterator[EachKind]:
    yield _servers
    _servers.revive()
    _servers.give_vote(0)
    _servers.wait_for_primary()
    _servers.wait_for_secondaries()


@pytest.fixture
def db(_servers: EachKind, servers: EachKind) -> Iterator[Db]:
    with servers.client() as admin, databases.fresh(admin, roles=False) as fresh:
        torture.fill(fresh)
        yield fresh
        servers.give_vote(0)
        servers.revive()  # or the dropping would wait for it


def seen(db: Db) -> members.ReplicaSet:
    found = members.read(db.client)
    assert found is not None
    return found


def confirmed(db: Db) -> bool:
    """Return whether the server itself has a majority."""
    place = db["probe"].with_options(write_concern=WriteConcern("majority", wtimeout=2000))
    try:
        place.insert_one({})
    except WTimeoutError:
        return False
    return True


def test_with_all_of_them_up_everything_works(db: Db, tmp_path: Path) -> None:
    before = snapshot(db)
    archive = Path(backups.take(db.client, db.name, tmp_path)["archive"])
    torture.migrate(db)
    torture.assert_verified(db)
    torture.roll_back(db)
    assert snapshot(db) == before
    torture.migrate(db)
    assert snapshot(db) != before
    backups.put_back(db.client, db.name, archive)

    assert snapshot(db) == before
    found = seen(db)
    assert (found.has_majority, found.missing, found.down) == (True, [], [])
    assert found.needed == 2
    # The hidden and the delayed one are read by nobody.
    assert found.lag_seconds == 0


@pytest.mark.parametrize("number", [ARBITER, DELAYED, ANALYTICS])
def test_who_confirms_nothing_is_missed_by_nobody(servers: EachKind, db: Db, number: int) -> None:
    servers.kill(number)
    torture.migrate(db)

    torture.assert_verified(db)
    assert confirmed(db)
    assert (seen(db).has_majority, seen(db).missing, seen(db).down) == (True, [], [])


def test_a_member_for_analysts_that_stands_still_is_no_lag(servers: EachKind, db: Db) -> None:
    """Its process sleeps: nothing that is written arrives there."""
    servers.pause(ANALYTICS)
    try:
        torture.migrate(db)
        torture.assert_verified(db)
        assert (seen(db).lag_seconds, seen(db).down) == (0, [])
    finally:
        servers.resume(ANALYTICS)


def hidden_is_killed(servers: EachKind) -> None:
    servers.kill(HIDDEN)


def late_one_votes(servers: EachKind) -> None:
    servers.give_vote(1)


@pytest.mark.parametrize(
    ("happens", "words"),
    [(hidden_is_killed, "is down"), (late_one_votes, "is delayed by 3,600 s")],
)
def test_whoever_a_majority_lacks_is_named_and_nothing_is_written(
    happens: Callable[[EachKind], None], words: str, servers: EachKind, db: Db
) -> None:
    number = HIDDEN if happens is hidden_is_killed else DELAYED
    torture.migrate(db)
    torture.roll_back(db)
    before = snapshot(db)
    happens(servers)
    with pytest.raises(ConnectionFailedError) as refused:
        torture.migrate(db, retry_seconds=3)

    assert f"{servers.members[number].address} {words}" in refused.value.message
    assert not confirmed(db)
    assert not seen(db).has_majority
    db["probe"].drop()
    assert snapshot(db) == before
