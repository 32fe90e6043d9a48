"""``command``: an existing migrator, such as ``npm run migrate:up``, inside our procedure.

What a foreign program writes isn't journalled, and nothing here claims that it is. What the
procedure around it gives all the same: gate, backup, maintenance, the true exit code, the output
without secrets, pre- and postconditions, proof that other collections are as they were, evidence.

A command that was begun is never silently begun again: whether that is harmless, the document alone
can say (``rerun``).
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pymongo.database import Database
from pymongo.errors import PyMongoError

from ..document.collections import Collections
from ..document.definition import Step
from ..document.value_sources import Scope
from ..errors import InterruptedRunError, LeaseLostError, MigrationError
from ..ledger import runs, shapes
from ..ledger.batches import Writer
from ..ledger.journal import Entry
from ..ledger.run_shape import OUTCOME
from ..ledger.shapes import Shape
from ..support import commands, processes, retry
from .base import Check, Operation, Plan, Row, Touched, amounts, problem
from .entries import EntryKind, Remaining, Revert

KIND = "command"


class Command(Operation):
    """See the module. Options are those of the schema's ``command``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        self._options: dict[str, Any] = step.options
        self._line = processes.line(step.options["argv"])
        # They may be made by the command itself.
        self._writes = [
            scope.collections.target(name).name
            for name in step.options["writes"]
            if not scope.collections.absent(name)
        ]

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections that it writes to."""
        return set(options["writes"])

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collections that a command may write anything to, known by name alone."""
        there = [
            Touched(collection=names.real_name(name), command=True)
            for name in step.options["writes"]
            if not names.absent(name)
        ]
        return there or [Touched(collection="", command=True)]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return what would be run, and what would undo it."""
        lines = []
        for row in rows:
            lines += [
                f"Runs     {row['command']} (at most {row['timeout_seconds']} s; writes to "
                f"{row['real_name']})",
                f"Undo     {row['down'] or 'none: only a restore of the backup'}",
            ]
        return lines

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return whether it is run."""
        return [f"command not run: {row['command']}"], [f"command run: {row['command']}"]

    def plan(self) -> Plan:
        """Say what would be run, and that it can't be undone exactly."""
        plan = Plan()
        down = self._options.get("down")
        back = (
            f"A rollback runs `{processes.line(down)}`, and is as good as that."
            if down
            else "A rollback can't undo it: the way back is a restore of the backup."
        )
        plan.warnings.append(f"`{self._line}`: what it writes isn't journalled. {back}")
        for what, fix in self._missing():
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=", ".join(self._options["writes"]),
                    what=what,
                    count=1,
                    samples=[],
                    policy="a command must be there before the window begins",
                    fix=fix,
                )
            )
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": ", ".join(self._options["writes"]),
                "real_name": ", ".join(self._writes),
                "documents": 0,
                "candidates": 0,
                "command": self._line,
                "down": processes.line(down) if down else None,
                "timeout_seconds": self._options["timeout_seconds"],
                "foreign": self._writes,
                "amounts": amounts(),
            }
        )
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Run it once, and keep how it ended."""
        here = {"step": self._step.index, "started": True}
        if position.get("ended"):
            return
        environment = environment_of(self._options, writer.settings.secrets)
        if not position.get("started"):
            entry = {
                "kind": KIND,
                "step": self._step.index,
                "collection": self._writes[0] if self._writes else "",
                "lines": _lines(self._options),
                "host": socket.gethostname(),
            }
            writer.commit(entry, lambda _session: {}, position=here)
        elif not self._options.get("rerun"):
            raise MigrationError(
                f"`{self._line}` was begun by an earlier attempt and {_ended(writer, 'outcome')}. "
                "It is not run again, since the document doesn't say that this is harmless "
                "(rerun: true). See with its own tools how far it came, then roll back: "
                + (
                    f"that runs `{processes.line(self._options['down'])}`."
                    if "down" in self._options
                    else "it has no `down`, so that means to restore the backup."
                )
            )
        outcome = run(
            writer,
            self._options["argv"],
            self._options,
            environment,
            entry={"seq": writer.seq, "step": self._step.index},
            key="outcome",
        )
        if outcome["exit_code"] != 0:
            raise MigrationError(_failure(self._line, outcome), command=outcome)
        writer.move({**here, "ended": True})

    def check(self) -> Iterator[Check]:
        """Nothing but the document's postconditions can tell what a foreign program did."""
        yield from ()

    def _missing(self) -> Iterator[tuple[str, str]]:
        cwd = self._options.get("cwd", "/")
        if not Path(cwd).is_dir():
            yield f"the folder {cwd} doesn't exist on this host", "correct cwd"
        for argv in (self._options["argv"], self._options.get("down")):
            if argv and not _found(argv, cwd, self._options.get("env", {})):
                yield f"there is no program '{argv[0]}' on this host", "install it, or correct argv"


