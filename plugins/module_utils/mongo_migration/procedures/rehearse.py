"""The rehearsal on a copy of the very data: up, verified, down, compared, and up again.

The newest backup is restored into a scratch database, and the migration runs there as it will run
in earnest. Nobody else knows that database, so everything is compared. It is dropped in the end,
whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from ..backup import restore, scratch
from ..backup.source import Source
from ..document.collections import STATE
from ..document.definition import Definition
from ..errors import InterruptedRunError, MigrationError
from ..ledger import lease, runs
from ..maintenance import mode
from ..server import connection
from ..support import commands
from . import rehearsal_turns as turns
from .work import Job

#: What the name of the copy must hold.
ENDING = scratch.REHEARSAL
_COMMAND = "command"
_COUNTS = ("matched", "modified", "inserted", "deleted")


@dataclass(frozen=True, kw_only=True)
class Play:
    """What is rehearsed, and where.

    Args:
        job: what to work with; its client is of the deployment that holds the copy for a while,
            and its database is the copy.
        source: the backup.
        definition: what is rehearsed.
        repairs: are made on the copy before anything else, in their order.
        earlier: the migrations that *definition* may build on; those that the backup doesn't have
            yet are applied to the copy first.
        clock: seconds, for the time of each phase.
    """

    job: Job
    source: Source
    definition: Definition
    repairs: Sequence[Definition] = ()
    earlier: Sequence[Definition] = ()
    clock: Callable[[], float] = time.monotonic

    @property
    def wanted(self) -> scratch.Wanted:
        """The copy."""
        return scratch.Wanted(
            name=self.job.database,
            of=self.source.manifest.database,
            ending=ENDING,
            purpose=f"rehearsal of {self.definition.id} on {self.source.path.name}",
            operator=self.job.operator,
            lease_seconds=self.job.settings.lease_seconds,
        )


@dataclass
class _Found:
    """What the phases found, also where one of them fails."""

    phases: list[dict[str, Any]] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    copy: scratch.Own | None = None

    @property
    def left(self) -> list[str]:
        """The copy, if it is still there."""
        return [self.copy.database.name] if self.copy and self.copy.left else []


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
        scratch.require_free(play.job.db, play.wanted)
        restore.check_space(restore.plan(play.job.client, play.source, _restoring(play)))
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
        with scratch.own(play.job.client, play.wanted) as found.copy:
            _rehearse(play, found.copy.database, found)
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
    job, definition = play.job, play.definition
    with _phase(play, found, "restore the copy"):
        _restore(play, copy, found)
    _require_pending(copy, definition)
    first = _go_before(play, copy, found)
    with _phase(play, found, "migrate"):
        run = turns.up(job, definition)
    found.facts |= {
        "run": run["run"],
        "plan": run["plan"],
        "counts": {key: run[key] for key in _COUNTS},
    }
    with _phase(play, found, "verify"):
        _verify(play, "up", found)
    with _phase(play, found, "roll back"):
        turns.down(job, definition)
    with _phase(play, found, "verify the rollback"):
        _verify(play, "down", found)
    for one, its_run in reversed(first):
        with _phase(play, found, f"roll back {_called(one)}"):
            turns.down(job, one, its_run)
    with _phase(play, found, "compare with the backup"):
        found.facts["compared"] = turns.compared(copy, play.source)
        turns.require_equal(found.facts["compared"])
    for one, _run in first:
        with _phase(play, found, f"{_verb(one)} again"):
            turns.up(job, one)
    with _phase(play, found, "migrate again"):
        turns.up(job, definition)
    with _phase(play, found, "verify again"):
        _verify(play, "up", found)


def _go_before(
    play: Play, copy: Database[dict[str, Any]], found: _Found
) -> list[tuple[Definition, str]]:
    """Make the repairs, and what the document builds on; return each with its run.

    A repair for which there was nothing to do has none.
    """
    done = []
    for one in [*play.repairs, *_missing(copy, play)]:
        with _phase(play, found, f"{_verb(one)} first"):
            result = turns.up(play.job, one)
            if result["changed"]:
                turns.verified(play.job, one, "applied")
                done.append((one, str(result["run"])))
        for told in found.facts["repairs"]:
            if told["id"] == one.id and result["changed"]:
                told["counts"] = {key: result[key] for key in _COUNTS}
    return done


def _restore(play: Play, copy: Database[dict[str, Any]], found: _Found) -> None:
    job = play.job
    restored = restore.restore(
        job.client,
        play.source,
        _restoring(play),
        hold=lambda there: lease.hold(
            there,
            purpose=play.wanted.purpose,
            holder=dict(job.operator),
            seconds=job.settings.lease_seconds,
        ),
        progress=job.progress,
        stop=job.stop,
    )
    found.facts["warnings"] = restored["warnings"]
    # It may have been taken while maintenance mode was on; nobody is kept out of the copy.
    copy[STATE].delete_one({"_id": mode.ID})


def _verify(play: Play, direction: str, found: _Found) -> None:
    expect = "rolled_back" if direction == "down" else "applied"
    verdict = turns.checked(play.job, play.definition, expect)
    if direction == "up":
        found.facts["left_alone"] = verdict["left_alone"]
    found.turns.append(
        {"direction": direction, "passed": verdict["passed"], "checks": verdict["checks"]}
    )
    turns.require_passed(verdict)


# -- what is refused -------------------------------------------------------------------------


def _refuse_commands(play: Play) -> None:
    """A foreign program knows its database by itself: it would run on the one in earnest."""
    for definition in (play.definition, *play.repairs, *play.earlier):
        found = [step for step in definition.steps if step.kind == _COMMAND]
        if found and (definition.id in play.definition.after or definition not in play.earlier):
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


def _called(definition: Definition) -> str:
    return f"repair={_repair_name(definition)}" if definition.is_repair else definition.id


def _verb(definition: Definition) -> str:
    return _called(definition) if definition.is_repair else f"migrate {definition.id}"


def _repair_name(definition: Definition) -> str:
    return definition.name.replace("-", "_")


def _told(repair: Definition) -> dict[str, Any]:
    """Return what the evidence says of a repair: the gate asks whether it was made in earnest."""
    return {
        "id": repair.id,
        "repair": _repair_name(repair),
        "digest": repair.digest,
        "variables": repair.variables,
    }


# -- words and numbers -----------------------------------------------------------------------


@contextmanager
def _phase(play: Play, found: _Found, name: str) -> Iterator[None]:
    play.job.stop.check()
    began = play.clock()
    try:
        yield
    finally:
        _note(found, name, play.clock() - began)


def _note(found: _Found, name: str, seconds: float) -> None:
    found.phases.append({"phase": name, "seconds": round(seconds, 3)})


def _seconds(phases: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what a plan says of the run in earnest: the longer one of both runs."""
    of = {one["phase"]: one["seconds"] for one in phases}
    return {
        "migrate": max(of["migrate"], of["migrate again"]),
        "verify": max(of["verify"], of["verify again"]),
        "roll_back": of["roll back"],
        "verify_rollback": of["verify the rollback"],
    }


