"""The rehearsal on a copy of the very data: up, verified, down, compared, and up again.

The newest backup is restored into a scratch database, and the migration runs there as it will run
in earnest. Nobody else knows that database, so everything is compared. It is dropped in the end,
whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from .. import connection
from ..backup import compare, restore, scratch
from ..backup.source import Source
from ..document.collections import STATE, Collections
from ..document.definition import Definition
from ..document.value_sources import Scope
from ..errors import InterruptedRunError, MigrationError
from ..ledger import lease, runs
from ..ledger.batches import Settings
from ..maintenance import mode
from ..operations.registry import foresee
from ..support import commands
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import migrate, plan, rollback, verify

Client = MongoClient[dict[str, Any]]

#: What the name of the copy must hold.
ENDING = "_rehearsal"
# Of the documents that a policy leaves alone, by collection.
_MOST_NAMED = 1000
_COMMAND = "command"


@dataclass(frozen=True, kw_only=True)
class Play:
    """What is rehearsed, where, and by whom.

    Args:
        client: connected to the deployment that holds the copy for a while.
        source: the backup.
        name: the copy's name.
        definition: what is rehearsed.
        earlier: the migrations that *definition* may build on, in their order; those that the
            backup doesn't have yet are applied to the copy first.
        settings: how a run behaves.
        operator: user, host and pid of this process.
        progress: told of every batch.
        stop: asks for the end.
        clock: seconds, for the time of each phase.
    """

    client: Client
    source: Source
    name: str
    definition: Definition
    earlier: Sequence[Definition]
    settings: Settings
    operator: Mapping[str, Any]
    progress: Sink
    stop: StopSignal
    clock: Callable[[], float] = time.monotonic

    @property
    def wanted(self) -> scratch.Wanted:
        """The copy."""
        return scratch.Wanted(
            name=self.name,
            of=self.source.manifest.database,
            ending=ENDING,
            purpose=f"rehearsal of {self.definition.id} on {self.source.path.name}",
            operator=self.operator,
            lease_seconds=self.settings.lease_seconds,
        )


@dataclass
class _Found:
    """What the phases found, also where one of them fails."""

    phases: list[dict[str, Any]] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def look(play: Play, *, elsewhere: bool = False) -> dict[str, Any]:
    """Return what a rehearsal would do; nothing is written.

    Args:
        play: what would be rehearsed.
        elsewhere: on a server that isn't started yet, and not on that of *play*.

    Raises:
        MigrationError: it would be refused before it begins.
    """
    play.wanted.check()
    _refuse_commands(play)
    if not elsewhere:
        scratch.require_free(play.client[play.name], play.wanted)
        restore.check_space(restore.plan(play.client, play.source, _restoring(play)))
    return _facts(play)


def rehearse(play: Play) -> dict[str, Any]:
    """Rehearse, and return each phase with its seconds, each check, and what was left alone.

    Raises:
        MigrationError: a phase failed; the details hold what was found until then.
    """
    began = play.clock()
    _refuse_commands(play)
    found = _Found(facts=_facts(play))
    try:
        with scratch.own(play.client, play.wanted) as copy:
            _rehearse(play, copy, found)
            dropping = play.clock()
        _note(found, "drop the copy", play.clock() - dropping)
    except MigrationError as error:
        raise _failed(play, found, error) from error
    except PyMongoError as error:
        raise _failed(play, found, MigrationError(connection.explain(error))) from error
    return {
        **_result(found),
        "passed": True,
        "elapsed": round(play.clock() - began, 3),
        "seconds": _seconds(found.phases),
        "next": commands.carry_out(play.definition.id, play.definition.name) + " --check",
    }


def _rehearse(play: Play, copy: Database[dict[str, Any]], found: _Found) -> None:
    with _phase(play, found, "restore the copy"):
        restored = restore.restore(
            play.client,
            play.source,
            _restoring(play),
            hold=_holding(play),
            progress=play.progress,
            stop=play.stop,
        )
        found.facts["warnings"] = restored["warnings"]
        # It may have been taken while maintenance mode was on; nobody is kept out of the copy.
        copy[STATE].delete_one({"_id": mode.ID})
    _require_pending(copy, play.definition)
    earlier = _missing(copy, play)
    for one in earlier:
        with _phase(play, found, f"migrate {one.id} first"):
            _migrate(play, one)
            _verify(play, one, "applied", found, "up")
    with _phase(play, found, "migrate"):
        run = _migrate(play, play.definition)
    found.facts |= {
        "run": run["run"],
        "plan": run["plan"],
        "counts": {key: run[key] for key in ("matched", "modified", "inserted", "deleted")},
        "left_alone": _left_alone(play, copy, run["plan"]),
    }
    with _phase(play, found, "verify"):
        _verify(play, play.definition, "applied", found, "up")
    with _phase(play, found, "roll back"):
        _roll_back(play, play.definition)
    with _phase(play, found, "verify the rollback"):
        _verify(play, play.definition, "rolled_back", found, "down")
    for one in reversed(earlier):
        with _phase(play, found, f"roll back {one.id}"):
            _roll_back(play, one)
    with _phase(play, found, "compare with the backup"):
        _compare(play, copy, found)
    for one in earlier:
        with _phase(play, found, f"migrate {one.id} again"):
            _migrate(play, one)
    with _phase(play, found, "migrate again"):
        _migrate(play, play.definition)
    with _phase(play, found, "verify again"):
        _verify(play, play.definition, "applied", found, "up")


# -- the phases ------------------------------------------------------------------------------


def _migrate(play: Play, definition: Definition) -> dict[str, Any]:
    # As it will be in earnest: with the writers stopped, or beside them, batch by batch.
    settings = replace(play.settings, frozen=definition.downtime != "none")
    return migrate.migrate(
        client=play.client,
        database=play.name,
        definition=definition,
        settings=settings,
        change={},
        operator=play.operator,
        progress=play.progress,
        stop=play.stop,
    )


def _roll_back(play: Play, definition: Definition) -> None:
    outcome = rollback.roll_back(
        client=play.client,
        database=play.name,
        migration=definition.id,
        definition=definition,
        settings=play.settings,
        change={},
        operator=play.operator,
        progress=play.progress,
        stop=play.stop,
    )
    if conflicts := outcome["conflict_count"]:
        raise MigrationError(
            f"the rollback left {conflicts:,} documents alone, which nobody but the migration "
            "wrote to",
            conflicts=outcome["conflicts"],
        )


def _verify(play: Play, definition: Definition, expect: str, found: _Found, direction: str) -> None:
    verdict = verify.verify(
        client=play.client,
        database=play.name,
        definition=definition,
        expect=expect,
        operator=play.operator,
        lease_seconds=play.settings.lease_seconds,
        alone=True,
    )
    if definition is play.definition:
        found.turns.append(
            {"direction": direction, "passed": verdict["passed"], "checks": verdict["checks"]}
        )
    if not verdict["passed"]:
        failed = [check for check in verdict["checks"] if check["status"] == "failed"]
        told = "; ".join(
            f"{check['name']}: expected {check['expected']}, found {check['observed']}"
            for check in failed
        )
        raise MigrationError(f"{len(failed)} checks fail: {told}")


def _compare(play: Play, copy: Database[dict[str, Any]], found: _Found) -> None:
    """Require that the copy is, byte by byte, what the backup holds."""
    compared = list(compare.each(copy, play.source))
    problems = [text for one in compared for text in one.problems]
    found.facts["compared"] = {
        "collections": len(compared),
        "documents": sum(one.documents for one in compared),
        "problems": problems,
        "notes": [one.note for one in compared if one.note],
    }
    if problems:
        raise MigrationError(f"the rolled back copy isn't what the backup holds: {problems[0]}")


def _left_alone(
    play: Play, copy: Database[dict[str, Any]], planned: Mapping[str, Any]
) -> list[dict[str, Any]]:
    there = Collections(copy, play.definition.collections)
    foresee(there, play.definition.steps)
    scope = Scope(
        collections=there, now=planned["now"], planned={}, comment="migration-playbooks rehearsal"
    )
    return [
        {**item, "step": step.index}
        for step, operation in plan.active(play.definition, scope, planned["before"])
        for item in operation.left_alone(_MOST_NAMED)
    ]


# -- what is refused -------------------------------------------------------------------------


def _refuse_commands(play: Play) -> None:
    """A foreign program knows its database by itself: it would run on the one in earnest."""
    for definition in (play.definition, *play.earlier):
        found = [step for step in definition.steps if step.kind == _COMMAND]
        if found and (definition is play.definition or definition.id in play.definition.after):
            raise MigrationError(
                f"{definition.source}, steps[{found[0].index}] runs a command, which knows its "
                "database by itself: on a copy it would still write to the one in earnest. "
                "Rehearse such a migration on another deployment. Nothing was written."
            )


def _require_pending(copy: Database[dict[str, Any]], definition: Definition) -> None:
    run = runs.latest(copy, definition.id)
    if run is None or run["phase"] in ("planned", runs.ROLLED_BACK):
        return
    if definition.is_repair and run["phase"] == "verified":
        return
    raise MigrationError(
        f"in the backup, migration {definition.id} is {run['phase']} already (run {run['_id']}): "
        "there is nothing to rehearse. Name a backup from before it with -e archive=PATH"
    )


def _missing(copy: Database[dict[str, Any]], play: Play) -> list[Definition]:
    """Return the earlier migrations that the copy lacks, those that they build on first."""
    known = {one.id: one for one in play.earlier}
    found: dict[str, Definition] = {}

    def need(definition: Definition) -> None:
        for id_ in definition.after:
            if id_ in definition.assume_applied or runs.is_applied(copy, id_):
                continue
            if id_ in known and id_ not in found:
                need(known[id_])
                found[id_] = known[id_]

    need(play.definition)
    return list(found.values())


# -- words and numbers -----------------------------------------------------------------------


@contextmanager
def _phase(play: Play, found: _Found, name: str) -> Iterator[None]:
    play.stop.check()
    began = play.clock()
    try:
        yield
    finally:
        _note(found, name, play.clock() - began)


def _note(found: _Found, name: str, seconds: float) -> None:
    found.phases.append({"phase": name, "seconds": round(seconds, 3)})


def _seconds(phases: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what a plan says of the run in earnest, from the longer one of both runs."""
    of = {one["phase"]: one["seconds"] for one in phases}
    return {
        "migrate": max(of["migrate"], of["migrate again"]),
        "verify": max(of["verify"], of["verify again"]),
        "roll_back": of["roll back"],
        "verify_rollback": of["verify the rollback"],
    }


