"""Archives, descriptions and dumps that nobody vouches for: bounded, checked, and named."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import bson
import pytest
from mongo_migration.backup import bounded, catalog, members, names, open_source, specs, store
from mongo_migration.backup.archive_writer import Writer
from mongo_migration.backup.manifest import NAME
from mongo_migration.errors import ArchiveError

from tests.support import archives

GIB = 1 << 30
INDEX = {"name": "i", "key": {"a": 1}}


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write an archive whose manifest is an honest one, *change*d."""
    honest = archives.write(path, {"items": [{"_id": 1}], "more": []})
    whole = json.loads(honest.dump())
    changed = change(whole)
    with path.open("w+b") as file:
        writer = Writer(file, modified=1_795_395_933)
        writer.add("dump/shop/items.bson", b"")
        writer.finish(NAME, changed if isinstance(changed, bytes) else json.dumps(whole).encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backup-20261123-020533.tar.gz"


def listed_and_opened(path: Path) -> str:
    """Return what is said of it when it is opened; listing must say the same and not fail."""
    with pytest.raises(ArchiveError) as raised:
        open_source.open_source(path)
    (one,) = store.Store(path.parent).archives()
    assert one.problem == raised.value.message
    return raised.value.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        ("$cmd", r"it holds a \$"),
        ("a$b", r"it holds a \$"),
        ("a\0b", "it holds a NUL"),
        (".a", "it begins with a dot"),
        ("system.users", "one of the server's own"),
        ("system.views", "one of the server's own"),
        ("_migrations_restore.1.1", "a restore uses such names"),
        ("x" * 300, "longer than 255 bytes"),
        ("\ud800", "isn't text"),
        ("more", "it is there twice"),
    ],
)
def test_names_that_no_server_accepts_are_refused_when_it_is_opened(
    name: str, reason: str, path: Path
) -> None:
    rewrite(path, lambda whole: whole["collections"][0].update(name=name))

    message = listed_and_opened(path)

    assert re.search(reason, message)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("database",), 5),
        (("database",), "a/b"),
        (("started",), "yesterday"),
        (("started",), "2026-01-01T00:00:00"),
        (("cluster_time",), {"t": 1 << 40, "i": 0}),
        (("cluster_time",), {"t": True, "i": 0}),
        (("runs",), ["a"]),
        (("server",), {"version": 6}),
        (("format",), "2"),
        (("format",), None),
        (("collections",), {}),
        (("collections",), [1]),
        (("collections", 0, "count"), -1),
        (("collections", 0, "count"), 10**400),
        (("collections", 0, "count"), True),
        (("collections", 0, "type"), "bomb"),
        (("collections", 0, "digest"), "zz"),
        (("collections", 0, "file"), "nowhere"),
        (("collections", 0, "definition"), "é"),
        (("collections", 0, "definition"), base64.b64encode(b"\5\0\0\0").decode()),
        (("collections", 0, "definition"), base64.b64encode(bson.encode({})).decode()),
        (("collections", 0, "unknown"), 1),
        (("files", 0, "offset"), "0"),
        (("files", 0, "sha256"), None),
    ],
)
def test_a_value_of_another_kind_is_one_clear_error(
    place: tuple[Any, ...], value: Any, path: Path
) -> None:
    def change(whole: dict[str, Any]) -> None:
        at: Any = whole
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = value

    rewrite(path, change)

    assert "isn't one" in listed_and_opened(path) or "can't be re" in listed_and_opened(path)


@pytest.mark.parametrize(
    ("options", "indexes", "reason"),
    [
        ({"create": "another"}, [], "'create' isn't an option"),
        ({"$db": "admin"}, [], "isn't an option"),
        ({"writeConcern": {"w": 0}}, [], "isn't an option"),
        ({}, [{"key": {"a": 1}}], "no name or no key"),
        ({}, [{"name": "a", "key": 1}], "no name or no key"),
        ({}, [{"name": "a", "key": {"a": 1}}, {"name": "a", "key": {"b": 1}}], "two indexes"),
    ],
)
def test_a_definition_that_would_say_something_else_to_the_server_is_refused(
    options: dict[str, Any], indexes: list[dict[str, Any]], reason: str, path: Path
) -> None:
    raw = catalog.define(options, indexes)
    text = base64.b64encode(raw).decode()
    rewrite(path, lambda whole: whole["collections"][0].update(definition=text))

    assert reason in listed_and_opened(path)


