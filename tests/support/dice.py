"""A database with two migrations, its legal states, and a sleeper at the moment that matters.

In a round, one process falls asleep at a command of a chosen sort, for longer than its lease, while
others take over, finish, undo, restore or verify. What it does once it wakes must have no effect.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mongo_migration.backup.names import LOADING
from mongo_migration.document import definition
from mongo_migration.errors import MigrationError
from mongo_migration.procedures import migrate, rollback, verify, work
from pymongo.errors import PyMongoError

from embedded.mongod import Deployment, ReplicaSet
from embedded.processes import wait_until

from . import backups, databases, torture
from .driver import Job
from .snapshot import Snapshot, differences, snapshot
from .torture import Db, Process

LEASE_SECONDS = 1.0
# The engine takes whole seconds from an inventory; a test may sleep less.
SETTINGS = {"batch_size": 5, "lease_seconds": LEASE_SECONDS, "retry_seconds": 20}
_DOCUMENTS = 20  # of a collection
# A takeover takes a second or two; what waits for a transaction of who sleeps, a minute by default.
_TRANSACTION_SECONDS, _LONGEST_TAKEOVER = 3600, 90
ONE, OTHER = "901", "902"
# It touches what the first one doesn't, so that either may be there without the other.
DOCUMENTS = {
    ONE: torture.DOCUMENT,
    OTHER: """
id: "902"
name: another
summary: Every user gets a region.
downtime: none
steps:
  - set_field: {collections: [users], field: region, type: string, value: {value: north}}
