"""A small database that has every case, its migration, and exact comparisons.

The values are chosen so that each way to lose or to invent something shows: fields that are
absent, null, empty, of a wrong type, dangling, and right already; `_id`s of several types.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bson import ObjectId
from mongo_migration.document import definition
from mongo_migration.procedures import migrate as runner
from mongo_migration.procedures import rollback, verify, work
from mongo_migration.support.progress import quiet
from mongo_migration.support.stop import StopSignal
from pymongo.database import Database

from embedded.processes import wait_until

from .driver import Job
from .playbooks import ROOT
from .snapshot import Snapshot, differences, indexes, snapshot

Db = Database[dict[str, Any]]

DOCUMENT = """
id: "901"
name: torture
summary: One period for each organization, then entries and items get theirs; two indexes.
downtime: none
steps:
  - insert_for_each:
      from: organizations
      into: periods
      key: [organization, year]
      referenced_by: {entries: period}
      document: {organization: $_id, year: {$toInt: 2026}, name: {$concat: ["FY ", $name]}}
  - set_field:
      collections: [entries]
      field: period
      type: objectId
      references: periods
      value: {reference: {from: periods, match: {organization: $organization}, take: _id}}
  - set_field:
      collections: {items: owner, bills: createdBy}
      field: organizationId
      type: objectId
      references: organizations
      value: {reference: {from: users, match: {_id: $owner}, take: organizationId}}
  - create_index: {collections: [items, bills], keys: {organizationId: 1}}
"""
DEFINITION = definition.load(DOCUMENT, "torture.yml")
ORGANIZATIONS = [ObjectId(f"0000000000000000000000a{n}") for n in range(4)]
USERS = [ObjectId(f"0000000000000000000000b{n}") for n in range(8)]
BATCH = 10


def home_of(user: ObjectId) -> ObjectId:
    """Return the organization of a user."""
    return ORGANIZATIONS[USERS.index(user) % len(ORGANIZATIONS)]


def fill(db: Db, documents: int = 40) -> None:
    """Fill an empty database, always with the same, *documents* in each collection."""
    db.organizations.insert_many(
        [{"_id": o, "name": f"org {n}"} for n, o in enumerate(ORGANIZATIONS)]
    )
    db.users.insert_many([{"_id": u, "organizationId": home_of(u)} for u in USERS])
    for name in ("entries", "items", "bills"):
        db[name].insert_many([_document(name, n) for n in range(documents)])


def _document(name: str, number: int) -> dict[str, Any]:
    user = USERS[number % len(USERS)]
    document: dict[str, Any] = {"_id": _identity(number), "name": f"{name} {number}"}
    if name == "entries":
        document |= {"organization": home_of(user), "date": number}
        field = "period"
    else:
        document["owner" if name == "items" else "createdBy"] = user
        field = "organizationId"
    kind = number % 10
    if kind in _BEFORE:
        document[field] = _BEFORE[kind]
    elif kind == 7 and name != "entries":
        document[field] = home_of(user)
    return {**document, "tail": [number, {"b": 1, "a": 2.0}]}


_BEFORE = {2: None, 4: "", 5: "x", 6: ObjectId("dddddddddddddddddddddddd")}


def _identity(number: int) -> Any:
    kinds = (number, f"k{number:06}", ObjectId(f"{number:024x}"), {"a": number, "b": "x"})
    return kinds[number % 4]


def changed_by(documents: int = 40) -> int:
    """Return how many documents of :func:`fill` the migration sets a field of."""
    right_already = sum(1 for number in range(documents) if number % 10 == 7)
    return 3 * documents - 2 * right_already


def settings(**more: Any) -> runner.Settings:
    """Return settings for small batches."""
    return runner.Settings(**{"batch_size": BATCH, **more})


def migrate(db: Db, *, stop: StopSignal | None = None, progress: Any = quiet, **more: Any) -> Any:
    """Migrate in this process."""
    what, until = more.pop("definition", DEFINITION), more.pop("until", "applied")
    return runner.migrate(_job(db, stop, progress, **more), what, until=until)


def roll_back(db: Db, *, stop: StopSignal | None = None, progress: Any = quiet, **more: Any) -> Any:
    """Roll back in this process."""
    on_conflict = more.pop("on_conflict", "keep")
    job = _job(db, stop, progress, **more)
    return rollback.roll_back(job, DEFINITION.id, DEFINITION, on_conflict=on_conflict)


def roll_back_by(db: Db, what: definition.Definition | None, **more: Any) -> Any:
    """Roll back by another document, or by none."""
    return rollback.roll_back(_job(db), DEFINITION.id, what, **more)


def _job(db: Db, stop: StopSignal | None = None, progress: Any = quiet, **options: Any) -> work.Job:
    return work.Job(settings=settings(**options), **common(db, stop, progress))


def common(db: Db, stop: StopSignal | None = None, progress: Any = quiet) -> dict[str, Any]:
    """Return what every procedure is given."""
    return {
        "client": db.client,
        "database": db.name,
        "change": {},
        "operator": {"user": "second", "host": "testhost", "pid": os.getpid()},
        "progress": progress,
        "stop": stop or StopSignal(),
    }


# -- the state of a database, to compare -------------------------------------------------------


def state(db: Db) -> tuple[Snapshot, dict[str, Any]]:
    """Return everything there is but for the engine's own collections."""
    return snapshot(db), indexes(db)


