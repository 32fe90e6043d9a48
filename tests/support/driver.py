"""One run of the engine in a process of its own, which may be killed at any command it sends.

    python -m tests.support.driver < job.json

The job is one object; see :class:`Job`. What came of it is printed as one line of JSON.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mongo_migration.backup import create, open_source, restore
from mongo_migration.document import definition
from mongo_migration.errors import MigrationError
from mongo_migration.ledger import lease
from mongo_migration.procedures import migrate, prune, rollback, verify, work
from mongo_migration.support import stop
from mongo_migration.values import ejson
from pymongo import MongoClient, monitoring
from pymongo.errors import PyMongoError

from . import command_sorts


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the process does.

    Args:
        uri: the server; it comes on standard input, so that no process list shows the password.
        database: the database.
        text: the migration document.
        files: what lies beside it, by name.
        action: migrate, rollback, verify, prune, backup or restore.
        settings: of :class:`batches.Settings`.
        die_at: kill this process at this command of the main thread, counted from 1.
        sleep_at: stop this process, all of its threads, at this command, as SIGSTOP does; whoever
            sends SIGCONT wakes it. At the one after it where it is the sending of one that the
            server does for whoever asks, whose lease it may be.
        sort: count commands of this sort alone, of whatever thread: see :mod:`command_sorts`.
        again: what slept once sleeps once more, at its next command.
        when: ``sent``: before the server sees the command; ``answered``: after it has done it,
            before the engine hears of it.
        clock_ahead: seconds that this process's clock is wrong.
        trace: a file that gets the name of every command.
        on_conflict: of a rollback.
        archive: of a restore; of a backup, the folder for it.
        hold_at: wait at this progress event, counted from 1, until the file `hold_until` exists.
        confirm: what a pruning asks for.
        hold_phase: count the progress events of this phase alone.
        until: of a migration, caught_up for its live half.
    """

    uri: str
    database: str
    text: str
    action: str = "migrate"
    settings: dict[str, Any] = field(default_factory=dict)
    die_at: int = 0
    sleep_at: int = 0
    sort: str = ""
    again: bool = False
    when: str = "sent"
    files: dict[str, str] = field(default_factory=dict)
    clock_ahead: float = 0.0
    trace: str = ""
    on_conflict: str = "keep"
    archive: str = ""
    hold_at: int = 0
    hold_until: str = ""
    hold_phase: str = ""
    until: str = "applied"
    confirm: str = ""

    def dump(self) -> str:
        """Return the job as the process reads it."""
        return json.dumps(asdict(self))


