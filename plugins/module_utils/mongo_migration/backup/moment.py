"""When the backup of a migration is taken: while users write, or once they are stopped; and why.

A pure function from what the preflight has found to what the flow does and says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: The run keeps the one from before its first write.
KEPT = "kept"
#: While users write, before the work that is done while they write; or all of it, without a stop.
BEFORE_THE_WORK = "before_the_work"
#: While users write; what they have changed meanwhile is added once they are stopped.
AHEAD = "ahead"
#: All of it once they are stopped.
STOPPED = "stopped"

#: Adding what changed takes about so long, in seconds: a process, a stream, a small archive.
ADDING_SECONDS = 2
_FOUND = {
    "ours": "an earlier run has stopped the writers already",
    "foreign": "somebody else has stopped the writers already",
}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When, and what is said of it.

    ``base`` is an archive that an interrupted command has left: what changed since is added to it.
    ``stopped_seconds`` is about how long writers wait for it, None where nobody knows.
    """

    kind: str
    text: str
    base: str = ""
    stopped_seconds: float | None = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def choose(
    plan: Mapping[str, Any],
    *,
    wanted: str,
    live_first: bool,
    maintenance: bool,
    found: str,
    kept: str,
    external: bool,
    taken: str = "",
) -> Moment:
    """Return when the backup is taken.

    Args:
        plan: what a backup would take, as ``mongo_backup`` says in check mode; empty if it wasn't
            asked.
        wanted: ``auto``, or ``never`` for no backup before writers are stopped.
        live_first: whether the work is done while users write.
        maintenance: whether writers are stopped at all.
        found: whose maintenance mode is on already: ``off``, ``ours`` or ``foreign``.
        kept: the archive that the run relies on; empty if there is none.
        external: whether the organization's own command takes it.
        taken: the archive that this command has taken already, as a release for all of its
            migrations; empty if it has none.
    """
    if kept:
        return Moment(kind=KEPT, text=f"{kept}, from before the first write of the run")
    if taken:
        return Moment(kind=KEPT, text=f"that of this command: {taken}")
    if not maintenance:
        return Moment(kind=BEFORE_THE_WORK, text="taken while users write; nobody is stopped")
    if live_first and found == "off":
        text = "taken while users write, before the work begins"
        return Moment(kind=BEFORE_THE_WORK, text=text)
    if external:
        text = "taken by the organization's own command, with writers stopped"
        return Moment(kind=STOPPED, text=text, stopped_seconds=None)
    return _with_stopped_writers(plan, wanted, found)


def _with_stopped_writers(plan: Mapping[str, Any], wanted: str, found: str) -> Moment:
    """Return how much of an archive has to be taken with stopped writers."""
    ahead = plan.get("ahead")
    lately = (ahead or {}).get("lately") or ""
    why_not = _why_not(ahead, wanted, found)
    if why_not and found == "ours" and lately and wanted == "auto":
        return Moment(
            kind=STOPPED,
            text=f"what changed since {lately}, and that one: {why_not}",
            base=lately,
            stopped_seconds=ADDING_SECONDS,
        )
    if why_not:
        seconds = plan.get("seconds")
        duration = "" if seconds is None else f", for about {max(1, round(seconds)):,} s"
        text = f"taken whole, with writers stopped{duration}: {why_not}"
        return Moment(kind=STOPPED, text=text, stopped_seconds=seconds)
    return Moment(
        kind=AHEAD,
        text=(
            "taken while users write; what they change meanwhile is added once they are stopped, "
            f"in about {ADDING_SECONDS} s"
        ),
        stopped_seconds=ADDING_SECONDS,
    )


def _why_not(ahead: Mapping[str, Any] | None, wanted: str, found: str) -> str:
    if wanted == "never":
        return "the inventory says backup_while_writing: never"
    if found != "off":
        return _FOUND[found]
    if ahead is None:
        return "of many databases, each is backed up so"
    return str(ahead["why_not"] or "")
