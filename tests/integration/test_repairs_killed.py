"""Killed in the middle of a merge: the same command goes on, and the rollback is exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from embedded.mongod import ReplicaSet, Standalone
from tests.support.driver import Job
from tests.support.migrations import Deployment, failed, text_of
from tests.support.playbooks import ROOT
from tests.support.snapshot import differences

DOCUMENT = text_of("R01")[0]
SETTINGS = {"lease_seconds": 1, "batch_size": 3}
PERIODS = [ObjectId(f"0000000000000000000000a{n}") for n in range(6)]


def fill(site: Deployment) -> None:
    """Two groups of three duplicates, with entries on each."""
    data = site.data
    data["financialPeriods"].insert_many(
        [
            {"_id": identifier, "organization": n // 3, "fiscalYear": 2026, "n": n}
            for n, identifier in enumerate(PERIODS)
        ]
    )
    data["journalEntries"].insert_many(
        [{"_id": n, "financialPeriod": PERIODS[n % 6], "total": n} for n in range(40)]
    )


def run(uri: str, site: Deployment, **more: Any) -> dict[str, Any]:
    job = Job(uri=uri, database=site.data.name, text=DOCUMENT, settings=SETTINGS, **more)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.driver"],
        cwd=ROOT,
        input=job.dump(),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout) if done.stdout else {}


def points(trace: Path) -> list[tuple[int, str]]:
    """Some commands to die at: of each kind that writes, the middle one."""
    names = trace.read_text().splitlines()
    chosen = []
    for name in sorted({n for n in names if n.startswith(("update", "delete", "commit"))}):
        at = [number for number, other in enumerate(names, 1) if other == name]
        chosen += [(at[len(at) // 2], "answered")]
    last = max(n for n, name in enumerate(names, 1) if name.startswith(("delete", "commit")))
    return [*chosen[:3], (last, "sent")]


def kill_here_and_there(
    site: Deployment, uri: str, tmp_path: Path, *, everywhere: bool = False
) -> None:
    site.collections = {}
    fill(site)
    before = site.content()
    trace = tmp_path / "trace"
    run(uri, site, trace=str(trace))
    wanted = site.content()[0]
    assert len(wanted["financialPeriods"]) == 2
    run(uri, site, action="rollback")
    assert differences(before[0], site.content()[0]) == []
    for at, when in points(trace)[None if everywhere else -1 :]:
        assert run(uri, site, die_at=at, when=when) == {}, (at, when)
        assert run(uri, site)["result"]["phase"] in ("applied", "verified")
        assert differences(wanted, site.content()[0]) == []
        assert failed(site.verify("R01")) == []
        assert run(uri, site, action="rollback", die_at=at // 2, when=when) in ({},)
        assert run(uri, site, action="rollback")["result"]["phase"] == "rolled_back"
        assert differences(before[0], site.content()[0]) == [], (at, when)
        assert site.content()[1] == before[1]


def test_a_killed_merge_is_resumed_and_undone_exactly(
    deployment: Deployment, replica_set: ReplicaSet, tmp_path: Path
):
    kill_here_and_there(deployment, replica_set.uri("migrator"), tmp_path)


@pytest.mark.torture
def test_wherever_a_merge_is_killed_it_is_resumed(
    deployment: Deployment, replica_set: ReplicaSet, tmp_path: Path
):
    kill_here_and_there(deployment, replica_set.uri("migrator"), tmp_path, everywhere=True)


@pytest.mark.torture
def test_wherever_a_merge_without_transactions_is_killed_it_is_resumed(
    standalone_deployment: Deployment, standalone: Standalone, tmp_path: Path
):
    kill_here_and_there(standalone_deployment, standalone.uri(None), tmp_path, everywhere=True)
