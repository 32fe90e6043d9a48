"""Where archives are kept: nobody else may write there, and nothing there is taken for granted."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import create, estimate, listing, store
from mongo_migration.errors import ArchiveError
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import backups

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def small(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n} for n in range(10)])
    return database


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_that_exists_keeps_its_mode_and_one_that_is_made_is_private(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir(mode=0o755)
    link.symlink_to(there)

    backups.take(client, small.name, link)
    backups.take(client, small.name, tmp_path / "made")

    assert (mode(there), mode(tmp_path / "made")) == (0o755, 0o700)
    assert {mode(one) for one in there.glob("backup-*")} == {0o600}


@pytest.mark.parametrize("rights", [0o777, 0o1777, 0o775, 0o702])
def test_a_folder_that_others_may_write_to_is_refused_and_left_alone(
    rights: int, client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(rights)

    for attempt in (
        lambda: estimate.plan(client, small.name, create.Settings(folder=shared)),
        lambda: backups.take(client, small.name, shared),
    ):
        with pytest.raises(ArchiveError, match="others than its owner may write there"):
            attempt()

    options: dict[str, Any] = {"now": create.utc_now(), "progress": quiet, "verify": False}
    listed = listing.find(shared, **options)
    assert "others than its owner may write there" in listed["warnings"][0]
    assert shared.stat().st_mode & 0o7777 == rights
    assert list(shared.iterdir()) == []


def test_a_folder_of_somebody_else_is_refused(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(ArchiveError, match="belongs to the user"):
        backups.take(client, small.name, tmp_path)


def refuse(number: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_without_symbolic_links_has_no_latest_and_says_so(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = backups.take(client, small.name, tmp_path)
    monkeypatch.setattr(Path, "symlink_to", refuse(errno.EPERM))

    planned = estimate.plan(client, small.name, create.Settings(folder=tmp_path))
    result = backups.take(client, small.name, tmp_path)

    assert any("takes no symbolic links" in warning for warning in planned["warnings"])
    assert any("takes no symbolic links" in warning for warning in result["warnings"])
    assert result["latest"] is None
    # An older one would be taken for the latest.
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        [Path(older["archive"]).name, Path(result["archive"]).name]
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_folder_that_cant_be_locked_is_refused_beforehand(
    number: int,
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store.fcntl, "flock", refuse(number))

    with pytest.raises(ArchiveError, match="trying to write there failed"):
        estimate.plan(client, small.name, create.Settings(folder=tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_what_fails_at_the_very_end_leaves_no_archive(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, calls = store.Store._sync, []

    def fail(kept: Any) -> None:
        calls.append(1)
        if len(calls) > 1:  # the first one is the trial
            raise OSError(errno.EIO, "disk error")
        original(kept)

    monkeypatch.setattr(store.Store, "_sync", fail)
    with pytest.raises(ArchiveError, match="unfinished file was removed") as raised:
        backups.take(client, small.name, tmp_path)

    assert "Make room" not in raised.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_lock_somebody_keeps_is_named_and_gets_no_archive(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.1)
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(ArchiveError, match=f"has kept the lock of {tmp_path}"):
            create.back_up(client, small.name, create.Settings(folder=tmp_path), progress=quiet)
    finally:
        os.close(descriptor)
    assert not list(tmp_path.glob("*.tar.gz"))
