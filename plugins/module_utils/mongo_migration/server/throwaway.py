"""A server for a while: a replica set of one member on this host, started and removed by us.

It listens on the loopback address alone and asks for a password that nobody but this process knows.
The kernel ends it with this process. Its folder is locked while it is used; one that isn't locked
was left by a process that was killed, and the next command removes it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ..argument_specs import CONNECTION_OPTIONS
from ..errors import ConnectionFailedError, MigrationError
from . import connection

Client = MongoClient[dict[str, Any]]

_PREFIX = "rehearsal-server-"
_MARK = "made-by-migration-playbooks.json"
_LOOPBACK = "127.0.0.1"
_SET = "rehearsal"
_USER = "rehearsal"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.1
# Of its journal and logs, beside the data.
_ROOM = 512 << 20
# The server's default takes half of a host that may have other work.
_CACHE_GB = "1"
_LOG_LINES = 5
_ALREADY_INITIALIZED = 23
_DEFAULTS = {name: option.get("default") for name, option in CONNECTION_OPTIONS.items()} | {
    "database": "admin"
}
# Runs a program that the kernel ends with its parent: prctl(2), PR_SET_PDEATHSIG is 1. It outlives
# an execve, so that no code of ours has to run between fork and exec.
_FOLLOWING = (
    *(sys.executable, "-I", "-c"),
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.execv(sys.argv[1], sys.argv[1:])",
)


def find(program: str) -> Path:
    """Return where *program* is.

    Args:
        program: ``mongod``, or a path to one.

    Raises:
        MigrationError: there is none.
    """
    found = shutil.which(program)
    if found is None:
        raise MigrationError(
            f"There is no '{program}' on this host. Install MongoDB's server there, name it by "
            "rehearsal_mongod, or rehearse on another server by rehearsal_uri. Nothing was started."
        )
    return Path(found)


def version(program: Path) -> str:
    """Return the version that *program* says it is, such as ``6.0.5``.

    Raises:
        MigrationError: it can't be run, or is not a mongod.
    """
    try:
        done = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MigrationError(f"{program} can't be run: {error}. Nothing was started.") from error
    words = done.stdout.split()
    found = (word[1:] for word in words if word.startswith("v") and word[1:2].isdigit())
    return next(found, "unknown")


def require_series(program: Path, wanted: str) -> None:
    """Refuse a server that may behave otherwise than the one of version *wanted*.

    Raises:
        MigrationError: its major or minor version is another one.
    """
    found = version(program)
    if found.split(".")[:2] != wanted.split(".")[:2]:
        raise MigrationError(
            f"{program} is MongoDB {found}, and the deployment runs {wanted}: a rehearsal on "
            "another series proves little. Name one of the same series by rehearsal_mongod, or "
            "rehearse elsewhere. Nothing was started."
        )


def require_room(folder: Path, size: int) -> None:
    """Refuse where the disk of *folder* can't hold *size* bytes of data.

    Raises:
        MigrationError: it can't.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if free < size + _ROOM:
        raise MigrationError(
            f"The rehearsal needs {(size + _ROOM) >> 20:,} MiB in {folder}, and its disk has "
            f"{free >> 20:,} MiB free. Make room, or name another folder by rehearsal_dir. Nothing "
            "was started."
        )


@contextmanager
def running(program: Path, folder: Path) -> Iterator[Client]:
    """Yield a client of a fresh server; the server and its data are gone afterwards.

    Args:
        program: the mongod.
        folder: holds the server's own folder, which holds a copy of the data for a while; it is
            made if needed, readable by its owner alone.

    Raises:
        MigrationError: the server doesn't start.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_leftovers(folder)
    place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    lock = _lock_own(place)
    process = None
    try:
        password, port = secrets.token_urlsafe(24), _free_port()
        process = _start(program, place, port)
        with _ready(process, place, port, password) as client:
            yield client
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(place, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what killed processes left in *folder*; return the names of what was removed.

    Only folders that carry our mark, and that no living process holds.
    """
    removed = []
    for place in _ours(folder):
        lock = _lock(place)
        if lock is None:
            continue
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)
        removed.append(place.name)
    return removed


