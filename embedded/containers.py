"""A replica set whose members are containers, on a network and with addresses of their own."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
from pathlib import Path

from .engines import Engine
from .mongod import Mongod, ReplicaSet
from .processes import ProcessError, wait_until

PORT = 27017
_SUBNET = "10.{}.{}.0/24"
_GIVEN = "/given"  # what the host gives, read only
_OWN = "/tmp/secrets"  # a copy that only mongod can read, which it insists on


class Container(Mongod):
    """One member in a container."""

    def __init__(self, engine: Engine, name: str, folder: Path, host: str, command: list[str]):
        super().__init__(folder, PORT, [], None, host)
        self.engine = engine
        self.name = name
        self._command = command

    @property
    def alive(self) -> bool:
        """Whether the container runs (a paused one does)."""
        return self._state() in ("running", "paused")

    def start(self) -> None:
        """Make or start the container; return when it accepts connections."""
        if self.alive:
            return
        if self._state():
            self.engine.run("start", self.name)
        else:
            self.engine.run("run", "--detach", "--name", self.name, *self._command)
        if not wait_until(lambda: self._listens() or not self.alive, 60, 0.2) or not self.alive:
            raise ProcessError(
                f"{self.name} doesn't answer at {self.address}. Look at: "
                f"{self.engine.name} logs {self.name}"
            )

    def stop(self) -> None:
        """Remove the container and its data."""
        if self._state() == "paused":
            self.engine.run("unpause", self.name)
        if self._state():
            self.engine.run("rm", "--force", "--volumes", self.name)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the container; stopping and going on freeze all of it."""
        if number == signal.SIGSTOP:
            self.engine.run("pause", self.name)
        elif number == signal.SIGCONT:
            if self._state() == "paused":
                self.engine.run("unpause", self.name)
        else:
            self.engine.run("kill", "--signal", number.name, self.name)

    def _state(self) -> str:
        done = self.engine.attempt(
            "container", "inspect", "--format", "{{.State.Status}}", self.name
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class ContainerReplicaSet(ReplicaSet):
    """A replica set of containers, with key file and TLS as its arguments say.

    Args:
        folder: for secrets, certificates and state.
        members: how many.
        auth: ask for passwords.
        engine: what runs them.
        image: of the members, with mongod on its path and a shell.
        tls: speak TLS only.
    """

    def __init__(
        self,
        folder: Path | str,
        members: int = 1,
        auth: bool = True,
        *,
        engine: Engine,
        image: str,
        tls: bool = False,
    ):
        place = str(Path(folder).absolute())
        self.engine = engine
        self.image = image
        self.network = f"migration-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        subnet = self._make_network()
        prefix = subnet.rpartition(".")[0]
        super().__init__(
            folder,
            members,
            auth,
            ports=[PORT] * members,
            addresses=[f"{prefix}.{11 + number}" for number in range(members)],
            tls=tls,
        )
        self._give_secrets()
        self.members = [
            Container(engine, f"{self.network}-{n}", member.folder, member.host, self._run(member))
            for n, member in enumerate(self.members)
        ]

    def stop(self) -> None:
        """Remove everything."""
        super().stop()
        self.engine.attempt("network", "rm", self.network)

    def cut(self, member: int) -> None:
        """Take a member off the network, from everybody."""
        self.engine.run("network", "disconnect", self.network, self._name(member))

    def join(self, member: int) -> None:
        """Put a member back on the network, at its address."""
        host = self.members[member].host
        self.engine.run("network", "connect", "--ip", host, self.network, self._name(member))

    def _seen(self, path: Path) -> str:
        return f"{_OWN}/{path.name}"

    def _name(self, member: int) -> str:
        return f"{self.network}-{member}"

    def _make_network(self) -> str:
        shown = self.engine.attempt("network", "inspect", self.network)
        if shown.returncode == 0:
            found = re.search(r"10\.\d+\.\d+\.0/24", json.dumps(json.loads(shown.stdout)))
            if found is None:
                raise ProcessError(f"The network {self.network} has no subnet of ours.")
            return found[0]
        said = ""
        # A subnet that nobody on this machine has; the name gives the first to try.
        start = int(self.network.rpartition("-")[2][:4], 16)
        for attempt in range(20):
            second, third = divmod((start + attempt * 257) % 0xFFFF, 256)
            subnet = _SUBNET.format(128 + second % 100, third)
            made = self.engine.attempt("network", "create", "--subnet", subnet, self.network)
            if made.returncode == 0:
                return subnet
            said = made.stderr.strip()
        raise ProcessError(f"{self.engine.name} can't make a network: {said}")

    def _give_secrets(self) -> None:
        """Put what mongod needs into a folder that containers can read.

        The folder above it is private; inside, a user of the container who is nobody here reads.
        """
        given = self.folder / "given"
        given.mkdir(exist_ok=True)
        given.chmod(0o755)
        wanted = [self._key_file()] if self.auth else []
        wanted += sorted(self._tls_folder.glob("*.pem")) if self.tls else []
        for path in wanted:
            copy = given / path.name
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o644)

    def _run(self, member: Mongod) -> list[str]:
        script = (
            f"umask 077; mkdir -p {_OWN} && cp {_GIVEN}/* {_OWN}/ 2>/dev/null; "
            'exec mongod --bind_ip "$0" --dbpath /data/db '
            '--setParameter diagnosticDataCollectionEnabled=false "$@"'
        )
        return [
            *("--network", self.network, "--ip", member.host),
            *("--volume", f"{self.folder / 'given'}:{_GIVEN}:ro"),
            *("--user", "999:999", "--entrypoint", "sh", self.image),
            *("-c", script, f"{member.host},127.0.0.1", "--port", str(PORT), *self._options),
        ]