class Commands(monitoring.CommandListener):
    """Counts the commands of the main thread, and ends the process at one of them.

    The lease's thread has its own time; counting its commands would make no two runs alike. It
    counts where its very sort is asked for.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._main = threading.main_thread()
        self.counting = False
        self.names: list[str] = []
        self._count = 0
        self._waiting: set[int] = set()  # requests that count, and aren't answered
        self._naps = 1 + job.again
        # Whether the command that was sent last is done also by who slept through its lease.
        self._unbound = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if not self.counting or not self._counts(event):
            return
        name = event.command_name
        target = event.command.get(name)
        self.names.append(f"{name} {target}" if isinstance(target, str) else name)
        self._count += 1
        self._waiting.add(event.request_id)
        # The server binds no building or dropping of an index to a lease, not even by a UUID.
        sorts = command_sorts.sorts(name, event.command, threading.current_thread().name)
        self._unbound = "catalogue" in sorts and self._job.action != "restore"
        self._maybe("sent")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._answered(event.request_id)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """A command that failed was answered, too."""
        self._answered(event.request_id)

    def _answered(self, request: int) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            self._maybe("answered")

    def _counts(self, event: monitoring.CommandStartedEvent) -> bool:
        thread = threading.current_thread()
        if not self._job.sort or self._slept:  # the next one, whatever it is
            return thread is self._main
        found = command_sorts.sorts(event.command_name, event.command, thread.name)
        return self._job.sort in found

    @property
    def _slept(self) -> bool:
        return self._naps <= self._job.again

    def _maybe(self, when: str) -> None:
        if self._job.when != when:
            return
        if self._count == self._job.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "sent" and self._unbound:
            return  # at the next one
        # Other threads' answers may come at the same count: who slept enough sleeps no more.
        if self._naps and (self._slept or self._count >= self._job.sleep_at > 0):
            self._naps -= 1
            _announce({"sleeps": True})
            os.kill(os.getpid(), signal.SIGSTOP)


def run(job: Job) -> dict[str, Any]:
    """Do the job; return its result or its error."""
    if job.clock_ahead:
        real = time.time
        time.time = lambda: real() + job.clock_ahead
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # libfaketime takes the deadline of this sleep, which is one of the monotonic clock, for
        # one of the clock that it changes; a wrong clock doesn't do that.
        def sleep(seconds: Any) -> None:
            select.select([], [], [], seconds)

        time.sleep = sleep
    commands = Commands(job)
    client: MongoClient[dict[str, Any]] = MongoClient(
        job.uri,
        tz_aware=True,
        serverSelectionTimeoutMS=5000,
        connectTimeoutMS=2000,
        event_listeners=[commands],
    )
    client.admin.command("ping")
    commands.counting = True
    try:
        result = _work(job, client)
    except (MigrationError, PyMongoError) as error:
        # The modules tell a driver's error in words of their own: entry.py.
        return {
            "error": type(error).__name__,
            "message": getattr(error, "message", str(error)),
            "details": ejson.to_plain(getattr(error, "details", {})),
        }
    finally:
        if job.trace:
            Path(job.trace).write_text("\n".join(commands.names))
    return {"result": ejson.to_plain(result)}


def _work(job: Job, client: MongoClient[dict[str, Any]]) -> Any:
    announce = _Announcer(job)
    operator = {"user": "tester", "host": "testhost", "pid": os.getpid()}
    if job.action == "backup":
        settings = create.Settings(folder=Path(job.archive))
        return create.back_up(client, job.database, settings, progress=announce)
    if job.action == "restore":
        return _restore(job, client, announce, operator)
    common: dict[str, Any] = {
        "client": client,
        "database": job.database,
        "settings": migrate.Settings(**job.settings),
        "change": {},
        "operator": operator,
        "progress": announce,
        "stop": stop.listen(),
    }
    beside: dict[str, Any] = {"files": job.files} if job.files else {}
    what = definition.load(job.text, "torture.yml", **beside)
    _announce({"phase": "ready"})
    if job.action == "verify":
        return verify.verify(
            client=client,
            database=job.database,
            definition=what,
            operator=operator,
            lease_seconds=job.settings.get("lease_seconds", 30),
            progress=announce,
            stop=common["stop"],
        )
    if job.action == "prune":
        return prune.prune(work.Job(**common), migration=what.id, after_days=0, confirm=job.confirm)
    if job.action == "rollback":
        return rollback.roll_back(
            work.Job(**common),
            what.id,
            definition=what,
            on_conflict=job.on_conflict,
        )
    return migrate.migrate(work.Job(**common), what, until=job.until)


def _restore(
    job: Job, client: MongoClient[dict[str, Any]], announce: _Announcer, operator: dict[str, Any]
) -> Any:
    source = open_source.open_source(Path(job.archive))
    settings = restore.Settings(
        database=job.database, source_database=source.manifest.database, confirm=job.database
    )
    return restore.restore(
        client,
        source,
        settings,
        hold=lambda database: lease.hold(
            database,
            purpose="restore",
            holder=operator,
            seconds=job.settings.get("lease_seconds", 10),
        ),
        progress=announce,
        stop=stop.listen(),
    )


class _Announcer:
    """Tells the test of each progress event, and waits for it at one of them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._seen = 0

    def __call__(self, event: dict[str, Any]) -> None:
        _announce(event)
        self._seen += self._job.hold_phase in ("", event.get("phase"))
        if self._seen == self._job.hold_at and not Path(self._job.hold_until).exists():
            _announce({"held": self._seen})
            while not Path(self._job.hold_until).exists():
                time.sleep(0.02)


def _announce(event: dict[str, Any]) -> None:
    """Tell the test, which may wait for a sign of life, on standard error.

    In one write: several threads may have something to tell.
    """
    os.write(sys.stderr.fileno(), (json.dumps(event, default=str) + "\n").encode())


if __name__ == "__main__":
    print(json.dumps(run(Job(**json.load(sys.stdin))), default=str))
