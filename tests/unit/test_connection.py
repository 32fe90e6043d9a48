"""Options become a client, and no message or list of secrets gives a password away."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from mongo_migration import argument_specs
from mongo_migration.errors import ConnectionFailedError
from mongo_migration.server import connection
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

PASSWORD = "s3cr:et/p@ss w%rd+ü"


def params(**given: Any) -> dict[str, Any]:
    defaults = {
        name: spec.get("default") for name, spec in argument_specs.CONNECTION_OPTIONS.items()
    }
    return {**defaults, "database": "bizzai", "connection_timeout": 0.2, **given}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the driver is asked for, instead of a connection."""
    seen: dict[str, Any] = {}

    class Client:
        def __init__(self, **arguments: Any) -> None:
            seen.update(arguments)
            self.admin = self

        def command(self, *_arguments: Any) -> dict[str, Any]:
            return {"ok": 1}

    monkeypatch.setattr(connection, "MongoClient", Client)
    return seen


@pytest.mark.parametrize(
    "written",
    [PASSWORD, quote(PASSWORD, safe=""), quote_plus(PASSWORD), PASSWORD.replace("@", "%40")],
)
def test_a_password_in_a_uri_is_a_secret_as_it_is_written(written: str) -> None:
    uri = f"mongodb://user:{written}@db1:27017,db2/?replicaSet=rs0"

    assert written in connection.secrets({"uri": uri})


def test_an_escaped_password_is_a_secret_in_plain_too() -> None:
    secrets = connection.secrets({"uri": f"mongodb+srv://u:{quote(PASSWORD, safe='')}@db/"})

    assert {PASSWORD, quote(PASSWORD, safe=""), quote_plus(PASSWORD)} <= secrets


def test_every_secret_option_counts() -> None:
    secrets = connection.secrets(
        {
            "uri": "mongodb://a:first@db/?tlsCertificateKeyFilePassword=second",
            "probe_uri": "mongodb://app:third@db/",
            "login_password": "fourth",
            "ssl_pem_passphrase": "fifth",
        }
    )

    assert {"first", "second", "third", "fourth", "fifth"} <= secrets


@pytest.mark.parametrize("uri", ["mongodb://db:27017/", "mongodb://user@db/", "", None])
def test_without_a_password_there_is_no_secret(uri: str | None) -> None:
    assert connection.secrets({"uri": uri, "login_password": None}) == set()


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://user:{PASSWORD}@db:27017/",
        "mongodb://user:pass/word@db:27017/",
        "mongodb://user:pass@word@db:27017/",
        "mongo://user:password@db",
        "user:password@db",
        "db1:password",
        "mongodb://user:password@",
    ],
)
def test_a_malformed_uri_is_one_message_without_any_part_of_it(uri: str) -> None:
    with pytest.raises(ConnectionFailedError, match="the uri is malformed") as error:
        connection.connect(params(uri=uri))

    said = f"{error.value.message} {error.value.details}"
    assert "\n" not in said
    for part in ("s3cr", "et/p", "pass/", "pass@", "word@", "pass#", ":pass", "db1:"):
        assert part not in said.replace("user:password@host", "")


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("mongodb://u:very#secret@db1:27017,db2/?directConnection=true", "multiple hosts"),
        ("mongodb://u:very#secret@db1:27o17/", "Port"),
    ],
)
def test_a_wrong_part_of_a_uri_is_named_without_the_password(uri: str, named: str) -> None:
    with pytest.raises(ConnectionFailedError, match=named) as error:
        connection.connect(params(uri=uri))

    assert error.value.details["where"].startswith("db1:27")
    assert "secret" not in error.value.message


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "$a", "x" * 64, "a\\b"])
def test_an_impossible_database_name_is_refused(name: str) -> None:
    with pytest.raises(ConnectionFailedError, match="can't be the name of a database"):
        connection.connect(params(database=name))


@pytest.mark.parametrize("name", ["bizzai", "bizzai-staging", "x" * 63, "Ünïcode"])
def test_a_possible_database_name_is_accepted(name: str) -> None:
    connection.check_database_name(name)


