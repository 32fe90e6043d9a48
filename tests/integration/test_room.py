"""A server whose disk is nearly full, and one with many indexes: the plan knows both."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import PlanBlockedError
from mongo_migration.procedures import estimate, plan, preflight

from embedded.mongod import Standalone
from tests.conftest import CACHE_GB
from tests.support.migrations import Deployment, failed

MEGABYTE = 1 << 20
DOCUMENTS = 30_000
TEXT = """
id: "900"
name: colours
summary: Every item gets a colour.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, type: string, value: {value: red}}
"""


class SmallDisk(Standalone):
    """A server whose data lie on a disk of their own, of 400 MiB, that nobody else sees."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        (member,) = self.members
        self._data = member.folder / "data"
        mount = f'mount -t tmpfs -o size={400 * MEGABYTE} tmpfs "$0" && exec "$@"'
        member.launcher = ["unshare", "-m", "sh", "-c", mount, str(self._data)]

    def leave(self, free: int) -> None:
        """Fill the disk but for so many bytes; None of it where that is less."""
        (member,) = self.members
        assert member.process is not None
        there = Path(f"/proc/{member.process.pid}/root{self._data}/filled")
        there.unlink(missing_ok=True)
        status = os.statvfs(there.parent)
        with there.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - free)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a disk of a server's own needs root, and unshare(1)")
    with SmallDisk(tmp_path_factory.mktemp("disk"), auth=False, cache_gb=CACHE_GB) as server:
        yield server


def test_a_disk_without_room_for_the_data_stops_the_plan(small_disk: SmallDisk) -> None:
    text = (TEXT, "900-colours.yml")
    with small_disk.client() as client:
        site = Deployment(client, client["shop"], collections={})
        site.data["items"].insert_many([{"_id": number} for number in range(DOCUMENTS)])
        site.data.client.admin.command("fsync")
        before = site.content()
        needed = estimate.growth(site.plan(text))
        assert needed > 12 * MEGABYTE

        small_disk.leave(needed - 4 * MEGABYTE)
        with pytest.raises(PlanBlockedError, match="a server without room ends") as caught:
            site.migrate(text)
        (problem,) = caught.value.details["problems"]
        assert (problem["policy"], problem["count"]) == ("room for the data", 1)
        told = preflight.examine(
            client=client,
            database="shop",
            definition=site.load(text),
            thresholds={},
            long_operation_seconds=60,
            maintenance=preflight.Maintenance(needed=False),
        )
        named = [check for check in told["checks"] if check["name"] == "room for the data"]
        assert [check["status"] for check in named] == ["problem"]
        assert site.content() == before

        small_disk.leave(4 * needed)
        site.migrate(text)
        assert failed(site.verify(text)) == []
        site.roll_back("900")
        assert site.content() == before


def test_indexes_over_what_is_written_count_in_the_time(deployment: Deployment) -> None:
    """Each entry of an index is written by itself; those over other fields aren't."""
    items = deployment.data["items"]
    items.insert_many([{"_id": number} for number in range(2000)])
    text = (TEXT, "900-colours.yml")

    def seconds() -> int:
        return int(
            plan.make(deployment.client, items.database.name, deployment.load(text))["estimate"][
                "seconds"
            ]
        )

    bare = seconds()
    for number in range(30):
        items.create_index([("other", 1), (f"n{number}", 1)])
    assert seconds() == bare
    for number in range(30):
        items.create_index([("colour", 1), (f"n{number}", 1)])
    # 27 of them aren't in the rate without indexes.
    assert seconds() - bare == pytest.approx(2000 * 27 / 20_000, abs=1)
    items.create_index("$**")
    items.drop_indexes()
    items.create_index("number", partialFilterExpression={"colour": "red"})
    assert seconds() == bare
