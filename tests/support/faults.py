"""Faults of servers, network, disk and clock, and writers that notice what is lost by them."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from embedded.processes import wait_until
from tests.support.namespaces import NamespacedReplicaSet

# More than the servers accept, see the fixture that starts them.
MAX_CONNECTIONS = 120
_LIBRARIES = Path("/usr/lib")
_FAKETIME = "*/faketime/libfaketime.so.1"
HOURS = 7


class Fault:
    """Something that goes wrong, and is repaired after a while.

    Args:
        servers: to whom it happens.
        folder: of this test.
    """

    # What the engine's process has in its environment; the fault of its clock needs something.
    environment: Mapping[str, str] = {}

    def __init__(self, servers: NamespacedReplicaSet, folder: Path):
        self.servers = servers
        self.folder = folder
        self.member = 0
        self.notes: dict[str, Any] = {}

    def strike(self) -> None:
        """Let it go wrong."""
        self.member = self.servers.wait_for_primary()
        self._strike()

    def repair(self, release: Callable[[], None] = lambda: None) -> None:
        """Make it good again, and *release* what is held; return when all members are well."""
        self._repair()
        release()
        self.servers.wait_for_primary()
        self.servers.wait_for_secondaries()

    def _strike(self) -> None:
        raise NotImplementedError

    def _repair(self) -> None:
        """By itself."""


class Pause(Fault):
    """The primary freezes: it keeps its connections and answers nothing."""

    def _strike(self) -> None:
        self.servers.pause(self.member)

    def _repair(self) -> None:
        self.servers.resume(self.member)


class Kill(Fault):
    """The primary's process is gone, without a word."""

    def _strike(self) -> None:
        self.servers.kill(self.member)

    def _repair(self) -> None:
        self.servers.restart(self.member)


class StepDown(Fault):
    """The primary is told to step down."""

    def _strike(self) -> None:
        # The server may close the connection of the one who asks.
        with suppress(PyMongoError), self.servers.direct(self.member, "admin") as admin:
            admin.admin.command("replSetStepDown", 5, force=True)


class Cut(Fault):
    """The primary's cable is pulled: nobody reaches it, and nobody is told."""

    def _strike(self) -> None:
        self.servers.cut(self.member)

    def _repair(self) -> None:
        self.servers.join(self.member)


class Isolated(Fault):
    """The primary is parted from the others; clients reach it, and one goes on writing to it.

    What that one writes with w: 1 is acknowledged, and lost: the note says how much. It shows
    that the fault is a real one.
    """

    def _strike(self) -> None:
        self.servers.isolate(self.member)
        self._stop = threading.Event()
        self._kept: list[int] = []
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _repair(self) -> None:
        self._stop.set()
        self._thread.join()
        self.servers.reunite(self.member)

    def repair(self, release: Callable[[], None] = lambda: None) -> None:
        """Count what is lost once the members agree again."""
        super().repair(release)
        with self.servers.client() as client:
            there = set(client["careless"]["writes"].distinct("_id"))
            self.notes["w1_acknowledged"] = len(self._kept)
            self.notes["w1_lost"] = len(set(self._kept) - there)
            client.drop_database("careless")

    def _write(self) -> None:
        with self.servers.direct(self.member, "admin") as client:
            writes = client["careless"].get_collection("writes", write_concern=WriteConcern(1))
            number = 0
            while not self._stop.wait(0.005):
                number += 1
                with suppress(PyMongoError):
                    writes.insert_one({"_id": number})
                    self._kept.append(number)


class DiskFull(Fault):
    """The disk that backups go to is full."""

    @property
    def target(self) -> Path:
        """Where backups go."""
        return self.folder / "backups"

    def __init__(self, servers: NamespacedReplicaSet, folder: Path):
        super().__init__(servers, folder)
        self.target.mkdir()
        options = ["-t", "tmpfs", "-o", "size=160m,mode=700", "tmpfs"]
        subprocess.run(["mount", *options, str(self.target)], check=True)

    def close(self) -> None:
        """Take the disk away."""
        subprocess.run(["umount", str(self.target)], check=True)

    def _strike(self) -> None:
        with (self.target / "ballast").open("wb", buffering=0) as ballast:
            for size in (1 << 20, 4096):
                with suppress(OSError):
                    while ballast.write(bytes(size)):
                        pass

    def _repair(self) -> None:
        (self.target / "ballast").unlink(missing_ok=True)


class Clock(Fault):
    """The engine's clock jumps by hours, and back later."""

    def __init__(self, servers: NamespacedReplicaSet, folder: Path):
        super().__init__(servers, folder)
        library = next(_LIBRARIES.glob(_FAKETIME), None)
        if library is None:
            pytest.skip("no libfaketime: apt-get install libfaketime")
        self._offset = folder / "clock"
        self._offset.write_text("+0\n")
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            # A clock that is set doesn't change how long something takes.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _strike(self) -> None:
        self._offset.write_text(f"+{HOURS}h\n")

    def _repair(self) -> None:
        self._offset.write_text(f"-{HOURS}h\n")


class Slow(Fault):
    """The network to and between the members is bad."""

    def _strike(self) -> None:
        self.notes["slow"] = self.servers.slow()

    def _repair(self) -> None:
        self.servers.quick()


class NoConnections(Fault):
    """Somebody takes every connection that the primary has left."""

    def _strike(self) -> None:
        member = self.servers.members[self.member]
        self._taken = []
        for _ in range(2 * MAX_CONNECTIONS):
            with suppress(OSError):
                self._taken.append(socket.create_connection((member.host, member.port), 2))
        self.notes["taken"] = len(self._taken)

    def _repair(self) -> None:
        for each in self._taken:
            each.close()


FAULTS: dict[str, type[Fault]] = {
    "pause": Pause,
    "kill -9": Kill,
    "step-down": StepDown,
    "cut": Cut,
    "isolated": Isolated,
    "disk full": DiskFull,
    "clock": Clock,
    "slow network": Slow,
    "no connections": NoConnections,
}


@contextmanager
def fault(name: str, servers: NamespacedReplicaSet, folder: Path) -> Iterator[Fault]:
    """Give a fault that is repaired afterwards, whatever became of the test."""
    made = FAULTS[name](servers, folder)
    try:
        yield made
    finally:
        if isinstance(made, DiskFull):
            made.close()


class CarefulWriter:
    """Writes with majority all the while, and knows what was acknowledged."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str):
        concern = WriteConcern("majority", wtimeout=10000)
        self._orders = client[database].get_collection("orders", write_concern=concern)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.acknowledged: list[int] = []

    def __enter__(self) -> CarefulWriter:
        self._thread.start()
        assert wait_until(lambda: bool(self.acknowledged), 60)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def lost(self) -> list[int]:
        """Return what was acknowledged and isn't there."""
        there = set(self._orders.distinct("_id"))
        return [number for number in self.acknowledged if number not in there]

    def _write(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            # Not acknowledged: it may be there or not, and nobody was told.
            with suppress(PyMongoError):
                self._orders.insert_one({"_id": number})
                self.acknowledged.append(number)
