"""A backup that another tool takes: a snapshot of volumes, or Percona Backup for MongoDB.

The project doesn't look inside. It runs the organization's command, demands a receipt, and keeps
it in the evidence; the gate accepts the receipt in the place of an archive.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..errors import ArchiveError

_SHOWN = 2000


def run(
    command: Sequence[str],
    *,
    database: str,
    change: Mapping[str, Any],
    timeout: float,
    now: Callable[[], datetime],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run *command* and return its receipt.

    The command finds the database in ``BACKUP_DATABASE`` and the change as JSON in
    ``BACKUP_CHANGE``. It must end with code 0, after the backup is complete and can be restored,
    and print one JSON object with at least ``id`` (how its tool finds the backup again) and
    ``snapshot_time``.

    Raises:
        ArchiveError: it can't be run, failed, took too long, or printed no receipt.
    """
    began, started = clock(), now()
    shown = command[0]
    done = _ended(command, database=database, change=change, timeout=timeout)
    receipt = _receipt(done.stdout)
    if receipt is None:
        raise ArchiveError(
            f"The external backup {shown} printed no receipt: one JSON object with id and "
            f"snapshot_time is needed, it printed: {done.stdout.strip()[:_SHOWN] or 'nothing'}"
        )
    return {
        "receipt": receipt,
        "command": list(command),
        "database": database,
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "elapsed": round(clock() - began, 3),
    }


def _ended(
    command: Sequence[str], *, database: str, change: Mapping[str, Any], timeout: float
) -> subprocess.CompletedProcess[str]:
    shown = command[0]
    try:
        done = subprocess.run(
            list(command),
            env={
                **os.environ,
                "BACKUP_DATABASE": database,
                "BACKUP_CHANGE": json.dumps(dict(change)),
            },
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise ArchiveError(
            f"The external backup {shown} can't be run: {error.strerror}."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ArchiveError(
            f"The external backup {shown} took longer than {timeout:g} s and was ended. Nothing "
            "of it counts as a backup."
        ) from error
    if done.returncode:
        raise ArchiveError(
            f"The external backup {shown} failed with code {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()[-_SHOWN:]}",
            code=done.returncode,
        )
    return done


def _receipt(text: str) -> dict[str, Any] | None:
    """Return the JSON object that is all of *text*, or its last line."""
    for candidate in (text, text.strip().rpartition("\n")[2]):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):  # no JSON, or nested without end
            continue
        if isinstance(found, dict) and found.get("id") and found.get("snapshot_time"):
            return found
    return None