def test_login_options_reach_the_driver(asked: dict[str, Any]) -> None:
    connection.connect(
        params(
            login_host="db1",
            login_port=27018,
            login_user="migrator",
            login_password=PASSWORD,
            replica_set="rs0",
            ssl=True,
            ssl_ca_certs="/etc/ca.pem",
            auth_mechanism="SCRAM-SHA-256",
        )
    )

    expected = {
        "host": "db1",
        "port": 27018,
        "username": "migrator",
        "password": PASSWORD,
        "authSource": "admin",
        "authMechanism": "SCRAM-SHA-256",
        "replicaSet": "rs0",
        "tls": True,
        "tlsCAFile": "/etc/ca.pem",
    }
    assert {key: asked.get(key) for key in expected} == expected
    assert "tlsAllowInvalidCertificates" not in asked


def test_tls_options_apply_beside_a_uri(asked: dict[str, Any]) -> None:
    connection.connect(params(uri="mongodb://db1/", ssl=True, ssl_cert_reqs="CERT_NONE"))

    assert asked["host"] == "mongodb://db1/"
    assert asked["tls"]
    assert asked["tlsAllowInvalidCertificates"]
    assert "port" not in asked


@pytest.mark.parametrize("mechanism", ["MONGODB-X509", "GSSAPI"])
def test_mechanisms_without_a_password_ask_for_none(asked: dict[str, Any], mechanism: str) -> None:
    connection.connect(params(login_user="CN=migrator", auth_mechanism=mechanism))

    assert asked["authSource"] == "$external"
    assert "password" not in asked


def test_x509_takes_its_user_from_the_certificate(asked: dict[str, Any]) -> None:
    connection.connect(
        params(ssl=True, ssl_certfile="/etc/client.pem", auth_mechanism="MONGODB-X509")
    )

    assert asked["authSource"] == "$external"
    assert asked["tlsCertificateKeyFile"] == "/etc/client.pem"
    assert "username" not in asked


def test_a_database_that_was_named_for_the_login_is_kept(asked: dict[str, Any]) -> None:
    connection.connect(
        params(login_user="u", login_password="p", auth_mechanism="PLAIN", login_database="ldap")
    )

    assert asked["authSource"] == "ldap"


@pytest.mark.parametrize("password", [None, ""])
def test_an_empty_vaulted_password_is_named_before_anything_connects(password: str | None) -> None:
    with pytest.raises(ConnectionFailedError, match="'migrator' needs login_password"):
        connection.connect(params(login_user="migrator", login_password=password))


def test_another_user_keeps_the_tls_options_and_nothing_else(asked: dict[str, Any]) -> None:
    ours = params(
        login_user="migrator",
        login_password="p",
        replica_set="rs0",
        ssl=True,
        ssl_ca_certs="/etc/ca.pem",
    )

    connection.connect_as(ours, "mongodb://app:q@db1/")

    assert asked["host"] == "mongodb://app:q@db1/"
    assert asked["tlsCAFile"] == "/etc/ca.pem"
    assert not {"username", "password", "replicaSet", "port"} & set(asked)


@pytest.mark.parametrize(
    "given",
    [
        {"ssl_cert_reqs": "CERT_NONE"},
        {"ssl_ca_certs": "/etc/ca.pem"},
        {"ssl_ca_certs": "/etc/ca.pem", "uri": "mongodb://db1/"},
    ],
)
def test_certificate_options_without_tls_are_an_error(given: dict[str, str]) -> None:
    with pytest.raises(ConnectionFailedError, match="asks for TLS, which is off"):
        connection.connect(params(**given))


@pytest.mark.parametrize("uri", ["mongodb://db1/?tls=true", "mongodb+srv://db1/"])
def test_a_uri_can_switch_tls_on(asked: dict[str, Any], uri: str) -> None:
    connection.connect(params(uri=uri, ssl_ca_certs="/etc/ca.pem"))

    assert asked["tlsCAFile"] == "/etc/ca.pem"


