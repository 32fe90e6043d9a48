"""Encrypted backups: only the key opens them, and nothing plain is ever left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyrage
import pytest
from mongo_migration.backup import (
    create,
    crypt,
    listing,
    open_source,
    restore,
    sidecar,
    spool,
    store,
)
from mongo_migration.backup.crypt import Keys, Lock
from mongo_migration.errors import ArchiveError
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

from tests.integration.test_backup_modules import call
from tests.support import backups

Client = MongoClient[dict[str, Any]]

MINE, OTHER = (pyrage.x25519.Identity.generate() for _ in range(2))
PASSPHRASE = "correct horse battery staple"
TO_ME = Lock(recipients=(str(MINE.to_public()),))
MARKER = "nobody-may-read-this"

LOCKS = [
    pytest.param(TO_ME, Keys(identity=f"# mine\n{OTHER}\n{MINE}\n"), id="to a public key"),
    pytest.param(Lock(passphrase=PASSPHRASE), Keys(passphrase=PASSPHRASE), id="with a passphrase"),
]


@pytest.fixture
def small(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n, "n": n, "text": MARKER} for n in range(300)])
    database["items"].create_index("n")
    return database


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def verify(folder: Path) -> list[dict[str, Any]]:
    found = listing.find(folder, now=create.utc_now(), progress=quiet, verify=True)
    listed: list[dict[str, Any]] = found["backups"]
    return listed


@pytest.mark.parametrize(("lock", "keys"), LOCKS)
def test_an_encrypted_backup_restores_everything(
    lock: Lock,
    keys: Keys,
    client: Client,
    database: Database[dict[str, Any]],
    tmp_path: Path,
) -> None:
    backups.everything(database)
    before = backups.facts(database)

    result = backups.take(client, database.name, tmp_path, lock=lock)
    archive = Path(result["archive"])
    backups.put_back(client, f"{database.name}_copy", archive, keys=keys)

    assert backups.facts(client[f"{database.name}_copy"]) == before
    assert result["encrypted"] is True
    assert result["latest"] == str(tmp_path / "latest.tar.gz.age")
    assert (tmp_path / "latest.tar.gz.age").resolve() == archive
    assert names(tmp_path) == [archive.name, f"{archive.name}.json", "latest.tar.gz.age"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(("lock", "keys"), LOCKS)
def test_the_age_format_is_the_real_one(
    lock: Lock,
    keys: Keys,
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
) -> None:
    """The library opens it in one call, as the program of that name would."""
    archive = Path(backups.take(client, small.name, tmp_path, lock=lock)["archive"])
    identity = MINE
    if keys.passphrase:
        key = json.loads(sidecar.path_of(archive).read_text())["key"]
        text = pyrage.passphrase.decrypt(key.encode(), PASSPHRASE).decode()
        identity = pyrage.x25519.Identity.from_str(text.strip())
    plain = tmp_path / "plain.tar.gz"
    plain.write_bytes(pyrage.decrypt(archive.read_bytes(), [identity]))

    with open_source.Reader(plain) as reader:
        reader.check(quiet)
        assert reader.manifest.documents == 300


def test_no_plain_byte_touches_the_disk(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What gets written while it is taken and restored: seen at every event, names and contents."""
    written: list[bytes] = []
    original = spool.Spool.close

    def close(self: spool.Spool) -> None:
        if not self.closed:
            self._file.flush()
            written.append(os.pread(self._file.fileno(), 1 << 30, 0))
        original(self)

    monkeypatch.setattr(spool.Spool, "close", close)
    monkeypatch.setattr(spool, "_PIECE", 1 << 12)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    seen: dict[str, bytes] = {}

    def look(event: dict[str, Any]) -> None:
        for path in tmp_path.rglob("*"):
            if path.is_file():
                seen[path.name] = path.read_bytes()

    settings = create.Settings(folder=tmp_path / "kept", lock=TO_ME)
    archive = Path(create.back_up(client, small.name, settings, progress=look)["archive"])
    small["items"].delete_many({})
    backups.put_back(
        client,
        small.name,
        archive,
        keys=Keys(identity=str(MINE)),
        progress=look,
        safety_folder=tmp_path / "kept",
        safety_lock=TO_ME,
    )

    assert small["items"].count_documents({"text": MARKER}) == 300
    assert len(written) == 3  # the backup, the restore, and its safety backup
    gzip = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
    for content in [*written, *seen.values()]:
        assert gzip not in content
        assert MARKER.encode() not in content
    assert {name for name in seen if not name.startswith((".unfinished-", "backup-"))} <= {
        "latest.tar.gz.age"
    }
    assert names(scratch) == []


