"""A release that verifies but doesn't work: noticed by smoke tests and by the watch, and undone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.support.snapshot import Snapshot, differences, indexes, snapshot


@contextmanager
def report_service(database: Database[dict[str, Any]], patience: int) -> Iterator[str]:
    """Give the URL of a real service that doesn't understand migrated data.

    It works as long as there is an item without organization; after that, for as many requests as
    a cache may hold.
    """
    answered: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if database["items"].find_one({"organizationId": None}):
                answered.clear()
            else:
                answered.append(1)
            body = b'{"report": "items"}'
            self.send_response(200 if len(answered) <= patience else 500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/report"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Release:
    """One release of 004, and what there was before."""

    place: Site
    before: Snapshot
    indexes_before: dict[str, Any]
    run: Run


@contextmanager
def release(
    servers: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    folder: Path,
    *,
    patience: int,
    policy: str,
    minutes: float,
) -> Iterator[Release]:
    """Migrate 004 under a report service that breaks."""
    variables = {
        "migrations_assumed_applied": ["003"],
        "smoke_on_failure": policy,
        "watch_minutes": minutes,
        "watch_report_seconds": 3,
        "watch_baseline_seconds": 2,
        "watch_interval_seconds": 0.2,
    }
    with (
        site(servers, client, folder, variables=variables) as place,
        report_service(place.database, patience) as url,
    ):
        tests = [{"name": "the report", "url": url, "contains": "items"}]
        more = json.dumps({"app_smoke_tests": tests})
        before, indexes_before = snapshot(place.database), indexes(place.database)
        run = place.run("migrate-004.yml", "-e", more)
        yield Release(place, before, indexes_before, run)


@pytest.fixture(scope="module")
def watched(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """A release that passes its smoke tests, and fails while it is watched."""
    folder = tmp_path_factory.mktemp("watched")
    with release(replica_set, client, folder, patience=3, policy="rollback", minutes=0.2) as done:
        yield done


def test_a_release_that_fails_while_it_is_watched_is_rolled_back_exactly(watched: Release):
    run = watched.run
    assert run.code == 2, run.output
    assert differences(watched.before, run.data) == []
    assert run.indexes == watched.indexes_before
    assert watched.place.phases("004") == ["rolled_back"]
    assert not run.writes_blocked
    assert not run.application_in_maintenance


def test_what_the_watch_saw_is_told(watched: Release):
    words = watched.run.last_words()
    assert "Migration 004 failed and was rolled back" in words
    assert "doesn't work as it did before" in words
    assert "test-app1: the report failed" in words
    assert "status 500, not 200" in words


def test_the_figures_of_before_and_after_are_in_the_evidence(watched: Release):
    lines = watched.run.read("metrics.jsonl")
    name = "test-app1.error_rate"
    rates = [line["values"][name] for line in lines if name in line["values"]]
    assert rates[0] == 0
    assert rates[-1] > 0.01
    assert "before" in watched.run.output


@pytest.mark.torture
def test_a_release_that_fails_its_smoke_tests_is_held_in_maintenance_mode(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path: Path
):
    with release(replica_set, client, tmp_path, patience=0, policy="hold", minutes=0) as done:
        run = done.run
        assert run.code == 2
        assert "is verified, but the application does not work as it should" in run.last_words()
        assert "the report: status 500, not 200" in run.last_words()
        assert "Maintenance mode stays ON" in run.last_words()
        assert run.writes_blocked
        assert run.application_in_maintenance
        assert done.place.phases("004") == ["verified"]

        undone = done.place.run("rollback.yml", "-e", "migration=004")
        assert undone.code == 0, undone.output
        assert differences(done.before, undone.data) == []
        assert not undone.writes_blocked


@pytest.mark.torture
def test_a_release_that_works_is_watched_to_the_end(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path: Path
):
    with release(
        replica_set, client, tmp_path, patience=10**9, policy="rollback", minutes=0.1
    ) as done:
        assert done.run.code == 0, done.run.output
        assert "0.1 of 0.1 min" in done.run.output
        assert done.place.phases("004") == ["verified"]
