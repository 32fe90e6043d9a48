"""How a client is made from options, and what kind of server it found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import shorten
from typing import Any
from urllib.parse import unquote_plus

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from ..errors import Collector, ConnectionFailedError
from ..support import majority, mongodb_uri
from ..support import secrets as secrets_in_text

OLDEST_SERVER = (4, 4)
# By which the server's operations of ours are known.
APP_NAME = "migration-playbooks"
# Connections that nobody used for so long are closed: one to a member that was just starting
# believes for good that there are no sessions. Less than the longest time between two attempts.
IDLE_MS = 2000
UNAUTHORIZED = 13
NO_PLAN = 291
WITHOUT_TABLESCAN = (
    "The server's parameter notablescan is on, and a migration has to look at every document. Turn "
    "it off on each member for that time: db.adminCommand({setParameter: 1, notablescan: false})"
)
AUTHENTICATION_FAILED = 18

# Their users are no users of a database, and X.509 and Kerberos users have no password.
_EXTERNAL = ("MONGODB-X509", "GSSAPI", "PLAIN")
_WITHOUT_PASSWORD = ("MONGODB-X509", "GSSAPI")

_TLS_OPTIONS = {
    "ssl_ca_certs": "tlsCAFile",
    "ssl_certfile": "tlsCertificateKeyFile",
    "ssl_pem_passphrase": "tlsCertificateKeyFilePassword",
    "ssl_crlfile": "tlsCRLFile",
}
_TLS_IN_URI = re.compile(r"^mongodb\+srv:|[?&](?:tls|ssl)=true", re.IGNORECASE)

_DATABASE_NAME = re.compile(r'[^/\\. "$*<>:|?\x00]{1,63}')


@dataclass(frozen=True, kw_only=True)
class Server:
    """What kind of deployment answered."""

    version: str
    topology: str  # standalone | replica_set | sharded
    set_name: str | None
    primary: str | None
    members: tuple[str, ...]

    @property
    def transactions(self) -> bool:
        """Whether one transaction per batch is possible."""
        return self.topology != "standalone"

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return {**asdict(self), "members": list(self.members), "transactions": self.transactions}


def secrets(params: Mapping[str, Any]) -> set[str]:
    """Return every secret among the options, also those within a URI, in each spelling."""
    found = {params.get("login_password"), params.get("ssl_pem_passphrase")}
    for key in ("uri", "probe_uri", "rehearsal_uri"):
        found |= set(mongodb_uri.secrets(params.get(key) or ""))
    # A short one, too: it is known to be a secret, and no part of one.
    plain = {unquote_plus(secret) for secret in found if secret}
    return secrets_in_text.substrings({secret for secret in found if secret} | plain) | plain


def connect(params: Mapping[str, Any]) -> MongoClient[dict[str, Any]]:
    """Return a client that has reached a server and logged in.

    What correctness needs is set here, whatever a URI says (:func:`warnings` tells what it said):
    reads come from the primary, writes wait for a majority, for a bounded time.

    Args:
        params: values for :data:`argument_specs.CONNECTION_OPTIONS`.

    Raises:
        ConnectionFailedError: unreachable, refused, or the options are wrong or contradict.
    """
    check_database_name(params["database"])
    where = _where(params)
    _refuse_contradictions(params)
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(**_driver_options(params))
    except (PyMongoError, ValueError, OSError) as error:
        # The driver quotes what it stumbled over, and in a malformed URI that may be a password.
        reason = (
            _reason(error)
            if not params.get("uri") or mongodb_uri.is_well_formed(params["uri"])
            else (
                "the uri is malformed. It must look like mongodb://user:password@host:27017/, with "
                "each of : / ? # [ ] @ % in user and password escaped (urlencode)"
            )
        )
        raise ConnectionFailedError(
            f"The connection options for {where} are wrong: {reason}.", where=where
        ) from error
    try:
        client.admin.command("ping")
        _refuse_other_than_primary(client, params)
    except PyMongoError as error:
        client.close()
        raise ConnectionFailedError(_explain_failed_login(error, params), where=where) from error
    except ConnectionFailedError:
        client.close()
        raise
    return client


def warnings(params: Mapping[str, Any]) -> list[str]:
    """Return which options of the ``uri`` aren't obeyed, in sentences, and what could be missed."""
    uri = params.get("uri") or ""
    found = []
    if ignored := mongodb_uri.overridden(uri):
        found.append(
            f"The uri asks for {', '.join(map(str, ignored))}, which is not obeyed: a migration "
            "reads from the primary, writes to a majority, and sets its own time-outs. Take it out "
            "of the uri to silence this."
        )
    if _is_direct(params):
        found.append(
            "The uri has directConnection=true, so that a failover can't be followed: the run "
            "would stop there. Take it out, and name the members of the replica set."
        )
    return found


