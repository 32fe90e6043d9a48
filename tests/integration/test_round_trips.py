"""How many commands 003 sends: it depends on the batches, not on the organizations."""

from __future__ import annotations

import threading
import zoneinfo
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.ledger import runs
from mongo_migration.server import connection
from pymongo import monitoring

from tests.integration.test_migration_003 import midnight
from tests.support.migrations import Deployment, failed

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
# More than a batch of organizations would make another command of nearly everything.
FEW, MANY = 40, 160
# Of Europe, whose rules change rarely: the server's table may be older than Python's.
ZONES = sorted(
    name
    for name in zoneinfo.available_timezones()
    if name.startswith("Europe/") and name != "Europe/Kyiv"
)


class Sent(monitoring.CommandListener):
    """Counts what the main thread sends; the lease has a thread and a time of its own."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self._main = threading.main_thread()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if threading.current_thread() is self._main:
            name = event.command_name
            target = event.command.get("collection" if name == "getMore" else name)
            self.names[f"{event.command_name} {target}"] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to count."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to count."""


def fill(site: Deployment, count: int) -> None:
    """Give *count* organizations in many timezones: gaps, closed books, nothing yet, of each."""
    rows: dict[str, list[dict[str, Any]]] = {
        "organizations": [],
        "financialperiods": [],
        "journalentries": [],
    }
    for number in range(count):
        tenant, zone = ObjectId(), ZONES[number % (count // 4)]
        first = 1 + number // 3 % 12
        settings = {"fiscalYearStart": first, "timezone": zone}
        rows["organizations"].append({"_id": tenant, "settings": settings, "createdBy": tenant})
        year = 2026 if first <= 11 else 2025
        for month in range(12) if number % 3 < 2 else ():
            start = midnight(year + (first + month - 1) // 12, (first + month - 1) % 12 + 1, zone)
            after = midnight(year + (first + month) // 12, (first + month) % 12 + 1, zone)
            present = start <= NOW < after
            if present and number % 3 == 0:
                continue  # a gap
            rows["financialperiods"].append(
                {
                    "organization": tenant,
                    "name": f"{start:%B}",
                    "fiscalYear": year,
                    "startDate": start,
                    "endDate": after - timedelta(milliseconds=1),
                    "status": "closed" if present else "open",
                }
            )
        rows["journalentries"] += [
            {"organization": tenant, "date": NOW - timedelta(days=300 * back)} for back in range(3)
        ]
    for name, documents in rows.items():
        site.data[name].insert_many(documents)


@pytest.mark.parametrize(
    ("years", "answer"), [("default_period", "correct"), ("per_fiscal_year", "leave")]
)
def test_four_times_the_organizations_are_no_more_commands_but_for_batches(
    deployment: Deployment,
    migrator_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    years: str,
    answer: str,
) -> None:
    monkeypatch.setattr(runs, "server_now", lambda database: NOW)
    sent = Sent()
    monkeypatch.setattr(connection, "MongoClient", listened(connection.MongoClient, sent))
    found = []
    with connection.connect({"uri": migrator_uri, "database": deployment.data.name}) as client:
        site = Deployment(client, deployment.data)
        for count in (FEW, MANY):
            for name in site.data.list_collection_names():
                site.data.drop_collection(name)
            fill(site, count)
            counted = []
            choice = {"fiscal_years": years, "wrong_data": answer}
            for work in (
                lambda choice=choice: site.plan("003", **choice),
                lambda choice=choice: site.migrate("003", **choice),
                lambda: failed(site.verify("003")),
                lambda: site.roll_back("003"),
            ):
                sent.names.clear()
                work()
                counted.append(sent.names.copy())
            found.append(counted)
    for few, many in zip(*found, strict=True):
        # Each kind of command that a batch needs may come once or twice more.
        assert sum((many - few).values()) <= (MANY - FEW) / 10, many - few


def listened(kind: Any, listener: monitoring.CommandListener) -> Any:
    """Return what makes clients as *kind* does, which *listener* hears."""
    return lambda *arguments, **options: kind(
        *arguments, **{**options, "event_listeners": [listener]}
    )