def leftovers(folder: Path) -> list[Path]:
    """Return what :func:`remove_leftovers` would remove; nothing is touched."""
    return [place for place in _ours(folder) if not _in_use(place)]


def _ours(folder: Path) -> list[Path]:
    """Return the folders that carry our mark."""
    return [
        place
        for place in sorted(folder.glob(f"{_PREFIX}*"))
        if not place.is_symlink() and (place / _MARK).is_file()
    ]


def _in_use(place: Path) -> bool:
    """Return whether a living process has the lock of a server's folder."""
    try:
        with (place / _MARK).open("rb") as mark:
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # locked; or it is being removed
        return True
    return False


def _lock_own(place: Path) -> int | None:
    """Lock a folder that was just made: at most somebody who looks has it for a moment."""
    for _attempt in range(10):
        if (lock := _lock(place)) is not None:
            return lock
        time.sleep(_LOOK_SECONDS)
    return None


def _lock(place: Path) -> int | None:
    """Return the lock of a server's folder; None if another process has it. Death lets it go."""
    handle = os.open(place / _MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps({"pid": os.getpid()}).encode())
    return handle


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((_LOOPBACK, 0))
        return int(found.getsockname()[1])


def _start(program: Path, place: Path, port: int) -> subprocess.Popen[bytes]:
    key, data = place / "key", place / "data"
    data.mkdir(mode=0o700)
    key.touch(mode=0o600)
    key.write_text(secrets.token_urlsafe(64).replace("-", "A").replace("_", "B"))
    return subprocess.Popen(
        [
            *_FOLLOWING,
            str(program),
            *("--bind_ip", _LOOPBACK, "--port", str(port), "--nounixsocket"),
            *("--dbpath", str(data), "--logpath", str(place / "mongod.log")),
            *("--replSet", _SET, "--keyFile", str(key)),
            *("--wiredTigerCacheSizeGB", _CACHE_GB),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us: we end it when it isn't needed any more
    )


@contextmanager
def _ready(
    process: subprocess.Popen[bytes], place: Path, port: int, password: str
) -> Iterator[Client]:
    """Make the started server a replica set with one user, and yield that user's client."""
    deadline = time.monotonic() + _START_SECONDS

    def attempt(body: Any) -> None:
        while True:
            try:
                body()
            except (PyMongoError, ConnectionFailedError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise _dead(place, error) from error
                time.sleep(_LOOK_SECONDS)
            else:
                return

    options: dict[str, Any] = {"serverSelectionTimeoutMS": 1000, "directConnection": True}
    # The localhost exception lets the first user of a server be made without one.
    with MongoClient[dict[str, Any]](_LOOPBACK, port, **options) as anybody:
        attempt(lambda: _initiate(anybody, port))
        attempt(lambda: anybody.admin.command("createUser", _USER, pwd=password, roles=["root"]))
    uri = f"mongodb://{_USER}:{password}@{_LOOPBACK}:{port}/?replicaSet={_SET}"
    found: list[Client] = []
    try:
        attempt(lambda: found.append(connection.connect({**_DEFAULTS, "uri": uri})))
        yield found[0]
    finally:
        for client in found:
            client.close()


def _initiate(client: Client, port: int) -> None:
    members = [{"_id": 0, "host": f"{_LOOPBACK}:{port}"}]
    try:
        client.admin.command("replSetInitiate", {"_id": _SET, "members": members})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise


def _dead(place: Path, error: Exception) -> MigrationError:
    said = []
    with suppress(OSError):
        said = (place / "mongod.log").read_text(errors="replace").splitlines()[-_LOG_LINES:]
    log = f" The end of its log: {' | '.join(line[:300] for line in said)}" if said else ""
    return MigrationError(
        f"The server for the rehearsal didn't start within {_START_SECONDS:.0f} s: {error}.{log} "
        "Nothing was rehearsed, and it is removed."
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it at once: its data are about to be removed."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