def _facts(play: Play) -> dict[str, Any]:
    manifest, server = play.source.manifest, connection.inspect(play.job.client)
    return {
        "migration": play.definition.id,
        "name": play.definition.name,
        "digest": play.definition.digest,
        "variables": play.definition.variables,
        "repairs": [_told(one) for one in play.repairs],
        "archive": str(play.source.path),
        "archive_digest": play.source.digest,
        "snapshot_time": manifest.snapshot_time or manifest.started,
        "consistent": manifest.consistent,
        "database": manifest.database,
        "copy": play.job.database,
        "server": server.as_dict(),
        "documents": manifest.documents,
        "bytes": manifest.size,
    }


def _result(found: _Found) -> dict[str, Any]:
    told = {"left": found.left, "phases": found.phases, "turns": found.turns}
    return {"changed": False, **found.facts, **told}


def _failed(play: Play, found: _Found, error: MigrationError) -> MigrationError:
    """Return *error* as one of the rehearsal: nothing in earnest is to be resumed or undone."""
    phase = found.phases[-1]["phase"] if found.phases else "begin"
    # What a run says of its resuming is true of runs in earnest alone.
    said = error.message.partition("\nRun ")[0].rstrip(".")
    kept: dict[str, Any] = {
        key: error.details[key] for key in ("problems", "plan", "conflicts") if key in error.details
    }
    # The commands that a plan suggests are about the data in earnest, which are the same.
    further = _further(play, kept.get("plan") or {})
    ended = "was stopped" if isinstance(error, InterruptedRunError) else "failed"
    copy = "the copy is dropped" if found.copy and not found.left else "no copy was made"
    if found.left:
        copy = (
            f"the copy {found.left[0]} couldn't be dropped: the next rehearsal removes it, or "
            f"{scratch.REMOVE}"
        )
    return type(error)(
        f"The rehearsal of {play.definition.id} {ended} ({phase}): {said}.\nNothing was written to "
        f"{play.source.manifest.database}; {copy}.",
        **{
            **_result(found),
            **kept,
            "passed": False,
            **({"next": further} if further else {}),
        },
    )


def _further(play: Play, plan: Mapping[str, Any]) -> str:
    """Return what gets further than a plan that refuses: first the repairs that it names."""
    tried = [_repair_name(one) for one in play.repairs]
    new = [name for name in plan.get("repairs", ()) if name not in tried]
    if new and plan.get("migration") == play.definition.id:
        names = ",".join([*tried, *new])
        return commands.command("rehearse", migration=play.definition.id, repair=names)
    return str(next(iter(plan.get("next", ())), ""))


def _restoring(play: Play) -> restore.Settings:
    return restore.Settings(
        database=play.job.database,
        source_database=play.source.manifest.database,
        confirm=play.job.database,
        keep_state=False,
        retry_seconds=play.job.settings.retry_seconds,
    )
