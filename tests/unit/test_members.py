"""What a majority takes, which members matter, and how long one has been behind."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from mongo_migration.server import members
from mongo_migration.server.majority_lag import MajorityLag

NOW = datetime.datetime(2026, 11, 23, 2, 0, tzinfo=datetime.UTC)
DOWN = {"health": 0.0, "state": 8}


def seconds(count: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=count)


def replica_set(*described: dict[str, Any]) -> members.ReplicaSet:
    """Return a set of these members, each given by what isn't ordinary; the first is primary."""
    status, configuration = [], []
    for number, given in enumerate(described):
        state = {"_id": number, "name": f"db{number}:27017", "health": 1.0, "optimeDate": NOW}
        state["state"] = members.SECONDARY if number else members.PRIMARY
        seen = ("health", "state", "optimeDate")
        status.append({**state, **{key: given[key] for key in seen if key in given}})
        meant = {key: value for key, value in given.items() if key not in seen}
        configuration.append({"_id": number, "votes": 1, **meant})
    return members.of({"members": status}, {"members": configuration})


ARBITER = {"arbiterOnly": True, "state": members.ARBITER}


@pytest.mark.parametrize(
    ("described", "needed", "majority", "missing"),
    [
        ([{}], 1, True, []),
        ([{}, {}, {}], 2, True, []),
        ([{}, {}, DOWN], 2, True, ["db2:27017 is down"]),
        ([{}, DOWN, DOWN], 2, False, ["db1:27017 is down", "db2:27017 is down"]),
        ([{}, {}, ARBITER], 2, True, []),
        ([{}, DOWN, ARBITER], 2, False, ["db1:27017 is down"]),
        ([{}, {}, {}, {}, {**DOWN, "votes": 0}], 3, True, []),
        # A delayed voter confirms an hour later: nobody waits for that.
        (
            [{}, {"secondaryDelaySecs": 3600, "hidden": True}, ARBITER],
            2,
            False,
            ["db1:27017 is delayed by 3,600 s"],
        ),
        ([{}, {"slaveDelay": 60}, {}], 2, True, ["db1:27017 is delayed by 60 s"]),
    ],
)
def test_a_majority_is_what_can_confirm_a_write_now(
    described: list[dict[str, Any]], needed: int, majority: bool, missing: list[str]
) -> None:
    seen = replica_set(*described)

    assert (seen.needed, seen.has_majority, seen.missing) == (needed, majority, missing)


@pytest.mark.parametrize(
    "part",
    [{"hidden": True}, {"votes": 0}, {"secondaryDelaySecs": 3600}, ARBITER],
    ids=["hidden", "without a vote", "delayed", "arbiter"],
)
@pytest.mark.parametrize("fault", [DOWN, {"optimeDate": NOW - seconds(3600)}], ids=["down", "old"])
def test_a_member_with_a_part_of_its_own_is_neither_down_nor_behind(
    part: dict[str, Any], fault: dict[str, Any]
) -> None:
    seen = replica_set({}, {}, {}, {**part, **fault})

    assert seen.down == []
    assert seen.lag_seconds == 0


def test_an_ordinary_member_is_down_or_behind() -> None:
    seen = replica_set({}, {"optimeDate": NOW - seconds(7)}, DOWN)

    assert seen.down == ["db2:27017"]
    assert seen.lag_seconds == 7


def test_the_first_write_after_a_pause_is_no_lag_as_long_as_the_pause() -> None:
    lag = MajorityLag()

    assert lag.see(NOW, NOW - seconds(600), NOW + seconds(0.1)) == pytest.approx(0.1)
    assert lag.see(NOW, NOW, NOW + seconds(0.3)) == 0


def test_a_majority_that_stands_still_is_behind_since_the_first_write_it_lacks() -> None:
    lag = MajorityLag()

    assert lag.see(NOW, NOW - seconds(600), NOW) == 0
    assert lag.see(NOW + seconds(30), NOW - seconds(600), NOW + seconds(30)) == 30
    # It has come up to a write that was made later.
    assert lag.see(NOW + seconds(60), NOW + seconds(40), NOW + seconds(61)) == 1