@pytest.mark.parametrize(
    ("lock", "keys", "message"),
    [
        (TO_ME, Keys(identity=str(OTHER)), "can't be opened with this key"),
        (TO_ME, Keys(), r"no key to open it was given.*\(identity_file\)"),
        (TO_ME, Keys(passphrase="x"), r"encrypted to public keys, and no key"),
        (TO_ME, Keys(identity="AGE-SECRET-KEY-1MISTYPED"), "identity isn't a secret key of age"),
        (TO_ME, Keys(identity_file=Path("/no/such/key")), "/no/such/key can't be read: No such"),
        (Lock(passphrase=PASSPHRASE), Keys(passphrase="wrong"), "passphrase is wrong"),
        (Lock(passphrase=PASSPHRASE), Keys(identity=str(MINE)), r"none was given.*\(passphrase\)"),
    ],
)
def test_without_the_right_key_there_is_one_clear_error(
    lock: Lock, keys: Keys, message: str, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(small.client, small.name, tmp_path, lock=lock)["archive"])
    before = names(tmp_path)

    with pytest.raises(ArchiveError, match=message) as raised:
        open_source.open_source(archive, keys)

    assert "MISTYPED" not in raised.value.message
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        (Lock(recipients=("age1mistyped",)), "isn't a public key of age"),
        (Lock(recipients=(str(MINE),)), "holds a secret key"),
        (Lock(recipients=TO_ME.recipients, passphrase=PASSPHRASE), "not both"),
    ],
)
def test_a_wrong_recipient_is_refused_before_anything_is_written(
    lock: Lock, message: str, client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=message) as raised:
        backups.take(client, small.name, tmp_path, lock=lock)

    assert str(MINE) not in raised.value.message
    assert names(tmp_path) == []


