"""Closing a folder of evidence: report, checks, seal, signature, archive."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import junit, log_writer, record, report, signature
from . import seal as seals
from .lines import read_lines

REPORT = "report.html"
CHECKS = "checks.xml"
# How a run ended that came to no conclusion of its own.
INTERRUPTED = "interrupted"
KILLED = "killed"


def close(
    folder: Path, *, outcome: str | None = None, signing_key: str | None = None
) -> dict[str, Any]:
    """Write what is derived from the other files, seal *folder*, and pack it beside itself.

    Args:
        folder: with all that the run left.
        outcome: how it ended, where its record doesn't say; found in the log if not given.
        signing_key: a private key of Ed25519 in PEM, to sign the seal with.

    Returns:
        ``folder``, ``archive``, the SHA-256 of both (``seal``, ``archive_sha256``), the ``run``
        record, and ``problems``: what couldn't be made. The seal itself is made in any case.

    Raises:
        OSError: the seal or the archive can't be written.
    """
    run = record.read(folder)
    if run.get("outcome", record.RUNNING) == record.RUNNING:
        ended = last_line(folder)
        outcome = outcome or (INTERRUPTED if ended.get("status") == INTERRUPTED else KILLED)
        # It didn't come to say which run was its own; the journal that was read since does.
        found = record.read_json(folder / "journal.json").get("run") or {}
        about = {"run": found.get("id"), "digest": found.get("digest")} if found else {}
        run = record.update(folder, outcome=outcome, ended=ended.get("time"), **about)
    problems = _derive(folder)
    seals.seal(folder, versions=record.read_json(folder / "versions.json"))
    if signing_key:
        try:
            signature.sign(folder, signing_key)
        except ValueError as error:
            problems.append(str(error))
    archive = pack(folder)
    return {
        "folder": str(folder),
        "archive": str(archive),
        "seal": seals.digest(folder / seals.SEAL),
        "archive_sha256": seals.digest(archive),
        "run": run,
        "problems": problems,
    }


def unfinished(root: Path, *, deployment: str, database: str, but: Path) -> list[Path]:
    """Return the folders of this deployment that nobody writes to and nobody sealed.

    Args:
        root: the folder of folders.
        deployment: as in their records.
        database: as in their records.
        but: the folder of the command that asks.
    """
    found = []
    for path in sorted(root.glob(f"*/{record.RUN}")):
        folder = path.parent
        if folder == but or seals.is_sealed(folder) or not (folder / log_writer.LOG).exists():
            continue
        run = record.read(folder)
        same = (run.get("deployment"), run.get("database")) == (deployment, database)
        if same and not log_writer.is_written(folder):
            found.append(folder)
    return found


def pack(folder: Path) -> Path:
    """Write *folder* as ``NAME.tar.gz`` beside it, which appears whole or not at all."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    unfinished_archive = folder.with_name(f".{archive.name}.unfinished")
    descriptor = os.open(unfinished_archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    unfinished_archive.replace(archive)
    return archive


def last_line(folder: Path) -> Mapping[str, Any]:
    """Return the last line of the folder's log, empty without one."""
    last: Mapping[str, Any] = {}
    for line in read_lines(folder / log_writer.LOG):
        last = line
    return last


def _derive(folder: Path) -> list[str]:
    """Write report and checks; a mistake in them must not keep a folder from being sealed."""
    problems = []
    for name, make in ((CHECKS, junit.render), (REPORT, report.render)):
        try:
            text = make(folder)
            if text:
                record.write_text(folder / name, text)
        except Exception as error:
            problems.append(f"{name} couldn't be made: {type(error).__name__}: {error}")
    return problems


def describe(folder: Path) -> str:
    """Return one line about a folder, for a list."""
    run = record.read(folder)
    state = "sealed" if seals.is_sealed(folder) else "open"
    mode = "check" if run.get("check_mode") else ""
    return f"{folder.name:<60} {run.get('outcome') or '-':<14} {state} {mode}".rstrip()


def find(root: Path, name: str) -> Path:
    """Return the folder called *name*, of the run *name*, or the ``newest``.

    Of a run, several commands leave evidence: the newest one that migrated counts before those that
    verified it or rolled it back.

    Raises:
        LookupError: there is none; the message names the newest ones.
    """
    folders = folders_in(root)
    if name == "newest":
        found = folders
    else:
        found = [folder for folder in folders if folder.name == name]
        of_run = [folder for folder in folders if record.read(folder).get("run") == name]
        migrated = [folder for folder in of_run if record.read(folder).get("action") == "migrate"]
        found = found or migrated or of_run
    if found:
        return found[-1]
    if not folders:
        raise LookupError(f"There is no evidence in {root} yet.")
    known = "".join(f"\n  {folder.name}" for folder in folders[-5:])
    raise LookupError(f"There is no evidence '{name}' in {root}. The newest are:{known}")


def folders_in(root: Path) -> list[Path]:
    """Return the folders of evidence below *root*, the oldest first."""
    return sorted(path.parent for path in root.glob(f"*/{record.RUN}"))