def environment_of(options: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command.

    Raises:
        MigrationError: a secret that it asks for wasn't given.
    """
    wanted = options.get("secrets", ())
    if missing := [name for name in wanted if name not in secrets]:
        raise MigrationError(
            f"`{processes.line(options['argv'])}` asks for {', '.join(missing)}, which the "
            "inventory doesn't give: put it into migration_secrets (from the vault). Nothing was "
            "run."
        )
    own = processes.base_environment()
    return {**own, **options.get("env", {}), **{name: secrets[name] for name in wanted}}


def run(
    writer: Writer,
    argv: Sequence[str],
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    entry: Mapping[str, Any],
    key: str,
) -> dict[str, Any]:
    """Run *argv* and keep its outcome in the journal and in the run document.

    Raises:
        InterruptedRunError, LeaseLostError: it was ended because the run has to end.
    """
    line = processes.line(argv)
    secrets = [environment[name] for name in options.get("secrets", ())]

    def watch(last: str) -> None:
        writer.meter.report(collection=line, detail=last, unit="")
        try:
            writer.check_control()
        except PyMongoError as error:
            if not retry.is_retryable(error):
                raise
            # A failover is not a reason to end somebody else's program; the lease alone is.

    ended: Exception | None = None
    try:
        outcome = processes.run(
            argv,
            cwd=options.get("cwd", "/"),
            environment=environment,
            timeout_seconds=options["timeout_seconds"],
            secrets=secrets,
            watch=watch,
        )
    except processes.EndedError as error:
        outcome, ended = error.outcome, error.reason
    if isinstance(ended, LeaseLostError):
        raise ended  # the run is another process's now: nothing of it is ours to write
    _keep(writer, entry, key, outcome)
    if isinstance(ended, InterruptedRunError):
        raise InterruptedRunError(f"{ended.message}. `{line}` was ended with it.") from ended
    if ended is not None:
        raise ended
    return outcome


def _keep(writer: Writer, entry: Mapping[str, Any], key: str, outcome: dict[str, Any]) -> None:
    def attempt() -> None:
        writer.journal.amend(entry["seq"], **{key: outcome})
        writer.run.keep(**{f"commands.{entry['step']}.{key}": outcome})

    retry.retry_until_deadline(
        attempt,
        progressed=lambda: 0,
        recover=lambda: None,
        seconds=writer.settings.retry_seconds,
        stop=type(writer.stop)(),  # what is known of the command is kept also by a run that ends
        waiting=lambda reason: writer.meter.report(waiting=reason),
    )


class RanCommand(EntryKind):
    """A command was run. What undoes it stands in the migration document and nowhere else."""

    kind = KIND
    # What was run, in words: for people, and never run by it.
    shape: ClassVar[Shape] = {
        "lines": shapes.optional(shapes.mapped(str)),
        "command": shapes.optional(
            shapes.shaped({"argv": shapes.texts, "down": shapes.optional(shapes.texts)})
        ),
        "outcome": shapes.optional(shapes.shaped(OUTCOME)),
        "down_outcome": shapes.optional(shapes.shaped(OUTCOME)),
    }
    needs_document = True

    def differs(self, entry: Entry, step: Step) -> str:
        """Return what it names that the step doesn't run: people decide by what they read."""
        ours = _lines(step.options)
        for which in ("argv", "down"):
            if _line(entry, which) != ours.get(which, ""):
                return f"`{_line(entry, which)}`, where the document has `{ours.get(which, '')}`"
        return ""

    def touched(self, entry: Entry) -> Touched:
        """Return that a command did it."""
        return Touched(collection=entry["collection"], command=True)

    def ids(self, entry: Entry) -> list[Any]:
        """Nobody knows what it wrote."""
        del entry
        return []

    def preview(self, entry: Entry) -> dict[str, Any]:
        """Return what would be run, in words."""
        line, down = _line(entry), _line(entry, "down")
        said = (
            f"`{line}` is undone by `{down}`, and as well as that does"
            if down
            else f"`{line}` can't be undone: it has no down; restore the backup"
        )
        return {"commands": [said]}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """A command is started only after the checkpoint of its entry: this one wasn't begun."""
        writer.journal.void(entry)
        return {}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return that it can't be told."""
        del database
        return Remaining(
            what=f"nothing is left of `{_line(entry)}`",
            unknown="no journal knows what it wrote; the digests, where there are any, do",
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Run the command that undoes this one, if there is one; say what else is to be done."""
        if step is None:
            raise AssertionError("an entry of a command is undone by its step")
        options = step.options
        line = processes.line(options["argv"])
        restore = commands.restore_named(writer.run.document.get("backup"))
        if "down" not in options:
            raise MigrationError(
                f"`{line}` was run ({_said(entry.get('outcome'))}) and has no `down`: no rollback "
                f"can undo it, only a restore of the backup from before it can. {restore}"
            )
        undone = Revert(writer, entry, "restored")
        down = processes.line(options["down"])
        if entry.get("down_began") and not options.get("rerun") and on_conflict != "restore":
            raise MigrationError(
                f"`{down}` was begun by an earlier rollback and "
                f"{_said(entry.get('down_outcome'))}. It is not run again by itself, since the "
                "document doesn't say that this is harmless. See with its own tools how far it "
                f"came; then either run it again (on_conflict restore) or restore the backup. "
                f"{restore}"
            )
        environment = environment_of(options, writer.settings.secrets)
        writer.lease.check()
        writer.journal.amend(entry["seq"], down_began=runs.server_now(writer.database))
        outcome = run(
            writer, options["down"], options, environment, entry=entry, key="down_outcome"
        )
        if outcome["exit_code"] != 0:
            raise MigrationError(_failure(down, outcome), command=outcome)
        undone.commit(lambda _session: None)


def _lines(options: Mapping[str, Any]) -> dict[str, str]:
    """Return what is run, and what undoes it, for people."""
    return {which: processes.line(options[which]) for which in ("argv", "down") if which in options}


def _line(entry: Entry, which: str = "argv") -> str:
    """Return what was run, or undoes it, for people; an entry of 1.0 holds it in parts."""
    if entry.get("lines"):
        return str(entry["lines"].get(which, ""))
    argv = (entry.get("command") or {}).get(which)
    return processes.line(argv) if argv else ""


def _ended(writer: Writer, key: str) -> str:
    entries = list(writer.journal.entries(seq=writer.seq))
    return _said(entries[0].get(key) if entries else None)


def _said(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "how it ended isn't known"
    if outcome["exit_code"] is None:
        return f"was ended after {outcome['seconds']:.0f} s"
    return f"ended with exit code {outcome['exit_code']}"


def _failure(line: str, outcome: Mapping[str, Any]) -> str:
    how = (
        f"took longer than its {outcome['timeout_seconds']} s and was ended"
        if outcome["exit_code"] is None
        else f"failed with exit code {outcome['exit_code']}"
    )
    tail = "\n".join(outcome["output"].splitlines()[-5:])
    return f"`{line}` {how}. Last lines of its output:\n{tail or '(none)'}"


def _found(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> bool:
    path = env.get("PATH") or processes.base_environment().get("PATH")
    program = argv[0]
    if "/" in program:
        return shutil.which(str(Path(cwd) / program)) is not None
    return shutil.which(program, path=path) is not None
