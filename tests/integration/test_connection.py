"""Real servers, through the engine and through a module as Ansible runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from bson.binary import UuidRepresentation
from mongo_migration import argument_specs
from mongo_migration.errors import ConnectionFailedError, MigrationError
from mongo_migration.procedures import preflight, status
from mongo_migration.server import connection
from mongo_migration.support import majority, mongodb_uri
from pymongo import MongoClient, ReadPreference, common
from pymongo.database import Database
from pymongo.errors import OperationFailure

from embedded.mongod import ReplicaSet, Standalone
from embedded.processes import free_ports
from tests.support.migrations import Deployment
from tests.support.playbooks import BIN, ROOT, environment

Data = Database[dict[str, Any]]

# Everything that a URI, YAML, a shell or a log could trip over.
DIFFICULT = "p@ss:w/rd?#[%]&= \"quoted\" 'so' \\ $HOME ü"


def params(**given: Any) -> dict[str, Any]:
    defaults = {
        name: spec.get("default") for name, spec in argument_specs.CONNECTION_OPTIONS.items()
    }
    return {**defaults, "database": "bizzai", "connection_timeout": 3.0, **given}


TOUCH = (
    """
id: "901"
name: touched
summary: One field in one collection.
downtime: none
steps:
  - set_field: {collections: [items], field: touched, value: {value: true}}
