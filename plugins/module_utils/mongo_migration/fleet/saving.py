"""A backup of each database, in a folder of its own; who needs none, keeps what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backup import belief, create, drill, store
from ..errors import ArchiveError
from ..ledger import partial_restore, runs
from . import outcomes
from .fleet import Client, Fleet, result
from .lanes import Lane
from .outcomes import Outcome, Tally

_MARGIN = 64 << 20
_UNFINISHED = (*runs.UNFINISHED, "applied")


def take(
    client: Client,
    fleet: Fleet,
    settings: create.Settings,
    params: Mapping[str, Any],
    *,
    check_mode: bool,
) -> dict[str, Any]:
    """Back each database up, or say what that would take.

    Args:
        client: of the deployment.
        fleet: which.
        settings: how.
        params: of the module: ``migration`` and ``verification`` count.
        check_mode: only say it.
    """
    if check_mode:
        return plan(client, fleet, settings)
    drilled = params["verification"] == "drill"
    return save(fleet, settings, migration=params["migration"], drilled=drilled)


def plan(client: Client, fleet: Fleet, settings: create.Settings) -> dict[str, Any]:
    """Return about what all backups together would take; nothing stays written.

    About: by what the server says that its files take, with their indexes. Each database is
    measured exactly before its own archive is begun.

    Raises:
        ArchiveError: no backup could be written to the folder.
    """
    place = store.Store(settings.folder)
    linkless = place.try_out()
    listed = client.admin.command({"listDatabases": 1, "authorizedDatabases": True})["databases"]
    wanted = set(fleet.this_time)
    size = sum(int(each.get("sizeOnDisk", 0)) for each in listed if each["name"] in wanted)
    needed = size * (2 if settings.lock else 1) + _MARGIN
    free = place.free()
    return {
        "changed": True,
        "fleet": {"databases": len(fleet.names)},
        "plan": {
            "database": f"{len(wanted):,} databases",
            "folder": str(settings.folder),
            "archive_bytes": size,
            "free_bytes": free,
            "needed_bytes": needed,
            "fits": free > needed,
            "encrypted": bool(settings.lock),
            "warnings": [linkless] if linkless else [],
        },
    }


def save(
    fleet: Fleet, settings: create.Settings, *, migration: str | None, drilled: bool
) -> dict[str, Any]:
    """Back each database up; ends at the first that can't be, or after so many as the fleet allows.

    Args:
        fleet: which.
        settings: how; each gets a folder of its name in the folder of these.
        migration: for which: databases where it is done need none, and a run that has begun keeps
            its own, where that can be relied on. None backs all of them up.
        drilled: whether each archive is restored and compared.

    Raises:
        ArchiveError: too many can't be backed up; nothing was written to the data.
    """
    tally = Tally()

    def work(lane: Lane, name: str) -> Outcome:
        return _save(lane, name, settings, migration, drilled=drilled, operator=fleet.operator)

    fleet.each(work, fleet.this_time, tally, phase="back up", allowed=fleet.failures_allowed)
    told = result(fleet, tally, of=fleet.this_time)
    fleet.stop.check()
    if tally.failures > fleet.failures_allowed:
        raise ArchiveError(
            "\n".join(
                [
                    "The backups aren't complete; nothing was written to the data.",
                    *told["fleet_text"],
                ]
            ),
            **told,
        )
    made = len(tally.archives)
    return {
        **told,
        "archives": tally.archives,
        "archive": f"{made:,} archive{'' if made == 1 else 's'}, each in "
        f"{settings.folder}/DATABASE",
    }


def _save(
    lane: Lane,
    name: str,
    settings: create.Settings,
    migration: str | None,
    *,
    drilled: bool,
    operator: Any,
) -> Outcome:
    run = runs.latest(lane.client[name], migration) if migration else None
    phase = run["phase"] if run else "pending"
    if phase in runs.VERIFIED:
        return outcomes.of(name, outcomes.DONE, {})
    doubt = ""
    if run and phase in _UNFINISHED and (kept := run.get("backup")):
        doubt = _doubt(lane, name, kept, run["_id"])
        if not doubt:
            return outcomes.of(name, outcomes.KEPT, {"archive": kept})
    partial_restore.refuse(lane.client[name])
    examine = None
    if drilled:
        examine = drill.examiner(
            lane.client,
            name=drill.scratch_name(name),
            operator=dict(operator),
            progress=_heard(lane),
            stop=lane.stop,
        )
    made = create.back_up(
        lane.client,
        name,
        replace(settings, folder=settings.folder / name),
        progress=_heard(lane),
        stop=lane.stop,
        examine=examine,
    )
    numbers = {"documents": made["manifest"]["documents"], "bytes": made["bytes"]}
    facts = {**made, **({"doubted": doubt} if doubt else {})}
    return outcomes.of(
        name,
        outcomes.BACKED_UP,
        facts,
        changed=True,
        numbers=numbers,
        archive=str(made["archive"]),
    )


def _doubt(lane: Lane, name: str, kept: str, run: str) -> str:
    """Return why the backup that a run names can't be relied on; empty where it can."""
    if kept.startswith("external "):
        return ""
    try:
        belief.require(lane.client, name, Path(kept), run, progress=_heard(lane))
    except ArchiveError as error:
        return error.message
    return ""


def _heard(lane: Lane) -> Callable[[dict[str, Any]], None]:
    def tell(event: dict[str, Any]) -> None:
        lane.progress(event)
        lane.stop.check()

    return tell
