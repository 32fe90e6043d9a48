"""Maintenance mode on real servers: the record, the write block and the proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mongo_migration.maintenance import mode, write_proof
from mongo_migration.maintenance import switch as switching
from mongo_migration.maintenance import write_block as blocks
from mongo_migration.maintenance.errors import MaintenanceError
from mongo_migration.procedures import preflight, status
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from embedded.mongod import ReplicaSet, Standalone
from tests.support.maintenance import set_mode
from tests.support.migrations import Deployment

Client = MongoClient[dict[str, Any]]
Data = Database[dict[str, Any]]
Switch = Callable[..., dict[str, Any]]

ANNA = {"user": "anna", "host": "bastion", "pid": 17}
BOB = {"user": "bob", "host": "laptop", "pid": 18}


@pytest.fixture
def migrator(replica_set: ReplicaSet, database: Data) -> Iterator[Client]:
    del database  # whose roles this user needs
    with replica_set.client("migrator") as client:
        yield client


@pytest.fixture
def app(replica_set: ReplicaSet, database: Data) -> Iterator[Client]:
    del database
    with replica_set.client("app") as client:
        yield client


@pytest.fixture
def switch(migrator: Client, database: Data) -> Switch:
    def call(state: str, **options: Any) -> dict[str, Any]:
        return set_mode(
            **{
                "client": migrator,
                "database": database.name,
                "state": state,
                "reason": "migration 004",
                "change": {"ticket": "CHG-1"},
                "operator": ANNA,
                **options,
            },
        )

    return call


@pytest.fixture
def other_user(client: Client, replica_set: ReplicaSet) -> Iterator[Callable[[list[Any]], Client]]:
    """Create a user with the given roles and log in as it."""
    opened: list[Client] = []

    def create(roles: list[Any]) -> Client:
        client.admin.command("createUser", "other", pwd="other", roles=roles)
        opened.append(MongoClient(replica_set.uri("other", "other")))
        return opened[-1]

    yield create
    for login in opened:
        login.close()
        client.admin.command("dropUser", "other")


def test_on_blocks_ordinary_users_and_lets_the_migrator_write(
    switch: Switch, app: Client, migrator: Client, database: Data
) -> None:
    result = switch("on")

    assert result["changed"]
    assert result["write_block"]
    assert blocks.write_block_is_on(migrator) is True
    with pytest.raises(OperationFailure) as refused:
        app[database.name].items.insert_one({})
    assert refused.value.code == write_proof.USER_WRITES_BLOCKED
    migrator[database.name].items.insert_one({})


def test_the_record_says_since_when_by_whom_and_why(switch: Switch, database: Data) -> None:
    result = switch("on")

    record = database["_migrations"].find_one({"_id": "maintenance"})
    assert record == {
        "_id": "maintenance",
        "on": True,
        "since": result["since"].replace(tzinfo=record["since"].tzinfo),
        "by": {"user": "anna", "host": "bastion"},
        "reason": "migration 004",
        "change": {"ticket": "CHG-1"},
        "write_block": True,
        "applications": [],
    }


def test_text_that_looks_like_an_expression_is_recorded_as_text(
    switch: Switch, migrator: Client, database: Data
) -> None:
    switch("on", reason="$$ROOT", change={"ticket": "$on"})

    record = mode.state(migrator, database.name)
    assert record
    assert record["reason"] == "$$ROOT"
    assert record["change"] == {"ticket": "$on"}


def test_a_second_on_changes_nothing_and_keeps_who_and_since(switch: Switch) -> None:
    first = switch("on")

    second = switch("on", operator=BOB, reason="another")

    assert not second["changed"]
    assert {key: second[key] for key in ("since", "by", "reason")} == {
        key: first[key] for key in ("since", "by", "reason")
    }


def test_on_again_restores_a_block_that_was_taken_away_and_keeps_since(
    switch: Switch, client: Client
) -> None:
    first = switch("on")
    client.admin.command({"setUserWriteBlockMode": 1, "global": False})

    second = switch("on", operator=BOB)

    assert second["changed"]
    assert second["write_block"]
    assert second["since"] == first["since"]
    assert second["by"]["user"] == "anna"
    assert blocks.write_block_is_on(client) is True


def test_off_lets_everybody_write_again(switch: Switch, app: Client, database: Data) -> None:
    on = switch("on")

    off = switch("off", operator=BOB)

    assert off["changed"]
    assert not off["write_block"]
    assert off["by"]["user"] == "bob"
    assert off["since"] >= on["since"]
    app[database.name].items.insert_one({})
    assert not switch("off")["changed"]


def test_off_of_what_was_never_on_records_nothing(
    switch: Switch, migrator: Client, database: Data
) -> None:
    result = switch("off")

    assert not result["changed"]
    assert mode.state(migrator, database.name) is None
    assert database.list_collection_names() == []


@pytest.mark.parametrize("state", ["on", "off"])
def test_check_mode_says_what_would_change_and_changes_nothing(
    switch: Switch, migrator: Client, app: Client, database: Data, state: str
) -> None:
    if state == "off":
        switch("on")
    before = mode.state(migrator, database.name)

    result = switch(state, check=True, probe=app)

    assert result["changed"]
    assert result["diff"]["after"] == {"on": state == "on", "write_block": state == "on"}
    assert mode.state(migrator, database.name) == before
    assert blocks.write_block_is_on(migrator) is (state == "off")


def test_never_leaves_the_write_block_alone(switch: Switch, migrator: Client, app: Client) -> None:
    result = switch("on", write_block="never", applications=["app1"], probe=app)

    assert result["changed"]
    assert not result["write_block"]
    assert blocks.write_block_is_on(migrator) is False
    assert result["proof"]["refused"] is False
    assert "not tried" in result["proof"]["how"]


def test_the_ordinary_user_proves_that_insert_and_update_are_refused(
    switch: Switch, app: Client, database: Data
) -> None:
    result = switch("on", probe=app)

    assert result["proof"] == {
        "refused": True,
        "code": 371,
        "how": f"app@admin tried insert and update in {database.name}._migrations_probe: "
        "both refused with 371 UserWritesBlocked",
    }
    assert "_migrations_probe" not in database.list_collection_names()


def test_the_proof_is_made_again_when_maintenance_is_on_already(
    switch: Switch, app: Client
) -> None:
    switch("on")

    result = switch("on", probe=app)

    assert not result["changed"]
    assert result["proof"]["refused"]


def test_a_probe_that_can_write_fails_and_leaves_no_trace(
    switch: Switch, other_user: Callable[[list[Any]], Client], database: Data
) -> None:
    bypasser = other_user([{"role": "readWrite", "db": database.name}, "restore"])

    with pytest.raises(MaintenanceError, match="bypassWriteBlockingMode") as error:
        switch("on", probe=bypasser)

    assert "restore@admin" in error.value.message
    assert "insert went through, update went through" in error.value.message
    assert error.value.details["proof"]["refused"] is False
    assert error.value.details["changed"]
    assert "_migrations_probe" not in database.list_collection_names()


def test_a_probe_without_any_right_to_write_proves_nothing(
    switch: Switch, other_user: Callable[[list[Any]], Client], database: Data
) -> None:
    reader = other_user([{"role": "read", "db": database.name}])

    with pytest.raises(MaintenanceError, match="proves nothing") as error:
        switch("on", probe=reader)

    assert error.value.details["proof"]["code"] == 13


@pytest.mark.parametrize("write_block", ["auto", "required"])
def test_a_missing_privilege_is_named_with_the_command_that_grants_it(
    switch: Switch,
    other_user: Callable[[list[Any]], Client],
    client: Client,
    database: Data,
    write_block: str,
) -> None:
    weak = other_user([{"role": "readWrite", "db": database.name}, "clusterMonitor"])

    with pytest.raises(MaintenanceError) as error:
        switch("on", client=weak, write_block=write_block)

    assert "other@admin lacks the privilege setUserWriteBlockMode" in error.value.message
    assert 'grantRolesToUser("other", [{role: "writeBlock"' in error.value.details["grant"]
    assert mode.state(client, database.name) is None
    assert blocks.write_block_is_on(client) is False


def test_a_user_that_may_only_switch_would_lock_itself_out_and_is_refused(
    switch: Switch, other_user: Callable[[list[Any]], Client], client: Client, database: Data
) -> None:
    # The role backup may switch the block, but not write behind it.
    half = other_user([{"role": "readWrite", "db": database.name}, "backup"])

    with pytest.raises(MaintenanceError, match="lacks the privilege bypassWriteBlockingMode"):
        switch("on", client=half)

    assert blocks.write_block_is_on(client) is False


def test_other_databases_under_the_block_are_named(
    switch: Switch, client: Client, database: Data
) -> None:
    first = f"0{database.name}"  # of very many, five are named
    client[first].customers.insert_one({})
    try:
        result = switch("on")
    finally:
        client.drop_database(first)

    assert any(f"also for: {first}" in warning for warning in result["warnings"])


def test_without_clusterMonitor_the_record_stands_in_for_the_server(  # noqa: N802
    switch: Switch,
    other_user: Callable[[list[Any]], Client],
    client: Client,
    database: Data,
) -> None:
    blind = other_user([{"role": "readWrite", "db": database.name}, "restore"])

    assert blocks.write_block_is_on(blind) is None
    assert switch("on", client=blind)["write_block"]
    assert not switch("on", client=blind)["changed"]
    assert switch("off", client=blind)["changed"]
    assert blocks.write_block_is_on(client) is False


@pytest.fixture
def old_compatibility(client: Client) -> Iterator[None]:
    client.admin.command("setFeatureCompatibilityVersion", "5.0")
    yield
    client.admin.command("setFeatureCompatibilityVersion", "6.0")


@pytest.mark.usefixtures("old_compatibility")
def test_an_old_compatibility_version_means_no_write_block(switch: Switch) -> None:
    result = switch("on", applications=["app1"])

    assert result["changed"]
    assert not result["write_block"]
    assert "compatibility version is still 5.0" in result["warnings"][0]


@pytest.mark.usefixtures("old_compatibility")
def test_a_required_block_fails_under_an_old_compatibility_version(
    switch: Switch, migrator: Client, database: Data
) -> None:
    with pytest.raises(MaintenanceError, match="compatibility version"):
        switch("on", write_block="required")

    assert mode.state(migrator, database.name) is None


def test_a_standalone_server_is_put_into_maintenance_without_block_and_says_so(
    switch: Switch, standalone: Standalone, standalone_database: Data
) -> None:
    with standalone.client() as client:
        here = {"client": client, "database": standalone_database.name}
        result = switch("on", applications=["app1"], **here)

        assert result["changed"]
        assert not result["write_block"]
        assert "standalone" in result["warnings"][0]
        record = mode.state(client, standalone_database.name)
        assert record
        assert record["on"]
        assert not record["write_block"]
        assert record["applications"] == ["app1"]
        assert mode.is_on(standalone_database)
        assert not switch("on", applications=["app1"], **here)["changed"]
        assert switch("off", **here)["changed"]


@pytest.mark.parametrize("phase", ["begin", "complete"])
def test_where_nothing_would_keep_writers_out_maintenance_is_refused(
    switch: Switch, standalone: Standalone, standalone_database: Data, phase: str
) -> None:
    with (
        standalone.client() as client,
        pytest.raises(MaintenanceError, match="Nothing would keep writers out") as error,
    ):
        switch("on", client=client, database=standalone_database.name, phase=phase)

    assert "a standalone server has none" in error.value.message
    assert "no application host of the inventory is seen to refuse" in error.value.message
    assert standalone_database["_migrations"].find_one() is None


def test_writers_count_as_stopped_only_while_something_keeps_them_out(
    switch: Switch, client: Client, database: Data
) -> None:
    switch("on")
    assert mode.is_on(database)

    client.admin.command({"setUserWriteBlockMode": 1, "global": False})  # by somebody else

    assert not mode.is_on(database)
    assert (mode.state(client, database.name) or {})["on"], "the record stays, for who looks"
    switch("on", write_block="never", applications=["app1"])
    assert mode.is_on(database)


def test_a_claim_that_writers_are_stopped_is_not_believed(
    switch: Switch, client: Client, database: Data
) -> None:
    with pytest.raises(MaintenanceError, match="nothing keeps writers out") as refused:
        mode.require_on(client, database.name)
    assert refused.value.details["next"] == "ansible-playbook maintenance.yml -e state=on"
    # As 1.0 recorded it, and as anybody may write it: on, and kept out by nobody.
    database["_migrations"].insert_one({"_id": "maintenance", "on": True, "write_block": False})
    assert not mode.is_on(database)
    with pytest.raises(MaintenanceError, match="nothing keeps writers out"):
        mode.require_on(client, database.name)

    switch("on")
    assert mode.require_on(client, database.name)


@pytest.mark.parametrize(
    "case",
    [
        ("auto", ["app1"], "problem", "lacks the privilege setUserWriteBlockMode"),
        ("required", ["app1"], "problem", "lacks the privilege setUserWriteBlockMode"),
        ("never", ["app1"], "warning", "the application's flag alone"),
        ("never", [], "problem", "Nothing would keep writers out"),
    ],
)
def test_preflight_goes_by_the_rule_of_the_night_in_the_inventorys_words(
    switch: Switch,
    other_user: Callable[[list[Any]], Client],
    database: Data,
    case: tuple[Any, list[str], str, str],
) -> None:
    wanted, applications, status, said = case
    weak = other_user([{"role": "readWrite", "db": database.name}, "clusterMonitor"])
    database["items"].insert_one({})

    result = preflight.examine(
        client=weak,
        database=database.name,
        definition=Deployment(weak, database).load("004"),
        thresholds={},
        long_operation_seconds=10,
        maintenance=preflight.Maintenance(write_block=wanted, applications=applications),
    )
    [check] = [check for check in result["checks"] if check["name"] == "write block"]

    assert (check["status"], said in check["found"]) == (status, True), check
    assert "maintenance_write_block" in f"{check['found']} {check['fix']}"
    if status == "problem":
        with pytest.raises(MaintenanceError) as error:
            switch("on", client=weak, write_block=wanted, applications=applications, phase="begin")
        assert error.value.message == f"{check['found']}. {check['fix']}"
    else:
        assert switch("on", client=weak, write_block=wanted, applications=applications)["changed"]


def test_a_required_block_fails_on_a_standalone_server_before_anything_is_written(
    switch: Switch, standalone: Standalone, standalone_database: Data
) -> None:
    with standalone.client() as client:
        with pytest.raises(MaintenanceError, match="standalone"):
            switch("on", client=client, database=standalone_database.name, write_block="required")

        assert mode.state(client, standalone_database.name) is None


def test_a_switch_that_failed_on_its_way_kept_nobody_out(
    switch: Switch, migrator: Client, database: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise MaintenanceError("the server didn't switch")

    with monkeypatch.context() as failing, pytest.raises(MaintenanceError):
        failing.setattr(switching, "_set_block", fail)
        switch("on")
    left = database["_migrations"].find_one({"_id": "maintenance"})
    assert left and left["on"]
    seen = status.describe(client=migrator, database=database.name, definition=None)["maintenance"]
    assert not seen["holds"]

    switch("off")
    ended = database["_migrations"].find_one({"_id": "maintenance"})
    assert ended and not ended["on"]
    assert "last" not in ended


def test_what_has_ended_is_kept_with_how_long_it_lasted(
    switch: Switch, migrator: Client, database: Data
) -> None:
    switch("on")
    began = database["_migrations"].find_one({"_id": "maintenance"})
    switch("off")
    switch("off")
    ended = database["_migrations"].find_one({"_id": "maintenance"})
    assert began
    assert ended
    assert "last" not in began
    assert ended["last"] == {
        "since": began["since"],
        "until": ended["since"],
        "reason": "migration 004",
    }
    seen = status.describe(client=migrator, database=database.name, definition=None)["maintenance"]
    lasted = (ended["since"] - began["since"]).total_seconds()
    assert seen["last"]["seconds"] == round(lasted, 1)
    # The next time it is on, the one before is still known; what nobody of ours wrote is not.
    switch("on")
    again = database["_migrations"].find_one({"_id": "maintenance"})
    assert again
    assert again["last"] == ended["last"]
    switch("off")
    database["_migrations"].update_one({"_id": "maintenance"}, {"$set": {"last": "long ago"}})
    seen = status.describe(client=migrator, database=database.name, definition=None)["maintenance"]
    assert seen["last"] is None
