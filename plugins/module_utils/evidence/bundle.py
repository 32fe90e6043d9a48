"""Closing a folder of evidence: report, checks, seal, signature, archive."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import chain, index, junit, log_writer, record, report, signature
from . import seal as seals
from .lines import read_lines

REPORT = "report.html"
CHECKS = "checks.xml"
# How a run ended that came to no conclusion of its own.
INTERRUPTED = "interrupted"
KILLED = "killed"
SUCCESS = "success"
# It ended well, and left no log that shows how.
INCOMPLETE = "incomplete"


def close(
    folder: Path,
    *,
    outcome: str | None = None,
    signing_key: str | None = None,
    finished_by: str = "",
) -> dict[str, Any]:
    """Write what is derived from the other files, seal *folder*, and pack it beside itself.

    Args:
        folder: with all that the run left.
        outcome: how it ended, where its record doesn't say; found in the log if not given.
        signing_key: a private key of Ed25519 in PEM, to sign the seal with.
        finished_by: the folder of the command that finishes what another one left. Whatever its
            record says then, it was killed: nobody can tell who wrote it.

    Returns:
        ``folder``, ``archive``, the SHA-256 of both (``seal``, ``archive_sha256``), the ``run``
        record, and ``problems``: what couldn't be made. The seal itself is made in any case.

    Raises:
        OSError: the seal or the archive can't be written, or a foreign folder holds what must not
            be sealed.
    """
    if finished_by:
        _refuse_links(folder)
        run = _as_killed(folder, finished_by)
    else:
        run = _as_ended(folder, outcome)
    # Of what was cut off, nobody expects one.
    problems = [] if finished_by else _without_log(folder)
    if problems and run.get("outcome") == SUCCESS:
        run = record.update(folder, outcome=INCOMPLETE)
    problems += _derive(folder)
    problems += _seal(folder, run, signing_key)
    archive = pack(folder)
    return {
        "folder": str(folder),
        "archive": str(archive),
        "seal": record.digest(folder / seals.SEAL),
        "archive_sha256": record.digest(archive),
        "run": run,
        "problems": problems,
    }


def _as_ended(folder: Path, outcome: str | None) -> dict[str, Any]:
    """Return the record, with an end if it has none."""
    run = record.read(folder)
    if run.get("outcome", record.RUNNING) != record.RUNNING:
        return run
    ended = last_line(folder)
    outcome = outcome or (INTERRUPTED if ended.get("status") == INTERRUPTED else KILLED)
    return record.update(folder, outcome=outcome, ended=ended.get("time"), **_of_journal(folder))


def _as_killed(folder: Path, finished_by: str) -> dict[str, Any]:
    """Return the record of a command that came to no end of its own, whatever it says."""
    run, ended = record.read(folder), last_line(folder)
    intact = not chain.check(folder / log_writer.LOG).problems
    interrupted = intact and ended.get("status") == INTERRUPTED
    claimed = {
        name: run[name]
        for name, empty in (("outcome", record.RUNNING), ("verified", False))
        if run.get(name) not in (None, empty)
    }
    return record.update(
        folder,
        outcome=INTERRUPTED if interrupted else KILLED,
        verified=False,
        ended=ended.get("time"),
        finished_by=finished_by,
        **({"claimed": claimed} if claimed else {}),
        **_of_journal(folder),
    )


def _of_journal(folder: Path) -> dict[str, Any]:
    """It didn't come to say which run was its own; the journal that was read since does."""
    found = record.read_json(folder / "journal.json").get("run") or {}
    return {"run": found.get("id"), "digest": found.get("digest")} if found else {}


def _seal(folder: Path, run: dict[str, Any], signing_key: str | None) -> list[str]:
    """Seal and sign *folder*, and enter it in the index; return what couldn't be done."""
    more = {"finished_by": run["finished_by"]} if run.get("finished_by") else {}
    versions = record.read_json(folder / "versions.json")

    def seal_and_sign(**known: Any) -> list[str]:
        seals.seal(folder, versions=versions, **more, **known)
        try:
            if signing_key:
                signature.sign(folder, signing_key)
        except ValueError as error:
            return [str(error)]
        return []

    try:
        with index.opened(folder.parent) as book:
            problems = seal_and_sign(index=book.head)
            line = {"what": index.SEALED, "folder": folder.name, **more}
            line["seal"] = record.digest(folder / seals.SEAL)
            book.add(line, signing_key=None if problems else signing_key)
    except OSError as error:
        problems = seal_and_sign()
        problems.append(f"{folder.parent / index.INDEX} can't be written: {error}")
    return problems


def _has_log(folder: Path) -> bool:
    return bool(last_line(folder))


def _without_log(folder: Path) -> list[str]:
    if _has_log(folder):
        return []
    return [
        f"{log_writer.LOG} and {log_writer.SCREEN} are missing: Ansible didn't load the callback "
        "plugin migration_log. Run the command in the project's folder, or name the folder "
        "plugins/callback in ANSIBLE_CALLBACK_PLUGINS (under ansible-runner, too)"
    ]


def _refuse_links(folder: Path) -> None:
    """Refuse to seal, and so to vouch for, what lies elsewhere."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise OSError(f"{path} is not a plain file: look at who put it there, and remove it")


def unfinished(root: Path, *, deployment: str, database: str, but: Path) -> list[Path]:
    """Return the folders of this deployment and user that nobody writes to and nobody sealed.

    Args:
        root: the folder of folders.
        deployment: as in their records.
        database: as in their records.
        but: the folder of the command that asks.
    """
    found = []
    for path in sorted(root.glob(f"*/{record.RUN}")):
        folder = path.parent
        try:
            left = folder != but and _is_left(folder)
        except OSError:
            continue  # somebody else's, who finishes it
        run = record.read(folder) if left else {}
        if left and (run.get("deployment"), run.get("database")) == (deployment, database):
            found.append(folder)
    return found


def _is_left(folder: Path) -> bool:
    """Return whether *folder* is one of ours that nobody writes to and nobody sealed."""
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        return False
    if seals.is_sealed(folder) or not (folder / log_writer.LOG).exists():
        return False
    return not log_writer.is_written(folder)


def pack(folder: Path) -> Path:
    """Write *folder* as ``NAME.tar.gz`` beside it, which appears whole or not at all."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    unfinished_archive = folder.with_name(f".{archive.name}.unfinished")
    descriptor = record.create(unfinished_archive)
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