def plain_state(db: Db) -> tuple[Snapshot, dict[str, Any]]:
    """Return the state with the periods' ids, which are new in each run, replaced by their keys.

    An ObjectId is twelve bytes wherever it stands, so the rest is still compared byte by byte.
    """
    found, there = state(db)
    names = {p["_id"].binary: b"#" + p["organization"].binary[1:] for p in db.periods.find()}

    def plain(raw: bytes) -> bytes:
        for identity, name in names.items():
            raw = raw.replace(identity, name)
        return raw

    periods = {names[key.binary]: plain(raw) for key, raw in found.pop("periods", {}).items()}
    rest = {name: {key: plain(raw) for key, raw in rows.items()} for name, rows in found.items()}
    return {**rest, "periods": periods}, there


def assert_same(before: tuple[Snapshot, Any], after: tuple[Snapshot, Any]) -> None:
    """Fail with the first differences, if there are any."""
    found = differences(before[0], after[0])[:10]
    assert found == [], found
    assert after[1] == before[1], (before[1], after[1])


def assert_journal_exact(db: Db, before: Snapshot) -> None:
    """Each document that changed stands in the journal once, and nothing else does."""
    now = snapshot(db)
    journalled: Counter[Any] = Counter()
    for entry in db["_migrations_journal"].find():
        where = entry["collection"]
        if entry["kind"] == "set_field":
            ids = [i for group in entry["groups"] for i in group["ids"]]
        elif entry["kind"] == "insert_for_each":
            ids = [document["_id"] for document in entry["documents"]]
        else:
            ids = [entry["spec"]["name"]]
            assert entry["spec"]["name"] in db[where].index_information()
        journalled.update((where, entry["kind"], str(i)) for i in ids)
    assert [key for key, times in journalled.items() if times > 1] == []
    changed = sum(
        1
        for name, rows in now.items()
        for key, raw in rows.items()
        if before.get(name, {}).get(key) != raw
    )
    built = sum(1 for key in journalled if key[1] == "create_index")
    assert len(journalled) - built == changed
    run = db["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)])
    assert run is not None
    assert run["counts"]["modified"] + run["counts"]["inserted"] == changed


def assert_verified(db: Db) -> None:
    """Fail unless the run passes its own verification, with all that it examined."""
    done = verify.verify(client=db.client, database=db.name, definition=DEFINITION, operator={})
    assert done["failures"] == []
    assert done["phase"] == "verified"


# -- processes ---------------------------------------------------------------------------------


class Process:
    """The engine in a process of its own."""

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None) -> None:
        path = f"{ROOT}:{ROOT / 'plugins' / 'module_utils'}"
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.support.driver"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdin is not None
        self.popen.stdin.write(job.dump())
        self.popen.stdin.close()
        self.events: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._sign = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_batches(self, number: int, seconds: float = 60) -> None:
        """Return when the process has written that many batches."""

        def there() -> bool:
            batches = sum(1 for event in self.events if "done" in event)
            return batches >= number or self.popen.poll() is not None

        with self._sign:
            assert self._sign.wait_for(there, seconds), self.errors
        assert self.popen.poll() is None, (self.errors, self.popen.communicate())

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 60) -> None:
        """Return when an event is like that, or the process has ended."""

        def there() -> bool:
            return any(condition(event) for event in self.events) or self.popen.poll() is not None

        with self._sign:
            assert self._sign.wait_for(there, seconds), self.errors

    def wait_for_life(self, seconds: float = 60) -> None:
        """Return when the process is about to work, or has ended."""
        with self._sign:
            assert self._sign.wait_for(
                lambda: bool(self.events) or self.popen.poll() is not None, seconds
            )

    def sleeps(self) -> bool:
        """Return whether the process was stopped, by itself or by a signal."""
        try:
            stat = Path(f"/proc/{self.popen.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def wait_for_sleep(self, seconds: float = 60) -> None:
        """Return when the process has put itself to sleep."""
        assert wait_until(self.sleeps, seconds, 0.02), self.errors

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def end(self, seconds: float = 120) -> dict[str, Any]:
        """Return what came of it; an empty dict if it was killed."""
        assert self.popen.stdout is not None
        self.popen.wait(seconds)
        self._reader.join(seconds)
        out = self.popen.stdout.read()
        assert out or self.popen.returncode == -signal.SIGKILL, "\n".join(self.errors)
        return dict(json.loads(out)) if out else {}

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._sign:
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                else:
                    self.errors.append(line.rstrip())
                self._sign.notify_all()
        with self._sign:
            self._sign.notify_all()


@contextmanager
def process(job: Job, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Give a process that is gone afterwards, whatever the test did to it."""
    started = Process(job, environment)
    try:
        yield started
    finally:
        if started.popen.poll() is None:
            started.send(signal.SIGKILL)
            started.send(signal.SIGCONT)
        started.popen.wait(30)
        for stream in (started.popen.stdout, started.popen.stderr):
            assert stream is not None
            stream.close()
