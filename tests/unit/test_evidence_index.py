"""What the folders of one place prove together: none of them is gone, renamed or copied."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence import bundle, index, log_writer, record, seal, signature

NAMES = [f"20261123-02040{number}-migrate-004-db" for number in range(4)]


def keys() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    return private, key.public_key().public_bytes(pem, form).decode()


def closed(root: Path, name: str, signing_key: str | None = None) -> Path:
    """Leave the sealed evidence of one command."""
    made = root / name
    made.mkdir(parents=True)
    record.begin(made, action="migrate", outcome="success")
    log = log_writer.Writer(made)
    log.write([{"time": record.now(), "status": "ok"}], "done\n")
    log.close()
    assert bundle.close(made, signing_key=signing_key)["problems"] == []
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        closed(tmp_path / "evidence", name)
    return tmp_path / "evidence"


def rewrite(root: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = root / index.INDEX
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def chained_anew(root: Path, without: str) -> None:
    """Take a line out and link the rest again, as somebody does who knows how."""
    lines = [json.loads(line) for line in (root / index.INDEX).read_text().splitlines()]
    (root / index.INDEX).unlink()
    with index.opened(root) as book:
        for line in lines:
            if line["folder"] != without:
                kept = {k: v for k, v in line.items() if k not in ("previous", "hash")}
                book.add(kept)


def test_untouched_folders_have_no_problem(root: Path):
    assert index.check(root) == []
    assert [seal.verify(root / name) for name in NAMES] == [[], [], [], []]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_deleted_folder_is_missed(root: Path, number: int):
    shutil.rmtree(root / NAMES[number])
    assert index.check(root) == [f"{NAMES[number]} is missing: it was sealed here"]


def test_a_renamed_folder_is_named(root: Path):
    (root / NAMES[1]).rename(root / "20261124-000000-migrate-004-db")
    assert index.check(root) == [f"{NAMES[1]} was renamed to 20261124-000000-migrate-004-db"]
    assert "was called" in seal.verify(root / "20261124-000000-migrate-004-db")[0]


def test_a_copy_is_named(root: Path):
    shutil.copytree(root / NAMES[1], root / "20261124-000000-migrate-004-db")
    assert index.check(root) == [f"20261124-000000-migrate-004-db is a copy of {NAMES[1]}"]


def test_a_seal_made_anew_and_a_seal_taken_away_are_named(root: Path):
    seal.seal(root / NAMES[1])
    (root / NAMES[3] / "seal.json").unlink()
    assert index.check(root) == [
        f"the seal of {NAMES[1]} was remade: seals.jsonl holds another one",
        f"{NAMES[3]} isn't sealed any more: it was sealed here",
    ]


def test_a_folder_taken_out_with_its_line_contradicts_the_later_ones(root: Path):
    shutil.rmtree(root / NAMES[1])
    rewrite(root, lambda lines: [line for line in lines if NAMES[1] not in line])
    assert "lines were removed" in index.check(root)[0]
    chained_anew(root, NAMES[1])
    assert index.check(root) == [
        f"seals.jsonl was remade: {name} follows another line" for name in NAMES[2:]
    ]


def test_an_index_that_is_gone_is_missed(root: Path):
    (root / index.INDEX).unlink()
    assert index.check(root) == [
        "seals.jsonl is missing: nothing shows whether folders were removed"
    ]


def test_evidence_from_elsewhere_is_no_problem(root: Path, tmp_path: Path):
    closed(tmp_path / "staging", "20261120-000000-migrate-004-staging")
    shutil.copytree(
        tmp_path / "staging" / "20261120-000000-migrate-004-staging",
        root / "20261120-000000-migrate-004-staging",
    )
    assert index.check(root) == []


def test_a_folder_that_was_removed_on_purpose_is_not_missed(root: Path):
    shutil.rmtree(root / NAMES[0])
    with index.opened(root) as book:
        book.add({"what": index.REMOVED, "folder": NAMES[0], "reason": "ten years are over"})
    assert index.check(root) == []
    closed(root, "20261125-000000-migrate-004-db")
    assert index.check(root) == []


def test_with_a_key_nobody_else_can_say_that_a_folder_was_removed(tmp_path: Path):
    private, public = keys()
    root = tmp_path / "evidence"
    for name in NAMES[:3]:
        closed(root, name, private)
    assert index.check(root, public_key=public) == []
    assert signature.verify(root / NAMES[0], public) == []
    shutil.rmtree(root / NAMES[1])
    with index.opened(root) as book:
        book.add({"what": index.REMOVED, "folder": NAMES[1], "reason": "none of your business"})
    assert index.check(root, public_key=public) == [
        "seals.jsonl: line 4 isn't signed with the key of this inventory"
    ]


def test_an_index_that_cannot_be_written_keeps_no_folder_from_being_sealed(tmp_path: Path):
    (tmp_path / index.INDEX).mkdir()
    made = tmp_path / NAMES[0]
    made.mkdir()
    record.begin(made, action="migrate", outcome="success")
    problems = bundle.close(made)["problems"]
    assert "seals.jsonl can't be written" in problems[-1]
    assert seal.verify(made) == []


def test_a_lock_that_somebody_keeps_ends_no_command(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way out is sealed all the same, and says why its seal stands in no index."""
    monkeypatch.setattr(index, "LOCK_SECONDS", 0.1)
    made = root / "20261123-020409-rollback-004-db"
    made.mkdir()
    record.begin(made, action="rollback", outcome="success")
    log = log_writer.Writer(made)
    log.write([{"time": record.now(), "status": "ok"}], "done\n")
    log.close()
    before = (root / index.INDEX).read_bytes()
    with (root / index.INDEX).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        (problem,) = bundle.close(made)["problems"]
    assert "another process has kept the lock" in problem
    assert (made / seal.SEAL).exists()
    assert (root / index.INDEX).read_bytes() == before
