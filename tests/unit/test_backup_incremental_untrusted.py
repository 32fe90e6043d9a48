"""Archives that say what they like of what they are based on, and of what changed since."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128
from mongo_migration.backup import footer, identity, load, open_source, store
from mongo_migration.errors import ArchiveError
from mongo_migration.support.progress import quiet

from tests.support import archives

NAMES = [f"backup-20261123-0205{second:02}.changes.tar.gz" for second in range(60)]
ITEMS = [{"_id": n} for n in range(10)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "backup-20261123-020500.tar.gz"
    archives.write(path, {"items": ITEMS})
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAMES[1]


def refused(path: Path) -> str:
    """Return why *path* can't be opened."""
    with pytest.raises(ArchiveError) as raised:
        open_source.open_source(path)
    return raised.value.message


def listed(path: Path) -> str:
    """Return what the list of backups says of it."""
    found = {one.path: one for one in store.Store(path.parent).archives()}
    return found[path].problem or ""


def test_an_honest_one_passes(base: Path, path: Path) -> None:
    archives.change(path, base, {"items": [{"_id": 3, "n": 1}, {"_id": 11}]}, added=1)

    source = open_source.open_source(path)
    source.check(quiet)

    assert source.manifest.documents == 11
    assert not listed(path)


@pytest.mark.parametrize(
    "name",
    [
        "../backup-20261123-020500.tar.gz",
        "/etc/passwd",
        "x/backup-20261123-020500.tar.gz",
        "backup-20261123-020500.tar.gz\n",
        "backup-20261123-020500.tar.gz\0",
        ".",
        "",
        None,
        5,
    ],
)
def test_a_base_is_the_name_of_an_archive_in_the_same_folder(
    name: Any, base: Path, path: Path
) -> None:
    archives.change(path, base, {"items": []}, edit=lambda whole: whole["base"].update(name=name))

    assert "its base has a 'name' that isn't one" in refused(path)
    assert "its base has a 'name' that isn't one" in listed(path)


@pytest.mark.parametrize("given", [{}, {"name": "backup-20261123-020500.tar.gz"}, [], "x", 5])
def test_a_base_is_described_in_full(given: Any, base: Path, path: Path) -> None:
    archives.change(path, base, {"items": []}, edit=lambda whole: whole.update(base=given))

    assert "manifest can't be read" in refused(path)
    assert "manifest can't be read" in listed(path)


def test_a_link_is_no_base(base: Path, path: Path, tmp_path: Path) -> None:
    archives.change(path, base, {"items": []})
    elsewhere = tmp_path / "elsewhere"
    base.rename(elsewhere)
    base.symlink_to(elsewhere)

    assert "isn't beside it" in refused(path)
    assert "isn't there" in listed(path)


@pytest.mark.parametrize("length", [1, 2])
def test_what_is_based_on_itself_is_named(length: int, tmp_path: Path) -> None:
    ring = [tmp_path / name for name in NAMES[:length]]
    for number, one in enumerate(ring):
        archives.change(one, ring[number - 1], {"items": []}, edit=zeros)
        archives.claim(one, "0" * 64)

    assert "It is based on itself" in refused(ring[0])
    assert "which is based on itself" in listed(ring[0])


def zeros(whole: dict[str, Any]) -> None:
    whole["base"]["digest"] = "0" * 64


def test_a_chain_without_end_is_refused(base: Path, tmp_path: Path) -> None:
    before = base
    for name in NAMES[1 : store.LONGEST_CHAIN + 3]:
        archives.change(tmp_path / name, before, {"items": []})
        before = tmp_path / name

    assert f"More than {store.LONGEST_CHAIN} archives" in refused(before)
    assert f"more than {store.LONGEST_CHAIN} that are based on each other" in listed(before)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda whole: whole["base"].update(digest="1" * 64), "its digest is "),
        (lambda whole: whole.update(database="other"), "of the database 'shop', and not of 'oth"),
        (lambda whole: whole["server"].update(set_name="rs9"), r"replica set \(none\), and not of"),
        (lambda whole: whole["cluster_time"].update(t=5), "it is newer, of 2026-11-23T02:05:33Z"),
        (lambda whole: whole.update(cluster_time=None), "isn't of one point in time"),
    ],
)
def test_another_base_is_refused_with_what_is_wrong_about_it(
    edit: Callable[[dict[str, Any]], Any], reason: str, base: Path, path: Path
) -> None:
    archives.change(path, base, {"items": []}, edit=edit)

    with pytest.raises(ArchiveError, match=reason):
        open_source.open_source(path)
    assert "isn't the archive that it is based on" in listed(path)


@pytest.mark.parametrize("name", ["", "$cmd", "system.users", "_migrations_restore.1.items"])
def test_changes_name_no_collection_that_a_server_refuses(
    name: str, base: Path, path: Path
) -> None:
    archives.change(path, base, {"items": []}, edit=lambda whole: rename(whole, name))

    assert "is none that a server would have" in refused(path)


