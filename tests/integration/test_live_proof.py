"""Each live batch proves that it changed the one field alone, whoever else writes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mongo_migration.errors import MigrationError
from mongo_migration.operations import statements
from mongo_migration.operations.fields.field_walk import Walk
from mongo_migration.operations.read_ahead import Ahead

from tests.support.backups import EVERY_TYPE
from tests.support.migrations import Deployment
from tests.support.tenants import Tenants, tenants


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    deployment.batch_size = 2  # several to a page
    return deployment


@pytest.fixture
def company(site: Deployment) -> Tenants:
    return tenants(site)


@pytest.fixture
def read_again(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one each time that a batch has to be read once more."""
    found: list[bool] = []
    restart = Ahead.restart

    def noted(self: Ahead[Any], position: Any, *, fresh: bool = False) -> None:
        if fresh:
            found.append(fresh)
        restart(self, position, fresh=fresh)

    monkeypatch.setattr(Ahead, "restart", noted)
    return found


def before_batch(monkeypatch: pytest.MonkeyPatch, number: int, write: Callable[[], Any]) -> None:
    """Do *write* before that batch is written, long after it was read."""
    original = Walk._write
    begun = 0

    def meddle(self: Walk, batch: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == number:
            write()
        original(self, batch)

    monkeypatch.setattr(Walk, "_write", meddle)


def proved(site: Deployment) -> int:
    run = site.data["_migrations"].find_one({"kind": "run", "migration": "004"})
    assert run is not None
    assert run["counts"]["proved"] == run["counts"]["modified"]
    return int(run["counts"]["proved"])


def test_documents_of_every_type_are_proved_by_what_was_read_ahead(
    site: Deployment, company: Tenants, read_again: list[bool]
):
    one = company.organizations[0]
    fields = {name: value for name, value in EVERY_TYPE.items() if name != "_id"}
    ids = [company.add("items", company.users[one], **fields) for _ in range(7)]
    site.migrate("004")
    assert [company.value("items", identifier) for identifier in ids] == [one] * 7
    assert proved(site) == 7
    assert read_again == []


def test_another_field_of_a_batch_to_come_keeps_what_was_written_meanwhile(
    site: Deployment,
    company: Tenants,
    monkeypatch: pytest.MonkeyPatch,
    read_again: list[bool],
):
    one = company.organizations[0]
    ids = [company.add("items", company.users[one]) for _ in range(7)]
    items = site.data["items"]
    change = {"$set": {"amount": 99}}
    before_batch(monkeypatch, 3, lambda: items.update_one({"_id": ids[4]}, change))
    site.migrate("004")
    rows = {row["_id"]: row for row in items.find()}
    assert [rows[identifier]["organizationId"] for identifier in ids] == [one] * 7
    assert [rows[identifier]["amount"] for identifier in ids] == [12.5] * 4 + [99] + [12.5] * 2
    assert proved(site) == 7
    assert read_again == [True]


def test_an_owner_that_changes_before_its_batch_decides(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    one, other = company.organizations[:2]
    ids = [company.add("items", company.users[one]) for _ in range(7)]
    moved = {"$set": {"addedBy": company.users[other]}}
    items = site.data["items"]
    before_batch(monkeypatch, 2, lambda: items.update_one({"_id": ids[6]}, moved))
    site.migrate("004")
    assert [company.value("items", identifier) for identifier in ids] == [one] * 6 + [other]


def test_a_batch_that_changes_more_than_its_field_is_not_committed(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    one = company.organizations[0]
    for _ in range(3):
        company.add("items", company.users[one])
    before = site.content()
    of = statements.of

    def worse(field: str, groups: list[dict[str, Any]]) -> list[Any]:
        found = of(field, groups)
        for statement in found:
            statement._doc["$set"]["amount"] = 0  # as a defect of ours might
        return found

    monkeypatch.setattr(statements, "of", worse)
    with pytest.raises(MigrationError, match="items: a batch changed more than organizationId"):
        site.migrate("004")
    assert site.content() == before
    assert site.journal() == []