""",
    "901-touched.yml",
)

# Values that would harm, of every option of the driver that a URI isn't obeyed in.
HARMFUL = {
    "readpreference": "secondary",
    "readpreferencetags": "dc:far",
    "readconcernlevel": "available",
    "uuidrepresentation": "javaLegacy",
    "datetime_conversion": "datetime_ms",
    "unicode_decode_error_handler": "ignore",
    "compressors": "zlib",
    "connect": "false",
    "fsync": "true",
    "journal": "false",
    "w": "0",
    "retryreads": "false",
    "retrywrites": "false",
    "tz_aware": "false",
    "servermonitoringmode": "poll",
    "driver": "x",
    "server_api": "1",
}


@pytest.mark.parametrize(
    "option", sorted(set(common.URI_OPTIONS_VALIDATOR_MAP) - mongodb_uri.OBEYED)
)
def test_no_option_of_a_uri_changes_how_the_engine_reads_and_writes(
    migrator_uri: str, option: str
) -> None:
    with connection.connect(params(uri=migrator_uri)) as plain:
        expected = repr(plain)
    with connection.connect(
        params(uri=f"{migrator_uri}&{option}={HARMFUL.get(option, '1')}")
    ) as client:
        assert repr(client) == expected
        assert client.read_preference == ReadPreference.PRIMARY
        assert client.write_concern == majority.WRITE_CONCERN
        assert client.read_concern.level == "local"
        assert client.codec_options.uuid_representation == UuidRepresentation.UNSPECIFIED
        assert client.options.timeout is None
        assert client.options.pool_options.socket_timeout is None


def test_rollback_status_and_verification_read_the_primary_whatever_the_uri_says(
    three_members: ReplicaSet, three_database: Data
) -> None:
    primary = three_members.wait_for_primary()
    behind = next(number for number in range(3) if number != primary)

    def tag(configuration: dict[str, Any]) -> None:
        configuration["members"][behind]["tags"] = {"behind": "yes"}

    def untag(configuration: dict[str, Any]) -> None:
        configuration["members"][behind]["tags"] = {}

    three_members.reconfigure(tag)
    uri = f"{three_members.uri('migrator')}&readPreference=secondary&readPreferenceTags=behind:yes"
    three_database["items"].insert_many([{"_id": number} for number in range(3)])
    with (
        three_members.direct(behind, "admin") as secondary,
        connection.connect(params(uri=uri)) as client,
    ):
        assert client.read_preference == ReadPreference.PRIMARY
        deployment = Deployment(client, three_database)
        secondary.admin.command("fsync", lock=True)  # it answers, and applies nothing from now on
        try:
            done = deployment.migrate(TOUCH)
            assert done["modified"] == 3
            assert status.describe(client=client, database=three_database.name, definition=None)[
                "changelog"
            ]
            assert deployment.verify(TOUCH)["passed"]
            back = deployment.roll_back("901")
        finally:
            secondary.admin.command("fsyncUnlock")
            three_members.reconfigure(untag)
    assert back["phase"] == "rolled_back"
    assert back["restored"] == 3
    assert three_database["items"].count_documents({"touched": {"$exists": True}}) == 0


def test_a_direct_connection_to_a_secondary_is_refused_with_the_primarys_name(
    three_members: ReplicaSet,
) -> None:
    primary = three_members.wait_for_primary()
    other = next(number for number in range(3) if number != primary)
    login = f"mongodb://migrator:{three_members.passwords['migrator']}@"
    options = "/?authSource=admin&directConnection=true"

    with pytest.raises(ConnectionFailedError, match="a secondary of replica set rs0") as error:
        connection.connect(params(uri=f"{login}{three_members.members[other].address}{options}"))

    assert three_members.members[primary].address in error.value.message
    assert three_members.passwords["migrator"] not in error.value.message
    to_primary = params(uri=f"{login}{three_members.members[primary].address}{options}")
    connection.connect(to_primary).close()
    assert "failover can't be followed" in " ".join(connection.warnings(to_primary))


@pytest.fixture
def difficult_user(
    client: MongoClient[dict[str, Any]], database: Data
) -> Iterator[Callable[[], str]]:
    client.admin.command(
        "createUser", "difficult", pwd=DIFFICULT, roles=[{"role": "read", "db": database.name}]
    )
    yield lambda: "difficult"
    client.admin.command("dropUser", "difficult")


def run_module(uri: str, database: str) -> subprocess.CompletedProcess[str]:
    """Run mongo_migration_info as `ansible -vvv` does, with a URI that no command line holds."""
    return subprocess.run(
        [
            *(str(BIN / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "-vvv"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
            *("-m", "mongo_migration_info", "-a"),
            f"uri={{{{ lookup('env', 'VAULTED') }}}} database={database}",
        ],
        cwd=ROOT,
        env=environment({"VAULTED": uri}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_uri_connects_as_its_user(replica_set: ReplicaSet, migrator_uri: str) -> None:
    with connection.connect(params(uri=migrator_uri)) as client:
        login = client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
        server = connection.inspect(client)

    assert login == [{"user": "migrator", "db": "admin"}]
    assert server.topology == "replica_set"
    assert server.transactions
    assert server.members == (replica_set.hosts,)


def test_login_options_find_the_set_from_one_host(replica_set: ReplicaSet, database: Data) -> None:
    del database
    with connection.connect(
        params(
            login_host="127.0.0.1",
            login_port=replica_set.ports[0],
            login_user="migrator",
            login_password=replica_set.passwords["migrator"],
            auth_mechanism="SCRAM-SHA-256",
        )
    ) as client:
        assert connection.inspect(client).set_name == replica_set.set_name


def test_a_standalone_server_has_no_transactions(standalone: Standalone) -> None:
    with connection.connect(params(uri=standalone.uri())) as client:
        server = connection.inspect(client)

    assert server.topology == "standalone"
    assert not server.transactions
    assert server.as_dict()["members"] == []


@pytest.mark.parametrize("as_uri", [True, False])
def test_a_difficult_password_works(
    replica_set: ReplicaSet, difficult_user: Callable[[], str], as_uri: bool
) -> None:
    user = difficult_user()
    if as_uri:
        given = {"uri": replica_set.uri(user, quote(DIFFICULT, safe=""))}
    else:
        given = {
            "login_host": "127.0.0.1",
            "login_port": replica_set.ports[0],
            "login_user": user,
            "login_password": DIFFICULT,
        }

    connection.connect(params(**given)).close()


@pytest.mark.parametrize("user", ["migrator", "nobody"])
def test_a_refused_login_is_one_message_without_the_password(
    replica_set: ReplicaSet, user: str
) -> None:
    with pytest.raises(ConnectionFailedError, match=f"refused the login of '{user}'") as error:
        connection.connect(params(uri=replica_set.uri(user, "wrong-secret")))

    assert replica_set.hosts in error.value.message
    assert "wrong-secret" not in f"{error.value.message} {error.value.details}"
    assert "\n" not in error.value.message


def test_an_unreachable_server_is_named_with_the_time_waited() -> None:
    [port] = free_ports(1)

    with pytest.raises(ConnectionFailedError, match="No usable MongoDB") as error:
        connection.connect(
            params(uri=f"mongodb://u:hidden-secret@127.0.0.1:{port}/", connection_timeout=0.5)
        )

    assert f"127.0.0.1:{port} within 0.5 s" in error.value.message
    assert "refused" in error.value.message
    assert "hidden-secret" not in error.value.message
    assert "Topology" not in error.value.message


def test_a_set_of_another_name_is_refused(replica_set: ReplicaSet) -> None:
    with pytest.raises(ConnectionFailedError, match='replica set name "another"'):
        connection.connect(
            params(
                login_host="127.0.0.1",
                login_port=replica_set.ports[0],
                replica_set="another",
                connection_timeout=0.5,
            )
        )


def test_tls_to_a_server_without_it_is_one_message(replica_set: ReplicaSet) -> None:
    with pytest.raises(ConnectionFailedError) as error:
        connection.connect(
            params(login_host="127.0.0.1", login_port=replica_set.ports[0], ssl=True)
        )

    assert "SSL" in error.value.message
    assert "\n" not in error.value.message


def test_a_module_tells_a_wrong_password_in_one_line_and_nowhere_shows_it(
    replica_set: ReplicaSet,
) -> None:
    password = "wr0ng:p@ss"
    escaped = quote(password, safe="")

    done = run_module(replica_set.uri("migrator", escaped), "bizzai")

    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "refused the login of 'migrator'" in output
    assert "Traceback" not in output
    assert password not in output
    assert escaped not in output


def test_a_module_tells_a_missing_role(
    replica_set: ReplicaSet, difficult_user: Callable[[], str]
) -> None:
    done = run_module(replica_set.uri(difficult_user(), quote(DIFFICULT, safe="")), "not_granted")

    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "not authorized on not_granted" in output
    assert "Traceback" not in output
    assert DIFFICULT not in output


def test_a_module_succeeds_without_showing_its_password(
    replica_set: ReplicaSet, migrator_uri: str, database: Data
) -> None:
    done = run_module(migrator_uri, database.name)

    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "topology: replica_set" in output
    assert replica_set.passwords["migrator"] not in output


def test_a_server_that_refuses_searches_without_an_index_is_named_by_preflight_and_by_the_run(
    client: MongoClient[dict[str, Any]], migrator_uri: str, database: Data
) -> None:
    database["items"].insert_one({})
    with connection.connect(params(uri=migrator_uri)) as migrator:
        deployment = Deployment(migrator, database)
        client.admin.command({"setParameter": 1, "notablescan": True})
        try:
            with pytest.raises(OperationFailure) as refused:
                deployment.migrate(TOUCH)
            with pytest.raises(MigrationError, match="notablescan is on"):
                preflight.examine(
                    client=migrator,
                    database=database.name,
                    definition=deployment.load(TOUCH),
                    thresholds={},
                    long_operation_seconds=10,
                    maintenance=preflight.Maintenance(needed=False),
                )
        finally:
            client.admin.command({"setParameter": 1, "notablescan": False})

    assert "notablescan: false" in connection.explain(refused.value)
    assert database["_migrations"].find_one() is None
