"""One application host goes into maintenance mode or out of it: flag, restart, health, a write.

Nothing is raised: what went wrong is a finding, because one unhealthy host must not keep the
others from their restart, and whoever switches judges all of them together.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .calls import Request
from .flags import OFF, ON, UNKNOWN, Call, Flag, FlagError

_LOOK_SECONDS = 0.1
_HEALTH_SECONDS = 5.0
# An application that was told without a restart may still be about to read its flag.
_TRIES, _AGAIN_SECONDS = 3, 0.5
_LONGEST_WORD = 200


@dataclass(frozen=True)
class Restart:
    """The command that makes the application read its flag.

    Args:
        command: None where it needs none.
        folder: where it runs.
        always: also where the flag was right already.
        seconds: how long it may take.
    """

    command: str | None = None
    folder: str | None = None
    always: bool = False
    seconds: float = 120.0


@dataclass(frozen=True)
class Health:
    """A request that says whether the application is well.

    Args:
        url: None where there is none to ask.
        status: the codes that are well.
        seconds: how long it may take until it is.
    """

    url: str | None = None
    status: tuple[int, ...] = (200,)
    seconds: float = 120.0


@dataclass(frozen=True)
class Write:
    """A write whose answer is right with one of these codes."""

    request: Request
    status: tuple[int, ...]


@dataclass
class Outcome:
    """What became of one host."""

    told: bool = False
    changed: bool = False
    restarted: bool = False
    says: str = UNKNOWN
    # Whether a write was answered as it should be; None where none was tried.
    answered: bool | None = None
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Wanted:
    """What a host is to be told, and how it is seen that it has understood.

    Args:
        flag: how it is told; None where the flag was set elsewhere.
        on: what it is told.
        changed: whether the flag that was set elsewhere changed.
        restart: how it comes to read its flag.
        health: how it says that it is well.
        write: a write to try afterwards.
    """

    flag: Flag | None
    on: bool
    changed: bool = False
    restart: Restart = Restart()
    health: Health = Health()
    write: Write | None = None

    @property
    def restarts(self) -> bool:
        """Whether there is something to restart at all."""
        return bool(self.restart.command)


def switch(
    wanted: Wanted,
    *,
    check: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Tell the application, and see that it has understood.

    Args:
        wanted: what is to be.
        check: change nothing, and say what would be.
        sleep: how to wait.
        clock: in seconds.
    """
    began, found = clock(), Outcome()
    flag = wanted.flag
    try:
        found.changed = flag.tell(wanted.on, check=check) if flag else wanted.changed
        found.told = True
    except (FlagError, OSError) as error:
        found.problems.append(f"did not take the flag: {_short(error)}")
    if found.told:
        found.restarted = wanted.restarts and (wanted.restart.always or found.changed)
    if found.told and not check:
        _see(found, wanted, sleep, clock)
    found.seconds = round(clock() - began, 3)
    return found


def _see(
    found: Outcome,
    wanted: Wanted,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    """Restart where that is needed, and look whether the application has understood."""
    word, flag = ON if wanted.on else OFF, wanted.flag
    if flag is not None:
        found.says = flag.says()
        if isinstance(flag, Call) and flag.can_be_asked and found.says != word:
            found.problems.append(f"was told, but does not say that maintenance mode is {word}")
    if found.restarted and (problem := _run(wanted.restart)):
        found.restarted = False
        found.problems.append(f"did not restart: {problem}")
    if wanted.health.url and (problem := _wait(wanted.health, sleep, clock)):
        found.problems.append(problem)
    if wanted.write is not None:
        found.answered = _try(found, wanted.write, sleep)


def _run(restart: Restart) -> str:
    """Run the command; return what is wrong."""
    try:
        done = subprocess.run(
            shlex.split(restart.command or ""),
            cwd=restart.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=restart.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its command takes longer than {restart.seconds:g} s"
    except (OSError, ValueError) as error:
        return _short(error)
    if done.returncode == 0:
        return ""
    said = done.stdout.decode(errors="replace").strip().splitlines()
    return f"its command ended with {done.returncode}" + (f", {_short(said[-1])}" if said else "")


def _wait(health: Health, sleep: Callable[[float], None], clock: Callable[[], float]) -> str:
    """Wait until the application is well; return what is wrong."""
    end = clock() + health.seconds
    while True:
        answer = Request(url=health.url or "", seconds=_HEALTH_SECONDS).send()
        if answer.status in health.status:
            return ""
        if clock() >= end:
            return "is not healthy" if answer.status else "does not answer"
        sleep(_LOOK_SECONDS)


def _try(found: Outcome, write: Write, sleep: Callable[[float], None]) -> bool:
    """Send the write; return whether its answer is the right one."""
    for number in range(_TRIES):
        sleep(_AGAIN_SECONDS if number else 0)
        answer = write.request.send()
        if answer.status in write.status:
            return True
    found.problems.append(f"answers a write with {answer.status or 'nothing'}")
    return False


def _short(said: object) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= _LONGEST_WORD else text[: _LONGEST_WORD - 1] + "…"


def write_of(given: Mapping[str, Any] | None) -> Write | None:
    """Return the write that an inventory describes, if it does."""
    if not given:
        return None
    request = Request(
        url=given["url"],
        method=given.get("method") or "POST",
        headers=given.get("headers") or {},
        body=given.get("body") if given.get("body") is not None else {},
    )
    return Write(request, tuple(given["status"]))