@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'{"a":' * 200_000, b"[" + b"[]," * 2_500_000],
    ids=["list", "map", "long"],
)
def test_json_that_is_deep_or_endless_is_refused(text: bytes, path: Path) -> None:
    rewrite(path, lambda whole: text)

    assert "manifest can't be read" in listed_and_opened(path)


BOMB = """
import resource, sys
from pathlib import Path
from mongo_migration.backup import open_source
from mongo_migration.errors import ArchiveError
resource.setrlimit(resource.RLIMIT_AS, (%d, %d))
try:
    open_source.open_source(Path(sys.argv[1]))
except ArchiveError as error:
    print(error.message)
"""


def open_in_little_memory(path: Path) -> str:
    """Open it in a process of its own, which ends where it takes more than 1 GiB."""
    done = subprocess.run(
        [sys.executable, "-c", BOMB % (GIB, GIB), path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bomb_of_zeros_is_refused_before_it_goes_off(path: Path) -> None:
    """2 MB that unpack to 2 GB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    body = mebibyte * 2048 + compressor.flush()
    assert len(body) < 3 << 20
    for claimed in (2 * GIB, 1000):
        head = members.START + (members.HEADER + len(body) + 8).to_bytes(4, "little")
        raw = head + body + bytes(4) + (claimed % (1 << 32)).to_bytes(4, "little")
        with path.open("w+b") as file:
            writer = Writer(file, modified=0)
            entry = writer.add("a", b"")
            writer.begin(NAME)
            at = entry.end
            writer.append(members.Member(raw, claimed, bytes(32)))
            writer.end()
            closing = members.store(bytes(1024))
            writer._write(closing)
            foot = archives.footer.Footer(at, writer.position + archives.footer.LENGTH, bytes(32))
            file.write(foot.pack())

        assert "doesn't decompress" in open_in_little_memory(path)


def dump(folder: Path, metadata: Any = None, data: bytes | None = b"") -> Path:
    """Write a dump of one collection."""
    place = folder / "dump" / "shop"
    place.mkdir(parents=True, exist_ok=True)
    if metadata is not None:
        (place / "items.metadata.json").write_text(json.dumps(metadata))
    if data is not None:
        (place / "items.bson").write_bytes(data)
    return place


def test_metadata_that_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    place = dump(tmp_path)
    (place / "items.metadata.json.gz").write_bytes(gzip.compress(b" " * (1 << 20)) * 2048)

    assert "longer than 32 MiB" in open_in_little_memory(place)


@pytest.mark.parametrize(
    ("key", "options", "expected"),
    [
        ({"a": "1"}, {}, {"a": 1}),
        ({"a": "-1"}, {}, {"a": -1}),
        ({"a": True, "b": 0, "c": None}, {}, {"a": 1, "b": 1, "c": 1}),
        ({"a": True}, {"v": 1}, {"a": 1}),
        ({"a": 1}, {"v": 0, "background": "1", "safe": None, "ns": "shop.items"}, {"a": 1}),
        ({"a": 1}, {"unique": 1, "sparse": "true", "dropDups": True}, {"a": 1}),
        ({"a": "2d"}, {"bits": "26", "min": -180, "max": 180}, {"a": "2d"}),
    ],
)
def test_what_old_servers_took_is_put_in_todays_words(
    key: dict[str, Any], options: dict[str, Any], expected: dict[str, Any]
) -> None:
    _, (index,) = specs.normalized({}, [{"name": "i", "key": key, **options}], lambda text: None)

    assert {name: (type(value), value) for name, value in index["key"].items()} == {
        name: (type(value), value) for name, value in expected.items()
    }
    assert index["v"] in (1, 2)
    assert {"safe", "ns", "dropDups"}.isdisjoint(index)
    for flag in ("unique", "sparse", "background"):
        assert index.get(flag) in (None, True)


def test_an_index_that_outlived_its_server_version_is_restorable() -> None:
    """Servers keep what older ones made, and refuse to make it anew."""
    index = {"v": 1, "key": {"a": True, "b": 0, "c": "2d", "d": -1.0}, "name": "i", "safe": None}

    options, (made,) = specs.restorable({"temp": True, "autoIndexId": True}, [index])

    assert options == {}
    assert made == {"v": 1, "key": {"a": 1, "b": 1, "c": "2d", "d": -1.0}, "name": "i"}
    assert type(made["key"]["a"]) is int


def test_options_of_old_dumps_are_put_in_todays_words(tmp_path: Path) -> None:
    old = {"create": "items", "flags": 1, "temp": True, "autoIndexId": True, "size": 4096}
    index = {"v": 0, "key": {"a": "1"}, "name": "a", "ns": "shop.items", "background": "1"}
    place = dump(tmp_path, {"options": old, "indexes": [index]})

    source = open_source.open_source(place)

    options, indexes = source.manifest.collections[0].exact()
    assert options == {}
    assert dict(indexes[0]["key"]) == {"a": 1}
    assert any("version 0" in note for note in source.notes)
    capped = {"capped": 1, "size": {"$numberDouble": "4096.0"}}
    source = open_source.open_source(dump(tmp_path, {"options": capped}))
    assert source.manifest.collections[0].exact()[0] == {"capped": True, "size": 4096}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"options": {"wiredTigerMagic": 1}}, "'wiredTigerMagic' is none that a collection"),
        ({"options": {"capped": True}}, "capped, without a size"),
        ({"indexes": [{"name": "i", "key": {"a": "soup"}}]}, "the kind 'soup' for a"),
        ({"indexes": [{"name": "i", "key": {"a": "geoHaystack"}}]}, "geoHaystack"),
        ({"indexes": [{"name": "i", "key": {}}]}, "has no key"),
        ({"indexes": [{"key": {"a": 1}}]}, "has no name"),
        ({"indexes": [{"name": "i", "key": {"a": 1}, "soup": 1}]}, "option 'soup'"),
        (
            {"indexes": [{"name": "i", "key": {"a": 1}, "expireAfterSeconds": "x"}]},
            "isn't a number",
        ),
        (
            {"indexes": [{"name": "i", "key": {"a": 1}, "unique": "maybe"}]},
            "neither true nor false",
        ),
        ({"indexes": [{"name": "i", "key": {"a": 1}, "v": 3}]}, "version 3"),
        ({"indexes": 5}, "damaged"),
        ({"type": "spaceship"}, "damaged"),
        ({"collectionName": 5}, "damaged"),
        ({"collectionName": "system.users"}, "one of the server's own"),
        ({"options": {"validator": {"a": {"$date": "soup"}}}}, "damaged"),
        ([], "damaged"),
    ],
)
def test_what_has_no_known_meaning_is_refused_by_name_when_the_folder_is_opened(
    metadata: Any, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=reason):
        open_source.open_source(dump(tmp_path, metadata))


def test_a_dump_without_the_documents_of_a_collection_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"items\.bson is missing"):
        open_source.open_source(dump(tmp_path, {"indexes": []}, data=None))


def test_users_and_the_oplog_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    place = dump(tmp_path, {"indexes": []}, bson.encode({"_id": 1}))
    for name in (
        "$admin.system.users",
        "%24admin.system.roles",
        "system.indexes",
        "system.profile",
    ):
        (place / f"{name}.bson").write_bytes(bson.encode({"_id": 1}))
    (tmp_path / "dump" / "oplog.bson").write_bytes(bson.encode({"op": "i"}))

    for opened in (place, tmp_path / "dump", tmp_path):
        source = open_source.open_source(opened)
        assert [one.name for one in source.manifest.collections] == ["items"]
        notes = " ".join(source.notes)
        assert "$admin.system.roles, $admin.system.users" in notes
        assert "system.indexes, system.profile" in notes
        assert "oplog.bson isn't replayed" in notes


def test_the_digest_tells_one_dump_from_another(tmp_path: Path) -> None:
    first = open_source.open_source(dump(tmp_path, {}, bson.encode({"_id": 1}))).digest
    again = open_source.open_source(tmp_path / "dump").digest
    other = open_source.open_source(dump(tmp_path, {}, bson.encode({"_id": 2}))).digest

    assert first == again != other


def tarred(content: bytes, *, packed: bool) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if packed else "w") as tar:
        info = tarfile.TarInfo("dump/shop/items.bson")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("dump.archive", b"\x6d\xe2\x99\x81" + bytes(500), "mongodump made with --archive"),
        (
            "dump.gz",
            gzip.compress(b"\x6d\xe2\x99\x81" + bytes(500), mtime=0),
            "mongodump made with --archive",
        ),
        ("dump.tar", tarred(b"abc", packed=False), "Unpack it"),
        ("dump.tgz", tarred(b"abc", packed=True), "Unpack it"),
        ("items.bson", bson.encode({"_id": 1}), "one file of a dump"),
        ("dump.zip", b"PK\x03\x04" + bytes(500), "zip packed"),
        ("dump.zst", b"\x28\xb5\x2f\xfd" + bytes(500), "zstd packed"),
        ("text", b"hello" * 100, "wasn't made by mongo_backup"),
        ("empty", b"", "too short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time of day
)
def test_what_isnt_a_backup_of_ours_is_named(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match=reason):
        open_source.open_source(path)


def test_a_pipe_is_no_archive(tmp_path: Path) -> None:
    """It would be read for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="neither a file nor a folder"):
        open_source.open_source(tmp_path / "pipe")


def test_descriptions_of_encrypted_archives_are_checked(tmp_path: Path) -> None:
    sealed = tmp_path / "backup-20261123-020533.tar.gz.age"
    sealed.write_bytes(b"age-encryption.org/v1\n" + bytes(100))
    moment = "2026-11-23T02:05:33Z"
    about: dict[str, Any] = {"database": "shop", "started": moment, "finished": moment}
    about |= {"consistent": True, "documents": 1, "size": 1}
    honest: dict[str, Any] = {"length": sealed.stat().st_size, "sha256": "0" * 64, "about": about}
    beside = sealed.with_name(f"{sealed.name}.json")
    beside.write_text(json.dumps(honest))
    assert store.Store(tmp_path).archives()[0].problem is None
    wrong = ({**honest, "about": {**about, "started": "soon"}}, {**honest, "length": "1"})
    for text in (*map(json.dumps, wrong), "[" * 200_000, " " * (2 << 20)):
        beside.write_text(text)
        assert "can't be read" in (store.Store(tmp_path).archives()[0].problem or "")


def test_names_are_those_that_the_server_refuses() -> None:
    assert names.problem("shop", "a..b", "collection") is None
    assert names.problem("shop", "trail.", "collection") is None
    assert names.problem("shop", "system.js", "collection") is None
    assert names.problem("shop", "x" * 250, "collection") is None
    assert names.problem("shop", "x" * 250, "timeseries") is not None


def test_no_more_is_read_than_the_bound():
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert 0 <= size <= 11, "all of it was asked for"
            return b"0" * size

    with pytest.raises(ValueError, match="longer than"):
        bounded.read(cast("IO[bytes]", Endless()), 10)


def test_no_more_values_are_made_than_the_bound():
    with pytest.raises(ValueError, match="holds more than"):
        bounded.parse_json(b"[" + b"0," * 2_000_001 + b"0]")
