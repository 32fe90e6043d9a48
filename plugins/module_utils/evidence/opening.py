"""Making a folder of evidence, in another place where the usual one can't be written.

Evidence is a duty beside the work. A command that changes something waits for it; a way out of
trouble doesn't: it writes elsewhere, and says where.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import record

FOLDER_MODE = 0o750


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A folder of evidence that was begun.

    Args:
        folder: None where no place at all could be written.
        run: its record; empty without a folder.
        warnings: what a person has to know of the place.
    """

    folder: Path | None
    run: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def begin(root: Path, about: Sequence[str], *, required: bool, **known: Any) -> Opened:
    """Make a folder below *root* and begin its record.

    Args:
        root: the folder of folders.
        about: parts of its name, after the time.
        required: whether nothing else may be done without it. If not, a private folder for
            temporary files takes its place, and if need be none.
        known: what the record holds from the beginning.

    Raises:
        OSError: it can't be written, and it is required.
    """
    try:
        folder, run = _begin(root, about, known)
    except OSError as error:
        if required:
            raise
        return _elsewhere(f"The evidence can't be written in {root} ({_why(error)})", about, known)
    return Opened(folder=folder, run=run, warnings=tuple(_exposed(root)))


def _elsewhere(problem: str, about: Sequence[str], known: Mapping[str, Any]) -> Opened:
    try:
        # Readable by nobody else, whatever others may do to the folder around it.
        folder, run = _begin(Path(tempfile.mkdtemp(prefix="migration-evidence-")), about, known)
    except OSError as error:
        return Opened(
            folder=None,
            run={},
            warnings=(
                f"{problem}, nor in a temporary folder ({_why(error)}): there will be none.",
            ),
        )
    advice = f"It is kept in {folder}: move it to its place when that can be written again."
    return Opened(folder=folder, run=run, warnings=(f"{problem}. {advice}",))


def _begin(
    root: Path, about: Sequence[str], known: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    folder = _make(root, about)
    return folder, record.begin(folder, **known)


def _make(root: Path, about: Sequence[str]) -> Path:
    """Make a folder that no other command has, though both may begin in the same second."""
    root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    name = "-".join([datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), *filter(None, about)])
    for number in range(1, 100):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{root / name} and 98 more of that name exist")


def _exposed(root: Path) -> list[str]:
    mode = root.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return [
            f"Everybody on this machine may write in {root}, and so remove or replace evidence: "
            f"chmod o-w {root}"
        ]
    return []


def _why(error: OSError) -> str:
    return error.strerror or str(error)