def rename(whole: dict[str, Any], name: str) -> None:
    whole["collections"][0]["name"] = name


def test_the_state_of_migrations_is_a_collection_like_others(base: Path, path: Path) -> None:
    """It isn't in the base, and so there is nothing that could have changed."""
    archives.change(path, base, {"_migrations": [{"_id": "x", "kind": "run"}]}, added=1)

    assert "'_migrations' needs an archive that isn't the one" in refused(path)


@pytest.mark.parametrize(
    ("changes", "added", "reason"),
    [
        (([{"_id": 3}, {"_id": 3.0}], []), 0, "two changes of one document"),
        (([{"_id": 3}], [{"_id": 3}]), 0, "two changes of one document"),
        (([], [{"_id": 3}, {"_id": Decimal128("3.00")}]), 0, "two changes of one document"),
        (([{"_id": 11}], []), 0, "have 10"),
        (([], [{"_id": 11}]), 0, "have 9"),
        (([{"_id": 3}], []), 1, "have 11"),
        (([{"n": 1}], []), 1, "without an _id|_id"),
    ],
)
def test_changes_that_contradict_each_other_or_the_base_are_found_by_reading(
    changes: tuple[list[Any], list[Any]], added: int, reason: str, base: Path, path: Path
) -> None:
    archives.change(path, base, {"items": changes[0]}, {"items": changes[1]}, added=added)

    source = open_source.open_source(path)
    with pytest.raises(ArchiveError, match=reason):
        source.check(quiet)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"added": 5}, "fewer documents than were added"),
        ({"added": -1}, "isn't one"),
        ({"whole": 1}, "isn't one"),
        ({"identities": {"name": "more"}}, "what was removed of it isn't in the archive"),
        ({"identities": {"name": "items", "file": "../x"}}, "what was removed of it isn't in"),
        ({"identities": {"file": "x"}}, "can't be read"),
        ({"other": 1}, "isn't one"),
    ],
)
def test_what_is_said_of_a_change_is_of_its_kind(
    change: dict[str, Any], reason: str, base: Path, path: Path
) -> None:
    archives.change(
        path,
        base,
        {"items": []},
        edit=lambda whole: whole["collections"][0]["delta"].update(change),
    )

    assert reason in refused(path)


def test_one_file_holds_one_thing(base: Path, path: Path) -> None:
    archives.change(path, base, {"items": [], "more": []}, edit=share)

    assert "its file is that of another one" in refused(path)


def share(whole: dict[str, Any]) -> None:
    whole["collections"][1]["file"] = whole["collections"][0]["file"]


@pytest.mark.parametrize("started", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_is_one_that_a_file_can_have(started: str, base: Path, path: Path) -> None:
    archives.change(path, base, {"items": []}, edit=lambda whole: whole.update(started=started))

    assert "'started' that isn't one" in refused(path)


def test_an_id_that_is_nested_without_end_is_refused(base: Path, path: Path) -> None:
    raw = b"\x05\0\0\0\0"
    for _ in range(20_000):
        raw = struct.pack("<i", len(raw) + 4 + 1 + 4) + b"\x03_id" + b"\0" + raw + b"\0"
        raw = struct.pack("<i", len(raw)) + raw[4:]
    archives.change(path, base, {"items": [raw]}, added=1)

    source = open_source.open_source(path)
    with pytest.raises(ArchiveError, match="nested deeper than 200 levels"):
        source.check(quiet)


def key(value: Any) -> bytes:
    raw = bson.encode({"_id": value})
    return identity.of(raw, load.identity(raw))


def test_what_names_a_document_in_memory_is_short() -> None:
    large = {"a": "x" * 1_000_000, "b": [Decimal128("1E+6144"), 5e-324] * 1000}
    for value in ("x" * 1_000_000, Decimal128("1E-6176"), 5e-324, large):
        assert len(key(value)) <= 65
        assert key(value) == key(value)
    assert key("x" * 1000) != key("x" * 1001)
    assert key({"a": {"b": 1 << 60}}) == key({"a": {"b": Decimal128(str(1 << 60))}})
    for one, other in (
        (0.0, -0.0),
        (1, 1.0),
        (0.1, Decimal128("0.1000000000000000055511151231257827")),
    ):
        assert (key(one) == key(other)) is (one != 0.1)
    assert key(float("nan")) == key(Decimal128("NaN"))
    assert key(float("-inf")) == key(Decimal128("-Infinity"))
    assert key(-10) == key(Decimal128("-1E+1")) != key(10)


def test_a_format_and_a_base_go_together(base: Path, path: Path) -> None:
    archives.change(path, base, {"items": []})
    archives.seal_as(path, footer.FORMAT)
    assert "two formats of itself" in refused(path)
    archives.change(path, base, {"items": []}, edit=lambda whole: whole.pop("base"))

    assert "contradict" in refused(path)