def connect_as(params: Mapping[str, Any], uri: str) -> MongoClient[dict[str, Any]]:
    """Return a client of another user: that of *uri*, with the TLS options of *params*.

    Raises:
        ConnectionFailedError: as :func:`connect`.
    """
    ours = ("login_user", "login_password", "replica_set", "auth_mechanism")
    return connect({**params, **dict.fromkeys(ours), "uri": uri})


def check_database_name(name: str) -> None:
    """Raise an error if no database can have this *name*.

    Raises:
        ConnectionFailedError: the name is empty, too long or has a forbidden character.
    """
    if not _DATABASE_NAME.fullmatch(name):
        raise ConnectionFailedError(
            f"'{name}' can't be the name of a database: use 1 to 63 characters without spaces and "
            'without / \\ . " $ * < > : | ?'
        )


def explain(error: PyMongoError) -> str:
    """Return one sentence on an error that the server answered to something we did."""
    code = getattr(error, "code", None)
    if code == UNAUTHORIZED:
        return (
            f"MongoDB refused: {_reason(error)}. Grant this inventory's database user what "
            "docs/privileges.md lists."
        )
    if majority.is_missing(error):
        return (
            "A majority of the replica set's members hasn't confirmed the last write within "
            f"{majority.WAIT_SECONDS} s; it may stand, or be taken back by a failover. Bring the "
            "members that are down back (rs.status() shows them), then run the same command again."
        )
    if code == NO_PLAN and "notablescan" in str(error):
        return f"MongoDB refused a search without an index. {WITHOUT_TABLESCAN}"
    details = getattr(error, "details", None) or {}
    name = f" ({code} {details.get('codeName', '')})".replace(" )", ")") if code else ""
    return f"MongoDB failed{name}: {_reason(error)}."


def inspect(client: MongoClient[dict[str, Any]]) -> Server:
    """Return what kind of deployment *client* reached.

    Raises:
        ConnectionFailedError: the server is older than the engine can work with.
    """
    hello = client.admin.command("hello")
    build = client.admin.command("buildInfo")
    if tuple(build["versionArray"][:2]) < OLDEST_SERVER:
        raise ConnectionFailedError(
            f"MongoDB {build['version']} is too old: the engine needs "
            f"{'.'.join(map(str, OLDEST_SERVER))} or later."
        )
    if hello.get("msg") == "isdbgrid":
        topology = "sharded"
    elif hello.get("setName"):
        topology = "replica_set"
    else:
        topology = "standalone"
    return Server(
        version=build["version"],
        topology=topology,
        set_name=hello.get("setName"),
        primary=hello.get("primary"),
        members=tuple(hello.get("hosts", ())),
    )