def test_every_flipped_byte_and_truncation_is_found_with_and_without_the_key(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path, lock=TO_ME)["archive"])
    raw, chance = archive.read_bytes(), random.Random(5)
    positions = {*range(0, 240, 3), *chance.sample(range(len(raw)), 120), len(raw) - 1}
    damaged = [(at, raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]) for at in positions]
    damaged += [(at, raw[:at]) for at in (0, 1, 100, len(raw) // 2, len(raw) - 1)]
    damaged += [(len(raw), raw + b"\0")]
    missed = []
    for position, content in damaged:
        archive.write_bytes(content)
        with pytest.raises(ArchiveError, match=r"damaged|truncated"):
            open_source.open_source(archive, Keys(identity=str(MINE)))
        if verify(tmp_path)[0]["verified"]:
            missed.append(position)

    assert missed == []
    archive.write_bytes(raw)
    assert verify(tmp_path)[0]["verified"] is True


def test_without_its_description_it_still_opens_with_the_secret_key(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path, lock=TO_ME)["archive"])
    sidecar.path_of(archive).unlink()

    (listed,) = verify(tmp_path)
    assert listed["verified"] is False
    assert "description" in listed["problem"]
    with open_source.open_source(archive, Keys(identity=str(MINE))) as source:  # type: ignore[union-attr]
        source.check(quiet)


def test_the_description_tells_only_what_a_list_needs(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(
        backups.take(client, small.name, tmp_path, lock=TO_ME, note={"ticket": "CHG-1"})["archive"]
    )
    text = sidecar.path_of(archive).read_text()
    (listed,) = verify(tmp_path)

    assert "items" not in text
    assert MARKER not in text
    assert listed["encrypted"] is True
    assert listed["documents"] == 300
    assert listed["database"] == small.name
    assert listed["note"] == {"ticket": "CHG-1"}


def test_retention_and_the_link_know_both_kinds(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    plain = Path(backups.take(client, small.name, tmp_path)["archive"])
    sealed = Path(backups.take(client, small.name, tmp_path, lock=TO_ME)["archive"])
    assert not (tmp_path / "latest.tar.gz").exists()
    with pytest.raises(ArchiveError, match=r"latest\.tar\.gz\.age does"):
        open_source.open_source(tmp_path / "latest.tar.gz")
    orphan = tmp_path / "backup-20200101-000000.tar.gz.age.json"
    orphan.write_text("{}")

    result = backups.take(
        client, small.name, tmp_path, lock=TO_ME, retention=store.Retention(count=1)
    )

    assert result["cleaned"] == [orphan.name]
    assert result["removed"] == [sealed.name, plain.name]
    last = Path(result["archive"]).name
    assert names(tmp_path) == [last, f"{last}.json", "latest.tar.gz.age"]
    assert backups.take(client, small.name, tmp_path)["latest"] == str(tmp_path / "latest.tar.gz")
    assert not (tmp_path / "latest.tar.gz.age").exists()


def test_a_disk_that_lies_about_the_ciphertext_is_found_before_it_gets_a_name(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = crypt.Sealer.seal

    def seal(self: Any, plain: Any, file: Any, written: Any) -> Any:
        sealed = original(self, plain, file, written)
        file.seek(500)
        file.write(b"a disk that lies")
        return sealed

    monkeypatch.setattr(crypt.Sealer, "seal", seal)
    with pytest.raises(ArchiveError, match="isn't what was written"):
        backups.take(client, small.name, tmp_path, lock=TO_ME)

    assert names(tmp_path) == []


def test_a_full_disk_while_encrypting_leaves_nothing(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(self: Any, content: bytes) -> int:
        self.error = OSError(28, "No space left on device")
        raise self.error

    monkeypatch.setattr(crypt._Target, "write", full)
    with pytest.raises(ArchiveError, match="filled up"):
        backups.take(client, small.name, tmp_path, lock=TO_ME)

    assert names(tmp_path) == []


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    scratch = spool.Spool(tmp_path)
    for _ in range(40):
        scratch.write(os.urandom(1 << 20))

    assert len(scratch._tail) < 1 << 20
    assert all(not piece.patches for piece in scratch._pieces)
    scratch.close()


def test_as_modules_with_the_public_key_only_and_no_secret_in_any_output(
    migrator_uri: str, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """The backup, its drill, its list and its verification: all without the secret key."""
    login = {"uri": migrator_uri, "database": small.name}
    kept = tmp_path / "kept"
    key_file = tmp_path / "key.txt"
    key_file.write_text(f"# created by age-keygen\n{MINE}\n")
    taken = call(
        "mongo_backup",
        **login,
        dest=str(kept),
        encrypt_recipients=list(TO_ME.recipients),
        verification="drill",
    )
    assert taken["changed"] is True, taken
    assert taken["drill"]["passed"] is True
    assert taken["drill"]["archive"] == taken["archive"]
    listed = call("mongo_backup", database=small.name, dest=str(kept), state="list", verify=True)
    assert listed["backups"][0]["verified"] is True
    small["items"].delete_many({})

    wrong = call("mongo_restore", **login, archive=taken["latest"], identity=str(OTHER))
    right = call(
        "mongo_restore",
        **login,
        archive=taken["latest"],
        identity_file=str(key_file),
        confirm=small.name,
    )

    assert "can't be opened with this key" in wrong["msg"]
    assert right["changed"] is True, right
    assert small["items"].count_documents({}) == 300
    assert right["safety_backup"].endswith(".tar.gz.age")
    with open_source.open_source(Path(right["safety_backup"]), Keys(identity=str(MINE))) as safety:  # type: ignore[union-attr]
        assert safety.manifest.database == small.name


def test_restore_settings_never_take_a_plain_safety_backup_of_an_encrypted_one() -> None:
    assert Keys(identity=str(MINE)).lock() == TO_ME
    assert Keys(passphrase=PASSPHRASE).lock() == Lock(passphrase=PASSPHRASE)
    assert restore.Settings(database="a", source_database="a").safety_lock == Lock()


KILLED = """
import os, signal, sys
from pathlib import Path
from mongo_migration.backup import create, crypt
from pymongo import MongoClient

uri, name, folder, recipient, phase = sys.argv[1:]

def die(event):
    if event["phase"] == phase:
        os.kill(os.getpid(), signal.SIGKILL)

settings = create.Settings(folder=Path(folder), lock=crypt.Lock(recipients=(recipient,)))
create.back_up(MongoClient(uri, tz_aware=True), name, settings, progress=die)
"""


@pytest.mark.parametrize("phase", ["back up", "verify archive", "encrypt"])
def test_a_kill_leaves_no_plain_byte_and_nothing_that_the_next_backup_does_not_remove(
    phase: str, migrator_uri: str, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    to = TO_ME.recipients[0]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, migrator_uri, small.name, tmp_path, to, phase],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".unfinished-")
    assert left.read_bytes()[: len(crypt.MAGIC)] in (b"", crypt.MAGIC)

    result = backups.take(small.client, small.name, tmp_path, lock=TO_ME)

    assert result["cleaned"] == [left.name]
    archive = Path(result["archive"]).name
    assert names(tmp_path) == [archive, f"{archive}.json", "latest.tar.gz.age"]
