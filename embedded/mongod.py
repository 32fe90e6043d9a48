"""Real MongoDB servers on loopback ports, as daemons that outlive the process that starts them.

    python -m embedded.mongod start|stop|status --folder .sandbox

The folder holds everything: data, logs, state.json (process ids and ports) and the secrets.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from . import binary, certificates, users
from .files import private_folder, read_json, write_json, write_private
from .processes import LOOPBACK, Process, ProcessError, free_ports, wait_until

Client = MongoClient[dict[str, Any]]

DATABASE = "bizzai"  # the application's database where nothing else is said
CACHE_GB = 0.5  # the server's default takes half of the machine
ELECTION_MS = 2000  # the default of 10 s only makes tests wait

_ALREADY_INITIALIZED = 23
_UNAUTHORIZED = 13


class Mongod:
    """One mongod process and its folder."""

    def __init__(
        self,
        folder: Path,
        port: int,
        options: Sequence[str],
        process: Process | None,
        host: str = LOOPBACK,
    ):
        self.folder = folder
        self.port = port
        self.options = list(options)
        self.process = process
        self.host = host
        # What runs the binary, for a server that lives in a network of its own.
        self.launcher: list[str] = []

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs (a paused one does)."""
        return self.process is not None and self.process.alive

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "mongod.log"

    def start(self) -> None:
        """Start the process; return when it accepts connections."""
        if self.alive:
            return
        data = private_folder(self.folder / "data")
        pid_file = self.folder / "mongod.pid"
        command = [
            *self.launcher,
            str(binary.find()),
            "--fork",  # returns once the server listens, and makes it a daemon of its own session
            *("--bind_ip", self.host, "--port", str(self.port), "--nounixsocket"),
            *("--dbpath", str(data), "--logpath", str(self.log), "--logappend"),
            *("--pidfilepath", str(pid_file)),
            # Nobody analyses the diagnostics of a sandbox, and they cost a thread and disk.
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *self.options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessError(
                f"mongod didn't start on port {self.port} (exit {done.returncode}). Its log: "
                f"{self.log}\n{_last_lines(self.log) or done.stdout + done.stderr}"
            )
        self.process = Process.of(int(pid_file.read_text()))
        if self.process is None:
            raise ProcessError(f"mongod ended at once. Its log: {self.log}")

    def stop(self) -> None:
        """End the process cleanly."""
        if self.process is not None:
            self.process.stop()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        if self.process is not None:
            self.process.send(number)


class Deployment:
    """Servers in a folder, their users and how to reach them.

    Args:
        folder: where everything is kept; what runs there already is used again.
        auth: ask for passwords.
        ports: one for each member; None takes free ones at the first start.
        cache_gb: WiredTiger's cache.
        database: the application's database, on which `migrator` and `app` get their roles.
        parameters: further `--setParameter name=value` of the server.
        tls: speak TLS only, with certificates that are made in the folder.
        arguments: further ones of the server.
        addresses: one for each member, where they aren't all on the loopback address.
    """

    set_name: str | None = None

    def __init__(
        self,
        folder: Path | str,
        members: int = 1,
        auth: bool = True,
        *,
        ports: Sequence[int] | None = None,
        cache_gb: float = CACHE_GB,
        database: str = DATABASE,
        parameters: Sequence[str] = (),
        tls: bool = False,
        addresses: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ):
        self.folder = private_folder(Path(folder).absolute())
        self._state_file = self.folder / "state.json"
        recorded = read_json(self._state_file) or {}
        self.auth = bool(recorded.get("auth", auth))
        self.database = str(recorded.get("database", database))
        self.tls = bool(recorded.get("tls", tls))
        known = recorded.get("members") or [
            {"port": port, "host": host}
            for port, host in zip(
                ports or free_ports(members), addresses or [LOOPBACK] * members, strict=True
            )
        ]
        if len(known) != members:
            raise ProcessError(
                f"{self.folder} holds {len(known)} members, not {members}. Stop them and delete "
                "the folder first."
            )
        if self.tls:
            certificates.make(
                self._tls_folder, [*{member.get("host", LOOPBACK) for member in known}, "localhost"]
            )
        self._options = [
            *("--wiredTigerCacheSizeGB", str(recorded.get("cache_gb", cache_gb))),
            *(part for name in parameters for part in ("--setParameter", name)),
            *arguments,
            *self._more_options(),
        ]
        self._cache_gb = recorded.get("cache_gb", cache_gb)
        self.members = [
            Mongod(
                private_folder(self.folder / f"member{number}"),
                member["port"],
                self._options,
                Process.load(member.get("process")),
                member.get("host", LOOPBACK),
            )
            for number, member in enumerate(known)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Life and death

    def start(self) -> Self:
        """Start what doesn't run yet; return when a primary takes writes and the users exist."""
        for member in self.members:
            member.start()
            self._save()
        self._prepare()
        return self

    def stop(self) -> None:
        """End all members cleanly."""
        for member in self.members:
            member.stop()
        self._save()

    def kill(self, member: int = 0, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a member, without any warning to the others."""
        self.members[member].send(number)

    def pause(self, member: int = 0) -> None:
        """Freeze a member: it keeps its connections and answers nothing."""
        self.kill(member, signal.SIGSTOP)

    def resume(self, member: int = 0) -> None:
        """Let a frozen member go on."""
        self.kill(member, signal.SIGCONT)

    def restart(self, member: int = 0) -> None:
        """Start a member that was killed, after waiting for its end."""
        process = self.members[member].process
        if process is not None:
            wait_until(lambda: not process.alive, 10)
        self.members[member].start()
        self._save()

    @property
    def alive(self) -> bool:
        """Whether all members run."""
        return all(member.alive for member in self.members)

    # How to reach it

    @property
    def ports(self) -> list[int]:
        """The members' ports, in their order."""
        return [member.port for member in self.members]

    @property
    def hosts(self) -> str:
        """The members' addresses as in a URI."""
        return ",".join(member.address for member in self.members)

    @property
    def passwords(self) -> dict[str, str]:
        """The users' passwords: random, made once for each folder."""
        file = self.folder / "secrets.json"
        known: dict[str, str] | None = read_json(file)
        if known is None:
            known = {name: secrets.token_urlsafe(24) for name in users.NAMES}
            write_json(file, known)
        return known

    def uri(
        self, user: str | None = users.ADMIN, password: str | None = None, database: str = ""
    ) -> str:
        """Return the URI of a user of ours, or of any other with its password."""
        login, options = "", []
        if self.auth and user:
            login = f"{user}:{password or self.passwords[user]}@"
            options.append("authSource=admin")
        if self.set_name:
            options.append(f"replicaSet={self.set_name}")
        else:
            options.append("directConnection=true")
        if self.tls:
            options += ["tls=true", f"tlsCAFile={quote(str(self.ca_file), safe='')}"]
        return f"mongodb://{login}{self.hosts}/{database}?{'&'.join(options)}"

    def client(self, user: str | None = users.ADMIN, **options: Any) -> Client:
        """Return a new client; close it after use."""
        return MongoClient(
            self.uri(user), **{"serverSelectionTimeoutMS": 20000, "tz_aware": True, **options}
        )

    @contextlib.contextmanager
    def direct(self, member: int = 0, user: str | None = None) -> Iterator[Client]:
        """Give a client of one member, whatever its state; without user nobody is logged in."""
        login: dict[str, Any] = {}
        if user:
            login = {"username": user, "password": self.passwords[user]}
        with MongoClient[dict[str, Any]](
            self.members[member].host,
            self.members[member].port,
            directConnection=True,
            serverSelectionTimeoutMS=20000,
            **self._client_options,
            **login,
        ) as client:
            yield client

    @property
    def ca_file(self) -> Path:
        """The certificate that clients trust."""
        return self._tls_folder / certificates.CA

    # For subclasses

    @property
    def _tls_folder(self) -> Path:
        return self.folder / "tls"

    @property
    def _client_options(self) -> dict[str, Any]:
        return {"tls": True, "tlsCAFile": str(self.ca_file)} if self.tls else {}

    def _more_options(self) -> list[str]:
        return [*(["--auth"] if self.auth else []), *self._tls_options()]

    def _tls_options(self) -> list[str]:
        if not self.tls:
            return []
        return [
            *("--tlsMode", "requireTLS"),
            *("--tlsCertificateKeyFile", self._seen(self._tls_folder / certificates.SERVER)),
            *("--tlsCAFile", self._seen(self.ca_file)),
            # Users log in with passwords; the certificate is the server's alone.
            "--tlsAllowConnectionsWithoutCertificates",
        ]

    def _seen(self, path: Path) -> str:
        """Return a secret's path as the server sees it."""
        return str(path)

    def _prepare(self) -> None:
        """Make a started server usable."""
        self._create_users()

    def _create_users(self) -> None:
        if not self.auth or self._users_exist():
            return
        with self._first_login(self._writable_member()) as nobody:
            users.create_admin(nobody, self.passwords[users.ADMIN])
        with self.client() as admin:
            users.create_others(admin, self.passwords, self.database)

    def _first_login(self, member: int) -> contextlib.AbstractContextManager[Client]:
        """Give the client that makes the first user: anybody on the same host may."""
        return self.direct(member)

    def _writable_member(self) -> int:
        return 0

    def _users_exist(self) -> bool:
        try:
            with self.client(users.APP, serverSelectionTimeoutMS=5000) as client:
                client.admin.command("ping")
        except OperationFailure:
            return False
        return True

    def _save(self) -> None:
        write_json(
            self._state_file,
            {
                "set_name": self.set_name,
                "auth": self.auth,
                "database": self.database,
                "cache_gb": self._cache_gb,
                "tls": self.tls,
                "members": [
                    {
                        "port": member.port,
                        "host": member.host,
                        "process": member.process and member.process.as_dict(),
                        "log": str(member.log),
                    }
                    for member in self.members
                ],
            },
        )


class Standalone(Deployment):
    """A single server that is not a replica set: no transactions, no write block, no snapshots."""


class ReplicaSet(Deployment):
    """A replica set of one or several members."""

    set_name = "rs0"

    @property
    def primary(self) -> int | None:
        """The number of the member that is primary now, None during an election."""
        for number, member in enumerate(self.members):
            if member.alive and self._hello(number).get("isWritablePrimary"):
                return number
        return None

    def revive(self) -> None:
        """Start the members again that were killed."""
        for number, member in enumerate(self.members):
            if not member.alive:
                self.restart(number)

    def wait_for_primary(self, seconds: float = 60.0) -> int:
        """Return the number of the primary as soon as there is one."""
        if not wait_until(lambda: self.primary is not None, seconds, 0.1):
            raise ProcessError(f"No primary within {seconds:g} s. Logs: {self.folder}/member*/")
        return self._writable_member()

    def wait_for_secondaries(self, seconds: float = 60.0) -> None:
        """Return when every member that runs is primary or secondary."""

        def settled() -> bool:
            states = [self._hello(n) for n, member in enumerate(self.members) if member.alive]
            good = ("isWritablePrimary", "secondary", "arbiterOnly")
            return all(any(state.get(key) for key in good) for state in states)

        if not wait_until(settled, seconds, 0.1):
            raise ProcessError(f"Members didn't catch up. Logs: {self.folder}/member*/")

    def reconfigure(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Let *change* work on the set's configuration, and give it to the set."""
        with self.client() as admin:
            configuration = admin.admin.command("replSetGetConfig")["config"]
            change(configuration)
            configuration["version"] += 1
            admin.admin.command("replSetReconfig", configuration)

    def _role(self, number: int) -> dict[str, Any]:
        """Return what is particular about a member, such as `{"arbiterOnly": True}`."""
        del number
        return {}

    def _more_options(self) -> list[str]:
        options = [
            *("--replSet", str(self.set_name)),
            *("--oplogSize", "1024"),  # MB; the default is a share of the disk
            # Waiting for clients to leave makes sense in production only.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
        ]
        if self.auth:
            options += ["--keyFile", self._seen(self._key_file())]
        return [*options, *self._tls_options()]

    def _key_file(self) -> Path:
        path = self.folder / "keyfile"
        if not path.exists():
            write_private(path, secrets.token_hex(128) + "\n")
        return path

    def _prepare(self) -> None:
        configuration = {
            "_id": self.set_name,
            "members": [
                {"_id": n, "host": member.address, **self._role(n)}
                for n, member in enumerate(self.members)
            ],
            "settings": {"electionTimeoutMillis": ELECTION_MS, "heartbeatIntervalMillis": 500},
        }
        with self._first_login(0) as nobody:
            try:
                nobody.admin.command("replSetInitiate", configuration)
            except OperationFailure as error:
                # Once there are users, a stranger isn't even told that the set exists.
                if error.code not in (_ALREADY_INITIALIZED, _UNAUTHORIZED):
                    raise
        self.wait_for_primary()
        self._create_users()
        self.wait_for_secondaries()

    def _writable_member(self) -> int:
        return self.primary or 0

    def _first_login(self, member: int) -> contextlib.AbstractContextManager[Client]:
        # The rule for the first user is one for clients on the same host. The key file is the
        # password of the user that the members log in as, from anywhere.
        if not self.auth or self.members[member].host == LOOPBACK:
            return super()._first_login(member)
        return MongoClient(
            self.members[member].host,
            self.members[member].port,
            directConnection=True,
            serverSelectionTimeoutMS=20000,
            username="__system",
            password="".join(self._key_file().read_text().split()),
            authSource="local",
            authMechanism="SCRAM-SHA-256",
            **self._client_options,
        )

    def _hello(self, member: int) -> dict[str, Any]:
        try:
            with MongoClient[dict[str, Any]](
                self.members[member].host,
                self.members[member].port,
                directConnection=True,
                serverSelectionTimeoutMS=500,
                socketTimeoutMS=1000,
                **self._client_options,
            ) as client:
                return client.admin.command("hello")
        except PyMongoError:
            return {}


def open_folder(folder: Path | str) -> Deployment:
    """Return the deployment that a folder holds.

    Raises:
        ProcessError: it holds none.
    """
    state = read_json(Path(folder) / "state.json")
    if state is None:
        raise ProcessError(f"No MongoDB was started in {folder}.")
    kind = ReplicaSet if state["set_name"] else Standalone
    return kind(folder, len(state["members"]), state["auth"])


def _last_lines(log: Path, count: int = 5) -> str:
    return "\n".join(log.read_text().splitlines()[-count:]) if log.exists() else ""


def _status(deployment: Deployment) -> None:
    for number, member in enumerate(deployment.members):
        state = "running" if member.alive else "stopped"
        print(f"member {number}  {member.address}  {state}  log {member.log}")
    print(f"URI without login: {deployment.uri(None)}")
    print(f"passwords (users {', '.join(users.NAMES)}): {deployment.folder / 'secrets.json'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, stop or show the servers of a folder."""
    parser = argparse.ArgumentParser(prog="python -m embedded.mongod", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status"])
    parser.add_argument("--folder", type=Path, default=Path(".sandbox/mongodb"))
    parser.add_argument("--members", type=int, default=1, help="at the first start")
    parser.add_argument("--standalone", action="store_true", help="no replica set")
    parser.add_argument("--no-auth", action="store_true", help="ask for no passwords")
    options = parser.parse_args(arguments)
    try:
        if (options.folder / "state.json").exists() or options.action != "start":
            deployment = open_folder(options.folder)
        else:
            kind = Standalone if options.standalone else ReplicaSet
            deployment = kind(options.folder, options.members, not options.no_auth)
        if options.action == "start":
            deployment.start()
        elif options.action == "stop":
            deployment.stop()
        _status(deployment)
    except (ProcessError, binary.MongodMissingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if options.action != "status" or deployment.alive else 3


if __name__ == "__main__":
    sys.exit(main())
