"""Whoever may write to the folder of evidence can't keep us waiting, nor have us read elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from evidence import bundle, chain, index, proof, record, seal, signature
from mongo_migration.support import plain_files
from release import notice, rehearsal

NOW = datetime(2026, 11, 27, tzinfo=UTC)
DEEP = "[" * 200_000


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nested(path: Path) -> None:
    path.write_text(DEEP)


def deep(path: Path) -> None:
    path.write_text("[" * 150 + "]" * 150)


PLANTED: dict[str, Callable[[Path], None]] = {
    "a pipe": pipe,
    "a link to a device": endless,
    "brackets": nested,
    "levels": deep,
}


def folder_of(root: Path) -> Path:
    """A folder of a command, sealed."""
    folder = root / "20261126-120000-migrate-004-db"
    folder.mkdir(parents=True)
    record.begin(folder, action="migrate", migration="004", deployment="db", database="shop")
    (folder / "log.jsonl").write_text(chain.write(chain.link({"time": "x"}, chain.BEGINNING)))
    seal.seal(folder)
    return folder


def looks(root: Path, folder: Path) -> list[Callable[[], Any]]:
    """All that reads there."""
    gate = {"now": NOW, "verify": lambda path, _modules=(): proof.problems(path, now=NOW)}
    told = {"migration": "004", "deployment": "db", "hours": 24}
    return [
        lambda: seal.verify(folder),
        lambda: index.check(root),
        lambda: proof.problems(folder, now=NOW),
        lambda: rehearsal.find(root=root, digest="x", days=30, **gate),
        lambda: notice.find(root=root, **told, **gate),
        lambda: bundle.describe(folder),
        lambda: bundle.unfinished(root, deployment="db", database="shop", but=root / "other"),
        lambda: bundle.last_line(folder),
    ]


@pytest.mark.parametrize("name", ["run.json", "log.jsonl", "seal.json", "notice.json", "x.json"])
@pytest.mark.parametrize("what", PLANTED)
def test_nothing_waits_and_nothing_ends_in_a_traceback(
    what: str, name: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path)
    if name == "x.json":
        sealed = record.read_json(folder / "seal.json")
        sealed["files"][name] = "0" * 64
        record.write_json(folder / "seal.json", sealed)
    (folder / name).unlink(missing_ok=True)
    PLANTED[what](folder / name)

    for look in looks(tmp_path, folder):
        look()

    assert seal.verify(folder), "it isn't what was sealed"


@pytest.mark.parametrize("what", PLANTED)
def test_an_index_of_another_kind_is_named_and_waits_for_nobody(what: str, tmp_path: Path) -> None:
    folder_of(tmp_path)
    PLANTED[what](tmp_path / index.INDEX)
    assert index.check(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": []},
        {"log": "x"},
        {"log": {"lines": "x"}},
        {"previous": []},
        {"previous": {"folder": "../../etc", "seal": 1}},
        {"folder": {}},
    ],
    ids=str,
)
def test_a_seal_of_another_shape_is_a_problem(wrong: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    other = tmp_path / "20261126-130000-migrate-004-db"
    folder.rename(other)
    sealed = record.read_json(other / "seal.json")
    (other / "seal.json").write_text(json.dumps({**sealed, "folder": other.name, **wrong}))
    first = folder_of(tmp_path)
    assert seal.verify(other) or wrong == {"previous": {"folder": "../../etc", "seal": 1}}
    assert seal.verify(first) == []


def test_a_signature_without_end_is_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    endless(folder / "seal.sig")
    key = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n"
    )
    assert "isn't made with the key" in signature.verify(folder, key)[0]


def test_a_link_in_our_own_folder_is_never_sealed_and_always_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    endless(folder / "zero.txt")
    seal.seal(folder)
    assert seal.verify(folder) == ["zero.txt was added"]


def test_a_link_to_a_file_elsewhere_is_not_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    elsewhere = tmp_path / "elsewhere.json"
    (folder / "run.json").rename(elsewhere)
    (folder / "run.json").symlink_to(elsewhere)
    assert record.read(folder) == {}
    assert "run.json was edited" in seal.verify(folder)


def test_a_line_without_end_comes_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_files, "LONGEST_LINE", 10)
    (tmp_path / "lines").write_text("x" * 25 + "\ny\n")
    found = [len(line) for line in plain_files.lines(tmp_path / "lines")]
    assert found == [10, 10, 6, 2]