def _driver_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Translate our options into those of the driver."""
    timeout_ms = int(params.get("connection_timeout", 10.0) * 1000)
    options: dict[str, Any] = {
        "host": mongodb_uri.obeyed(params.get("uri") or "") or params["login_host"],
        "serverSelectionTimeoutMS": timeout_ms,
        "connectTimeoutMS": timeout_ms,
        "appname": APP_NAME,
        "retryWrites": True,
        "retryReads": True,
        "readPreference": "primary",
        # What decides about a run is confirmed by a write that a majority acknowledges.
        "readConcernLevel": "local",
        "w": "majority",
        "wtimeoutMS": majority.WAIT_SECONDS * 1000,
        "uuidRepresentation": "unspecified",
        "maxIdleTimeMS": IDLE_MS,
        "document_class": dict,
        "tz_aware": True,
        # A date beyond the year 9999 is nothing that Python knows, but data can hold one.
        "datetime_conversion": "DATETIME_AUTO",
        **_tls(params),
    }
    if params.get("auth_mechanism"):
        options["authMechanism"] = params["auth_mechanism"]
    if not params.get("uri"):
        options["port"] = params["login_port"]
        if params.get("replica_set"):
            options["replicaSet"] = params["replica_set"]
        options |= _login(params)
    return options


def _login(params: Mapping[str, Any]) -> dict[str, Any]:
    mechanism = params.get("auth_mechanism")
    source = params["login_database"]
    if mechanism in _EXTERNAL and source == "admin":
        source = "$external"
    login: dict[str, Any] = {}
    if params.get("login_user"):
        login["username"] = params["login_user"]
        if params.get("login_password"):
            login["password"] = params["login_password"]
        elif mechanism not in _WITHOUT_PASSWORD:
            raise ConnectionFailedError(
                f"login_user '{params['login_user']}' needs login_password, which is empty. "
                "Check the vaulted secrets of this inventory."
            )
    if login or mechanism:
        login["authSource"] = source
    return login


def _tls(params: Mapping[str, Any]) -> dict[str, Any]:
    tls: dict[str, Any] = {"tls": True} if params.get("ssl") else {}
    given = {ours: theirs for ours, theirs in _TLS_OPTIONS.items() if params.get(ours)}
    tls |= {theirs: params[ours] for ours, theirs in given.items()}
    if _checks_nothing(params):
        given["ssl_cert_reqs"] = "tlsAllowInvalidCertificates"
        tls["tlsAllowInvalidCertificates"] = True
    if given and not params.get("ssl") and not _TLS_IN_URI.search(params.get("uri") or ""):
        # The driver would ignore them, and send the password in the clear.
        raise ConnectionFailedError(
            f"{', '.join(given)} asks for TLS, which is off. Set ssl: true, or leave it out."
        )
    return tls


def _checks_nothing(params: Mapping[str, Any]) -> bool:
    return bool((params.get("ssl_cert_reqs") or "CERT_REQUIRED") != "CERT_REQUIRED")


def _refuse_contradictions(params: Mapping[str, Any]) -> None:
    """Refuse a URI that would be more careless, or another, than what the inventory says.

    Raises:
        ConnectionFailedError: with every option of the URI that contradicts one of ours.
    """
    written = mongodb_uri.options(params.get("uri") or "")
    found = Collector(ConnectionFailedError)
    # The uri's way to switch a check off, or to insist on it, against ours.
    wanted = "false" if _checks_nothing(params) else "true"
    for name in mongodb_uri.CERTIFICATE_CHECKS:
        option = written.get(name.lower())
        if option is not None and option.value.lower() == wanted:
            reqs = params.get("ssl_cert_reqs") or "CERT_REQUIRED"
            found.add(f"{option} in the uri, but ssl_cert_reqs is {reqs}")
    for ours, theirs in {**_TLS_OPTIONS, "auth_mechanism": "authMechanism"}.items():
        option = written.get(theirs.lower())
        if option is not None and params.get(ours) and option.value != params[ours]:
            found.add(f"{option.name} in the uri, but {ours} is another one")
    for name in ("tls", "ssl"):
        option = written.get(name)
        if option is not None and option.value.lower() == "false" and params.get("ssl"):
            found.add(f"{option} in the uri, but ssl is true")
    found.raise_if_any(
        "The uri contradicts the inventory. Say it in one place: take these out of the uri, or "
        "change the inventory's setting (mongo_ssl_cert_reqs: CERT_NONE checks no certificate)."
    )


def _is_direct(params: Mapping[str, Any]) -> bool:
    option = mongodb_uri.options(params.get("uri") or "").get("directconnection")
    return option is not None and option.value.lower() == "true"


def _refuse_other_than_primary(
    client: MongoClient[dict[str, Any]], params: Mapping[str, Any]
) -> None:
    """Refuse a direct connection to a member that can't be written to; it may lag, too.

    Raises:
        ConnectionFailedError: it is one.
    """
    if not _is_direct(params):
        return  # the driver finds the primary, or says that there is none
    hello = client.admin.command("hello")
    if hello.get("isWritablePrimary"):
        return
    kind = "a secondary" if hello.get("secondary") else "not the primary"
    primary = hello.get("primary")
    raise ConnectionFailedError(
        f"The uri has directConnection=true and reaches {_where(params)}, which is {kind} of "
        f"replica set {hello.get('setName') or 'without a name'}: it can't be migrated there, and "
        f"may be behind. Take directConnection out of the uri, so that the primary is found, or "
        f"name the primary{f' ({primary})' if primary else ''}.",
        where=_where(params),
        primary=primary,
    )


def _explain_failed_login(error: PyMongoError, params: Mapping[str, Any]) -> str:
    where = _where(params)
    if isinstance(error, ServerSelectionTimeoutError):
        return (
            f"No usable MongoDB at {where} within {params.get('connection_timeout', 10.0):g} s: "
            f"{_reason(error)}. Check the address, the network and that a primary exists."
        )
    if isinstance(error, OperationFailure) and error.code == AUTHENTICATION_FAILED:
        return (
            f"MongoDB at {where} refused the login of '{_user(params)}': wrong user, password or "
            "authentication database. Check the vaulted secrets of this inventory."
        )
    return f"MongoDB at {where}: {_reason(error)}."


def _where(params: Mapping[str, Any]) -> str:
    """Return the address without any secret."""
    if not params.get("uri"):
        return f"{params['login_host']}:{params['login_port']}"
    return mongodb_uri.hosts(params["uri"])


def _user(params: Mapping[str, Any]) -> str:
    if params.get("login_user"):
        return str(params["login_user"])
    return mongodb_uri.user(params.get("uri") or "")


def _reason(error: Exception) -> str:
    """Return the driver's reason in one line, without its dump of topology, command or reply."""
    text = str(error)
    for noise in (", Timeout:", ", full error:", " (configured timeouts:", " to execute command"):
        text = text.partition(noise)[0]
    return shorten(text, 300, placeholder=" …").rstrip(".")
