"""What an application writes while a batch is under way is never overwritten nor undone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.errors import PlanBlockedError
from mongo_migration.operations.fields.grouping import Grouping

from tests.support.migrations import Deployment, failed
from tests.support.tenants import ABSENT, Tenants, tenants


@pytest.fixture(params=["replica set", "standalone"])
def site(request: pytest.FixtureRequest) -> Deployment:
    name = "deployment" if request.param == "replica set" else "standalone_deployment"
    found: Deployment = request.getfixturevalue(name)
    return found


@pytest.fixture
def company(site: Deployment) -> Tenants:
    return tenants(site)


def between_reading_and_writing(monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    """Do *write* once, when the first batch was read and isn't written yet."""
    group = Grouping.of
    pending = [write]

    def meddle(*arguments: Any) -> Any:
        result = group(*arguments)
        if pending:
            pending.pop()()
        return result

    monkeypatch.setattr(Grouping, "of", meddle)


def test_a_value_written_meanwhile_stays(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    one, other = company.organizations[:2]
    ids = [company.add("items", company.users[one], "old") for _ in range(4)]
    items = site.data["items"]
    between_reading_and_writing(
        monkeypatch,
        lambda: items.update_one({"_id": ids[1]}, {"$set": {"organizationId": other}}),
    )
    result = site.migrate("004")
    assert [company.value("items", i) for i in ids] == [one, other, one, one]
    assert result["modified"] == 3
    assert failed(site.verify("004")) == []
    undone = site.roll_back("004")
    assert [company.value("items", i) for i in ids] == ["old", other, "old", "old"]
    assert undone["conflict_count"] == 0


def test_a_document_deleted_meanwhile_stays_deleted(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    ids = [company.add("items", company.users[company.organizations[0]]) for _ in range(3)]
    items = site.data["items"]
    between_reading_and_writing(monkeypatch, lambda: items.delete_one({"_id": ids[1]}))
    site.migrate("004")
    assert {row["_id"] for row in items.find()} == {ids[0], ids[2]}
    assert site.roll_back("004")["conflict_count"] == 0


def test_a_document_written_meanwhile_is_migrated_too(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    one = company.organizations[0]
    company.add("items", company.users[one])
    late: list[Any] = []

    def write() -> None:
        # In front of the walk's position, where only another walk finds it.
        late.append(company.add("items", company.users[one], _id=ObjectId("0" * 24)))

    between_reading_and_writing(monkeypatch, write)
    site.migrate("004")
    assert company.value("items", late[0]) == one
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert company.value("items", late[0]) is ABSENT


def test_a_document_without_an_answer_that_came_meanwhile_stops(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    company.add("items", company.users[company.organizations[0]], "old")
    before = site.content()
    late: list[Any] = []
    between_reading_and_writing(monkeypatch, lambda: late.append(company.add("items", None)))
    with pytest.raises(PlanBlockedError, match="came or changed after the plan"):
        site.migrate("004")
    site.roll_back("004")
    site.data["items"].delete_one({"_id": late[0]})
    assert site.content() == before


def test_another_field_written_meanwhile_stays(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch
):
    identifier = company.add("items", company.users[company.organizations[0]])
    items = site.data["items"]
    between_reading_and_writing(
        monkeypatch, lambda: items.update_one({"_id": identifier}, {"$set": {"amount": 99}})
    )
    site.migrate("004")
    found = items.find_one({"_id": identifier})
    assert found is not None
    assert (found["amount"], found["organizationId"]) == (99, company.organizations[0])


@pytest.mark.parametrize("stopped", [False, True], ids=["beside writers", "writers stopped"])
@pytest.mark.parametrize("fresh", [{"$rand": {}}, "$$NOW"], ids=str)
def test_what_is_another_value_each_time_is_written_once_and_verified(
    site: Deployment, fresh: Any, stopped: bool, monkeypatch: pytest.MonkeyPatch
):
    """A batch that was read again asks anew; a verification can't."""
    items = site.data["items"]
    items.insert_many([{"_id": number} for number in range(30)])
    before = site.content()
    step = {"collections": ["items"], "field": "mark", "value": {"expression": fresh}}
    document = {"id": "900", "name": "fresh", "summary": "A mark for each.", "downtime": "none"}
    text = (json.dumps({**document, "steps": [{"set_field": step}]}), "900.yml")
    if stopped:
        site.maintenance("on")
    else:
        between_reading_and_writing(
            monkeypatch, lambda: items.update_one({"_id": 3}, {"$set": {"other": 1}})
        )
    site.migrate(text, writers_stopped=stopped)
    assert items.count_documents({"mark": {"$exists": True}}) == 30
    assert failed(site.verify(text)) == []
    assert site.roll_back("900")["conflict_count"] == 0
    items.update_one({"_id": 3}, {"$unset": {"other": 1}})
    assert site.content() == before
