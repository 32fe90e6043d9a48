"""A sharded cluster of two shards, with the router that `MONGOS_BIN` names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from embedded.files import private_folder
from embedded.mongod import ReplicaSet
from embedded.processes import Process, ProcessError, free_ports

VARIABLE = "MONGOS_BIN"
LOOPBACK = "127.0.0.1"
CONFIG, SHARD = "configsvr", "shardsvr"
_ALREADY_INITIALIZED = 23

Client = MongoClient[dict[str, Any]]


def binary() -> Path | None:
    """Return the router's program, if this machine has one."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


class Part(ReplicaSet):
    """A replica set of one member that is a part of a cluster."""

    def __init__(self, folder: Path, name: str, role: str, *, cache_gb: float) -> None:
        self.set_name = name
        self._role_of_set = role
        super().__init__(folder, auth=False, cache_gb=cache_gb)

    @property
    def address(self) -> str:
        """set/host:port, as a cluster names its parts."""
        return f"{self.set_name}/{self.hosts}"

    def _more_options(self) -> list[str]:
        return [*super()._more_options(), f"--{self._role_of_set}"]

    def _prepare(self) -> None:
        members = [{"_id": n, "host": member.address} for n, member in enumerate(self.members)]
        configuration: dict[str, Any] = {"_id": self.set_name, "members": members}
        if self._role_of_set == CONFIG:
            configuration["configsvr"] = True
        with self._first_login(0) as nobody:
            try:
                nobody.admin.command("replSetInitiate", configuration)
            except OperationFailure as error:
                if error.code != _ALREADY_INITIALIZED:
                    raise
        self.wait_for_primary()


class Cluster:
    """Config server, shards, and a router before them.

    Args:
        folder: where everything is kept.
        mongos: the router's program.
        cache_gb: of each server.
    """

    def __init__(self, folder: Path, mongos: Path, *, cache_gb: float) -> None:
        self._folder = private_folder(folder)
        self._mongos = mongos
        self._config = Part(folder / "config", "config", CONFIG, cache_gb=cache_gb)
        self.shards: Sequence[Part] = [
            Part(folder / name, name, SHARD, cache_gb=cache_gb) for name in ("shard0", "shard1")
        ]
        (self._port,) = free_ports(1)
        self._router: Process | None = None

    def __enter__(self) -> Self:
        """Start all of them, and make them one cluster."""
        for part in (self._config, *self.shards):
            part.start()
        self._start_router()
        with self.client() as admin:
            for shard in self.shards:
                admin.admin.command("addShard", shard.address)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all of them."""
        if self._router is not None:
            self._router.stop()
        for part in (*self.shards, self._config):
            part.stop()

    def client(self) -> Client:
        """Return a client of the router; close it after use."""
        return MongoClient(LOOPBACK, self._port, tz_aware=True, serverSelectionTimeoutMS=20000)

    def _start_router(self) -> None:
        pid_file = self._folder / "mongos.pid"
        command = [
            *(str(self._mongos), "--fork", "--configdb", self._config.address),
            *("--bind_ip", LOOPBACK, "--port", str(self._port), "--nounixsocket"),
            *("--logpath", str(self._folder / "mongos.log"), "--pidfilepath", str(pid_file)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessError(f"mongos didn't start: {done.stdout}{done.stderr}")
        self._router = Process.of(int(pid_file.read_text()))