""",
}
DEFINITIONS = {
    key: definition.load(text, "torture.yml" if key == ONE else "another.yml")
    for key, text in DOCUMENTS.items()
}
DONE = ("applied", "verified")
_ENDS = {
    "migrate": "applied",
    "rollback": "rolled_back",
    "verify": "verified",
    "restore": "restored",
}

# At which commands of each action to sleep: how many cards each sort has in the deck, and at how
# many of its commands the sleep may be. What writes a state has the most.
_CARDS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "migrate": {
        "lease": (1, 1),
        "takeover": (1, 1),
        "create": (1, 1),
        "phase": (2, 2),
        "begin": (3, 6),
        "commit": (1, 6),
        "journal": (1, 6),
        "data": (2, 6),
        "checkpoint": (1, 6),
        "catalogue": (1, 2),
        "renewal": (1, 1),
    },
    "rollback": {
        "takeover": (1, 1),
        "adopt": (2, 1),
        "phase": (2, 2),
        "begin": (2, 6),
        "commit": (1, 6),
        "journal": (1, 6),
        "data": (2, 6),
        "catalogue": (1, 3),
    },
    "verify": {"adopt": (2, 1), "phase": (1, 1)},
    "restore": {"begin": (2, 2), "mark": (2, 2), "catalogue": (3, 12), "data": (1, 3)},
}
# What undoes what a sleeper has done, or does it again.
_AS_IT_WAS: Mapping[str, tuple[str, ...]] = {
    "migrate": ("rollback",),
    "rollback": ("rollback", "migrate"),
    "verify": ("rollback", "migrate"),
    "restore": ("restore", "migrate"),
}
# Of whoever has a run in hand, or makes one: it is as it was where others work at another one.
_OF_THE_RUN = {"takeover", "create", "adopt", "phase"}
# Only where there are transactions.
_OF_SETS = {"begin", "commit"}


@dataclass(frozen=True, kw_only=True)
class Action:
    """What a process does: migrate, rollback or verify of one migration, or restore."""

    kind: str
    migration: str = ONE

    def __str__(self) -> str:
        return self.kind if self.kind == "restore" else f"{self.kind} {self.migration}"


def do(db: Db, action: Action, archive: Path) -> str:
    """Do *action* in this process; return what became of it."""
    what = DEFINITIONS[action.migration]
    job = work.Job(settings=torture.settings(**SETTINGS), **torture.common(db))
    try:
        if action.kind == "restore":
            backups.put_back(db.client, db.name, archive)
            return "restored"
        if action.kind == "migrate":
            return str(migrate.migrate(job, what)["phase"])
        if action.kind == "rollback":
            return str(rollback.roll_back(job, what.id, what)["phase"])
        return _verified(db, what)
    except (MigrationError, PyMongoError) as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"


def _verified(db: Db, what: definition.Definition) -> str:
    done = verify.verify(
        client=db.client,
        database=db.name,
        definition=what,
        operator=torture.common(db)["operator"],
        lease_seconds=LEASE_SECONDS,
    )
    assert done["failures"] == []
    return str(done["phase"])


def phases(db: Db) -> dict[str, str]:
    """Return the phase of the newest run of each migration that has one."""
    found = db["_migrations"].find({"kind": "run"}, sort=[("number", 1)])
    return {run["migration"]: run["phase"] for run in found}


Legal = Mapping[frozenset[str], tuple[Snapshot, Any]]


def play(servers: Deployment, folder: Path, seed: int, rounds: int, lanes: int = 2) -> None:
    """Deal and play *rounds* in each of *lanes*, a database each; the sleeping takes no time.

    Raises:
        AssertionError: something had an effect that it must not have; the story was printed.
    """
    legal: list[Legal] = []
    setting_up, broken = threading.Lock(), threading.Event()

    def lane(number: int) -> None:
        dice, cards = random.Random(f"{seed} {number}"), list[tuple[str, str]]()
        place = folder / str(number)
        place.mkdir()
        with (
            servers.client() as client,
            databases.fresh(client, roles=False) as db,
        ):
            with setting_up:
                table = Table(servers, db, place, *legal[:1])
                legal.append(table.legal)
            for played in range(rounds):
                if broken.is_set():
                    return
                cards = cards or deck(servers, dice)
                one = Round(table, cards.pop(), dice)
                try:
                    one.play()
                    table.settle(dice)
                    table.assert_legal(dice)
                except BaseException:
                    broken.set()
                    raise
                finally:
                    print(f"seed {seed}, lane {number}, round {played}:", *one.story, sep="\n  ")

    with _patient_with_transactions(servers), ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))


@contextmanager
def _patient_with_transactions(servers: Deployment) -> Iterator[None]:
    """Let the server end no transaction by itself: whoever takes over must, or waits for ever."""
    name = "transactionLifetimeLimitSeconds"
    if not isinstance(servers, ReplicaSet):
        yield
        return
    with servers.client() as client:
        before = client.admin.command({"getParameter": 1, name: 1})[name]
        client.admin.command({"setParameter": 1, name: _TRANSACTION_SECONDS})
        try:
            yield
        finally:
            client.admin.command({"setParameter": 1, name: before})


class Table:
    """One database, and what may be there: none, one, the other, or both migrations.

    Args:
        servers: where the database is.
        db: empty.
        folder: for a backup of it, as it is filled at first.
        legal: of another such table, if there is one.
    """

    def __init__(
        self, servers: Deployment, db: Db, folder: Path, legal: Legal | None = None
    ) -> None:
        self.servers = servers
        self.db = db
        torture.fill(db, _DOCUMENTS)
        self.archive = Path(backups.take(db.client, db.name, folder)["archive"])
        self.legal = self._all_states() if legal is None else legal

    def _all_states(self) -> Legal:
        legal = {frozenset[str](): torture.plain_state(self.db)}
        applied: frozenset[str] = frozenset()
        for kind, migration in (
            ("migrate", ONE),
            ("migrate", OTHER),
            ("rollback", ONE),
            ("rollback", OTHER),
        ):
            self.bring(kind, migration)
            applied ^= {migration}
            found = torture.plain_state(self.db)
            assert legal.setdefault(applied, found) == found
        return legal

    def make_ready(self, action: Action) -> None:
        """Make *action* one that has something to do."""
        phase = phases(self.db).get(action.migration, "rolled_back")
        if action.kind in ("migrate", "verify") and phase != "rolled_back":
            self.bring("rollback", action.migration)
            phase = "rolled_back"
        if action.kind in ("rollback", "verify") and phase == "rolled_back":
            self.bring("migrate", action.migration)

    def do(self, kind: str, migration: str = ONE) -> str:
        """Do it in this process; return what became of it."""
        return do(self.db, Action(kind=kind, migration=migration), self.archive)

    def bring(self, kind: str, migration: str = ONE) -> None:
        """Do it to its end: the other lane may step the server down for longer than a lease."""
        done = ""
        for _ in range(5):
            done = self.do(kind, migration)
            if done == _ENDS[kind]:
                return
        raise AssertionError(f"{kind} {migration}: {done}")

    def settle(self, dice: random.Random) -> None:
        """Finish what is unfinished, in one of the two ways."""
        if self.db["_migrations"].find_one({"_id": "restore"}):
            self.bring("restore")
        for migration, phase in phases(self.db).items():
            if phase == "rolling_back":
                self.bring("rollback", migration)
            elif phase == "planned" or phase not in (*DONE, "rolled_back"):
                back = phase != "planned" and dice.random() < 0.5
                self.bring("rollback" if back else "migrate", migration)

    def assert_legal(self, dice: random.Random) -> None:
        """The content is what the changelog says; now and then, that it can be undone exactly."""
        found = phases(self.db)
        applied = frozenset(key for key, phase in found.items() if phase in DONE)
        torture.assert_same(self.legal[applied], torture.plain_state(self.db))
        numbers = [run["number"] for run in self.db["_migrations"].find({"kind": "run"})]
        assert len(set(numbers)) == len(numbers)
        if ONE in applied and dice.random() < 0.3:
            self.bring("verify")
            self.bring("rollback")
            torture.assert_same(self.legal[applied - {ONE}], torture.plain_state(self.db))


def step_down(servers: Deployment, db: Db) -> None:
    """Make another member the primary, where there are members."""
    if not isinstance(servers, ReplicaSet):
        return
    with suppress(PyMongoError):
        db.client.admin.command("replSetStepDown", 1, force=True)
    servers.wait_for_primary()


def deck(servers: Deployment, dice: random.Random) -> list[tuple[str, str]]:
    """Return pairs of an action and the sort of command that it sleeps at, shuffled."""
    cards = [
        (kind, sort)
        for kind, points in _CARDS.items()
        for sort, (number, _most) in points.items()
        for _ in range(number)
        if isinstance(servers, ReplicaSet) or sort not in _OF_SETS
    ]
    dice.shuffle(cards)
    return cards


class Round:
    """One process sleeps at a loaded point; others work; it wakes.

    Args:
        table: where.
        card: of the :func:`deck`.
        dice: decide the rest.
    """

    def __init__(self, table: Table, card: tuple[str, str], dice: random.Random) -> None:
        self._table = table
        self._db = table.db
        self._card = card
        self._dice = dice
        self._again = dice.random() < 0.15
        self.story: list[str] = []

    def play(self) -> None:
        """Play it.

        Raises:
            AssertionError: what lost its lease had an effect, or claims to have had one.
        """
        dice = self._dice
        action = Action(kind=self._card[0], migration=dice.choice((ONE, ONE, OTHER)))
        self._table.make_ready(action)
        with torture.process(self._job(action)) as sleeper:
            if not self._asleep(sleeper):
                self.story.append(f"ended: {said(sleeper.end())}")
                return
            if dice.random() < 0.15 and isinstance(self._table.servers, ReplicaSet):
                self.story.append("step down")
                step_down(self._table.servers, self._db)
            held = self._token_of(sleeper)
            for taker in self._takers(action):
                self.story.append(f"{taker}: {self._taken_over(taker)}")
            lost = held is not None and self._lease()["token"] > held
            left = self._left()
            sleeper.send(signal.SIGCONT)
            outcome = sleeper.end()
            self.story.append(f"woke, {'lost' if lost else 'free'}: {said(outcome)}")
        if lost:
            self._assert_untouched(left, outcome)

    def _taken_over(self, taker: Action) -> str:
        """Return what became of *taker*, who waits for nothing that the sleeper has left open."""
        done: list[str] = []

        def work() -> None:
            done.append(do(self._db, taker, self._table.archive))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(_LONGEST_TAKEOVER)
        if not done:
            self._db.client.admin.command("killAllSessions", [])  # the end would wait, too
            raise AssertionError(f"{taker} still waits for a transaction of the sleeper")
        return done[0]

    def _takers(self, action: Action) -> Iterator[Action]:
        """Yield what others do: in one half of the rounds, what makes the data as it was again.

        Then what wakes finds what it had read, and only the lease keeps it from writing.
        """
        if self._dice.random() < 0.5:
            if self._card[1] in _OF_THE_RUN:
                other = OTHER if action.migration == ONE else ONE
                there = phases(self._db).get(other, "rolled_back") in DONE
                yield Action(kind="rollback" if there else "migrate", migration=other)
                return
            for kind in _AS_IT_WAS[action.kind]:
                yield Action(kind=kind, migration=action.migration)
            return
        for _ in range(self._dice.choice((1, 1, 2))):
            yield self._choose()

    def _choose(self) -> Action:
        """Return something that can be done now, mostly."""
        there, dice = phases(self._db), self._dice
        kinds = ["restore"]
        if self._db["_migrations"].find_one({"_id": "restore"}) and dice.random() < 0.8:
            return Action(kind="restore")  # all else is refused
        migration = dice.choice((ONE, ONE, OTHER))
        phase = there.get(migration, "rolled_back")
        kinds += ["rollback"] * 3 if phase != "rolled_back" else []
        kinds += ["migrate"] * 3 if phase not in (*DONE, "rolling_back") else []
        kinds += ["verify"] * 2 if phase == "applied" else []
        return Action(kind=dice.choice(kinds), migration=migration)

    def _job(self, action: Action) -> Job:
        dice = self._dice
        sort = self._card[1]
        # Before such a command nobody sleeps (see the driver).
        bound = sort != "catalogue" or action.kind == "restore"
        _number, most = _CARDS[action.kind][sort]
        job = Job(
            uri=self._table.servers.uri(),
            database=self._db.name,
            text=DOCUMENTS[action.migration],
            action=action.kind,
            archive=str(self._table.archive) if action.kind == "restore" else "",
            settings={**SETTINGS, "writers_stopped": dice.random() < 0.4},
            sort=sort,
            sleep_at=dice.choice((1, dice.randint(1, most))),
            again=self._again,
            when=dice.choice(("sent", "sent", "sent", "answered")) if bound else "answered",
        )
        nap = " and at the next" if job.again else ""
        self.story.append(f"{action} sleeps at {sort} {job.sleep_at} {job.when}{nap}")
        return job

    def _asleep(self, sleeper: Process) -> bool:
        """Return whether it sleeps, for the last time; it has ended otherwise."""
        last = 1 + self._again
        for nap in range(1, last + 1):
            assert wait_until(partial(_sleeps_or_ended, sleeper, nap), 60, 0.02)
            if _ended(sleeper):
                return False
            if nap < last:  # nobody takes over yet: what it finds is its own lease, which is over
                time.sleep(1.2 * LEASE_SECONDS)
                sleeper.send(signal.SIGCONT)
        return True

    def _left(self) -> Snapshot:
        """Return all that there is, but for what a restore loads under the name of its lease."""
        found = snapshot(self._db, own=True)
        return {name: rows for name, rows in found.items() if not name.startswith(LOADING)}

    def _lease(self) -> dict[str, Any]:
        return self._db["_migrations"].find_one({"_id": "lease"}) or {"token": 0, "expires": None}

    def _token_of(self, sleeper: Process) -> int | None:
        """Return the token of the lease if that process has it."""
        held = self._lease()
        if held["expires"] is None or held["holder"].get("pid") != sleeper.popen.pid:
            return None
        return int(held["token"])

    def _assert_untouched(self, left: Snapshot, outcome: Mapping[str, Any]) -> None:
        """What lost its lease neither wrote anything nor claims that it did."""
        found = differences(left, self._left())
        assert found == [], found[:10]
        claim = outcome.get("result", {})
        run = self._db["_migrations"].find_one({"_id": claim.get("run")})
        if run is not None and claim.get("changed"):
            assert claim["phase"] in [entry["phase"] for entry in run["history"]]


def _sleeps_or_ended(process: Process, naps: int) -> bool:
    """Return whether it is asleep for the time of that number, or gone."""
    fell_asleep = sum("sleeps" in event for event in process.events)
    return _ended(process) or (fell_asleep >= naps and process.sleeps())


def _ended(process: Process) -> bool:
    return process.popen.poll() is not None


def said(outcome: Mapping[str, Any]) -> str:
    """Return what became of a process, in a word."""
    if not outcome:
        return "killed"
    return str(outcome.get("error") or outcome["result"].get("phase", "done"))