@pytest.mark.parametrize(
    ("option", "given", "ours"),
    [
        ("tlsInsecure=true", {}, "ssl_cert_reqs is CERT_REQUIRED"),
        ("tlsAllowInvalidCertificates=true", {}, "ssl_cert_reqs is CERT_REQUIRED"),
        ("TLSALLOWINVALIDHOSTNAMES=True", {}, "ssl_cert_reqs is CERT_REQUIRED"),
        ("tlsDisableOCSPEndpointCheck=true", {}, "ssl_cert_reqs is CERT_REQUIRED"),
        (
            "tlsAllowInvalidCertificates=false",
            {"ssl_cert_reqs": "CERT_NONE"},
            "ssl_cert_reqs is CERT_NONE",
        ),
        ("tlsCAFile=%2Ftmp%2Fmine.pem", {"ssl_ca_certs": "/etc/ca.pem"}, "ssl_ca_certs"),
        ("tlsCertificateKeyFile=a", {"ssl_certfile": "b"}, "ssl_certfile"),
        ("tlsCertificateKeyFilePassword=a", {"ssl_pem_passphrase": "b"}, "ssl_pem_passphrase"),
        ("tlsCRLFile=a", {"ssl_crlfile": "b"}, "ssl_crlfile"),
        ("tls=false", {"ssl": True}, "ssl is true"),
        ("ssl=false", {"ssl": True}, "ssl is true"),
        ("authMechanism=PLAIN", {"auth_mechanism": "SCRAM-SHA-256"}, "auth_mechanism"),
    ],
)
def test_a_uri_that_contradicts_the_inventory_is_refused_with_both_named(
    asked: dict[str, Any], option: str, given: dict[str, Any], ours: str
) -> None:
    uri = f"mongodb://db1/?{'' if option.startswith(('tls=', 'ssl=')) else 'tls=true&'}{option}"

    with pytest.raises(ConnectionFailedError, match="contradicts the inventory") as error:
        connection.connect(params(uri=uri, **given))

    assert option.partition("=")[0] in error.value.message
    assert ours in error.value.message
    assert "=a" not in error.value.message  # may be a password
    assert asked == {}


def test_a_uri_may_say_of_certificates_what_the_inventory_says(asked: dict[str, Any]) -> None:
    connection.connect(
        params(
            uri="mongodb://db1/?tls=true&tlsCAFile=%2Fetc%2Fca.pem&tlsInsecure=false",
            ssl_ca_certs="/etc/ca.pem",
            ssl=True,
        )
    )

    assert asked["tlsCAFile"] == "/etc/ca.pem"


def test_options_that_arent_ours_to_obey_are_named_and_what_says_the_same_is_not() -> None:
    warnings = connection.warnings(
        {
            "uri": "mongodb://u:secret@db1/x?w=majority&retryWrites=true&readPreference=nearest"
            "&replicaSet=rs0&wtimeoutMS=1&SocketTimeoutMS=5"
        }
    )

    [said] = warnings
    assert "readPreference=nearest, wtimeoutMS=1, SocketTimeoutMS=5" in said
    assert "retryWrites" not in said
    assert "replicaSet" not in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("mongodb://db1/?w=1", "mongodb://db1/"),
        ("mongodb://db1", "mongodb://db1"),
        ("mongodb://db1/?replicaSet=a;w=1;tls=true", "mongodb://db1/?replicaSet=a;tls=true"),
        ("mongodb://u:p@a,b/db?authSource=admin&", "mongodb://u:p@a,b/db?authSource=admin"),
    ],
)
def test_the_driver_gets_a_uri_with_the_obeyed_options_alone(
    asked: dict[str, Any], given: str, driver: str
) -> None:
    connection.connect(params(uri=given))

    assert asked["host"] == driver


def test_a_missing_certificate_file_is_named() -> None:
    with pytest.raises(ConnectionFailedError, match=r"/nowhere/ca\.pem"):
        connection.connect(params(ssl=True, ssl_ca_certs="/nowhere/ca.pem"))


def test_a_refused_operation_is_explained_without_the_command() -> None:
    error = OperationFailure(
        'not authorized on bizzai to execute command { insert: "items", documents: [ 1 ] }', 13
    )

    said = connection.explain(error)

    assert said.startswith("MongoDB refused: not authorized on bizzai. ")
    assert "insert" not in said
    assert "Grant" in said


def test_another_failure_is_explained_with_its_code() -> None:
    details = {"ok": 0, "code": 26, "codeName": "NamespaceNotFound", "lsid": "noise"}
    error = OperationFailure("ns not found, full error: {'lsid': 'noise'}", 26, details)

    assert connection.explain(error) == "MongoDB failed (26 NamespaceNotFound): ns not found."


def test_a_lost_server_is_explained_in_one_line() -> None:
    error = ServerSelectionTimeoutError("db1:27017: refused, Timeout: 30s, Topology Description: …")

    assert connection.explain(error) == "MongoDB failed: db1:27017: refused."


def test_the_real_client_is_what_the_driver_makes() -> None:
    # The fixture above replaces it: this fails if the name that is replaced goes away.
    assert connection.MongoClient is MongoClient