def _facts(play: Play) -> dict[str, Any]:
    manifest, server = play.source.manifest, connection.inspect(play.client)
    return {
        "migration": play.definition.id,
        "name": play.definition.name,
        "digest": play.definition.digest,
        "variables": play.definition.variables,
        "archive": str(play.source.path),
        "archive_digest": play.source.digest,
        "snapshot_time": manifest.snapshot_time or manifest.started,
        "consistent": manifest.consistent,
        "database": manifest.database,
        "copy": play.name,
        "server": server.as_dict(),
        "documents": manifest.documents,
        "bytes": manifest.size,
    }


def _result(found: _Found) -> dict[str, Any]:
    return {"changed": False, **found.facts, "phases": found.phases, "turns": found.turns}


def _failed(play: Play, found: _Found, error: MigrationError) -> MigrationError:
    """Return *error* as one of the rehearsal: nothing in earnest is to be resumed or undone."""
    phase = found.phases[-1]["phase"] if found.phases else "begin"
    # What a run says of its resuming is true of runs in earnest alone.
    said = error.message.partition("\nRun ")[0].rstrip(".")
    kept: dict[str, Any] = {
        key: error.details[key] for key in ("problems", "plan", "conflicts") if key in error.details
    }
    # The commands that a plan suggests are about the data in earnest, which are the same.
    further = (kept.get("plan") or {}).get("next", [])
    ended = "was stopped" if isinstance(error, InterruptedRunError) else "failed"
    return type(error)(
        f"The rehearsal of {play.definition.id} {ended} ({phase}): {said}.\nNothing was written to "
        f"{play.source.manifest.database}; the copy is dropped.",
        **{
            **_result(found),
            **kept,
            "passed": False,
            **({"next": further[0]} if further else {}),
        },
    )


def _restoring(play: Play) -> restore.Settings:
    return restore.Settings(
        database=play.name,
        source_database=play.source.manifest.database,
        confirm=play.name,
        keep_state=False,
        retry_seconds=play.settings.retry_seconds,
    )


def _holding(play: Play) -> Any:
    return lambda there: lease.hold(
        there,
        purpose=play.wanted.purpose,
        holder=dict(play.operator),
        seconds=play.settings.lease_seconds,
    )
