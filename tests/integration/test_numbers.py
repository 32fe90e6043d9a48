"""Running numbers beside the corpus: what comes in between, and what holds something else."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError, InterruptedRunError, MigrationError
from mongo_migration.support.stop import StopSignal

from tests.support import torture
from tests.support.migrations import Deployment, failed
from tests.support.snapshot import differences


def document(body: str, where: str = "{}") -> tuple[str, str]:
    """Return a migration that numbers invoices."""
    text = f"""
id: "951"
name: number
summary: Invoices get numbers.
after: []
downtime: none
steps:
  - update:
      collections: [invoices]
      where: {where}
      set: {{number: {{number: {body}}}}}
"""
    return text, "951-number.yml"


BY_DATE = document("{by: [org], order: [date]}")
ANEW = document("{by: [org], order: [date], renumber: true}")


def interrupted(deployment: Deployment, what: tuple[str, str]) -> None:
    """Run until the first batch of two is written."""
    stop = StopSignal()

    def progress(event: dict[str, Any]) -> None:
        if "batch" in event:
            stop.ask("a test")

    with pytest.raises(InterruptedRunError):
        torture.migrate(
            deployment.data,
            definition=definition.load(*what),
            stop=stop,
            progress=progress,
            batch_size=2,
        )


def numbers(deployment: Deployment) -> dict[Any, Any]:
    return {row["_id"]: row.get("number") for row in deployment.data["invoices"].find()}


@pytest.fixture(params=["deployment", "standalone_deployment"])
def filled(request: pytest.FixtureRequest) -> Deployment:
    found: Deployment = request.getfixturevalue(request.param)
    found.data["invoices"].insert_many([{"_id": n, "org": 1, "date": n * 10} for n in range(6)])
    return found


def test_what_comes_between_a_stop_and_the_next_run_goes_on_behind_the_largest(
    filled: Deployment,
):
    interrupted(filled, BY_DATE)
    assert numbers(filled) == {0: 1, 1: 2, **dict.fromkeys(range(2, 6))}
    filled.data["invoices"].insert_one({"_id": 100, "org": 1, "date": -1})
    filled.migrate(BY_DATE)
    found = numbers(filled)
    assert (found[0], found[1]) == (1, 2)
    assert sorted(found.values()) == list(range(1, 8))
    assert failed(filled.verify(BY_DATE)) == []


def test_numbers_that_are_given_anew_are_right_or_not_given(filled: Deployment):
    filled.data["invoices"].update_many({}, {"$set": {"number": 7}})
    before = filled.content()
    interrupted(filled, ANEW)
    filled.data["invoices"].insert_one({"_id": 100, "org": 1, "date": -1})
    with pytest.raises(MigrationError, match="came or went while numbers were given anew"):
        filled.migrate(ANEW)
    filled.data["invoices"].delete_one({"_id": 100})
    filled.migrate(ANEW)
    assert numbers(filled) == {n: n + 1 for n in range(6)}
    filled.roll_back("951")
    assert differences(before[0], filled.content()[0]) == []


def test_what_has_a_number_keeps_it_and_what_holds_something_else_is_named(filled: Deployment):
    filled.data["invoices"].update_one({"_id": 4}, {"$set": {"number": 20}})
    filled.data["invoices"].update_one({"_id": 5}, {"$set": {"number": "x"}})
    (wrong,) = filled.plan(BY_DATE)["problems"]
    assert (wrong["count"], wrong["samples"]) == (1, [5])
    assert "something else than a number" in wrong["what"]
    filled.data["invoices"].delete_one({"_id": 5})
    filled.migrate(BY_DATE)
    assert numbers(filled) == {0: 21, 1: 22, 2: 23, 3: 24, 4: 20}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("{renumber: true, order: [number]}", "{}"),
        ("{renumber: true, by: {n: $number}}", "{}"),
        ("{renumber: true}", "{number: null}"),
    ],
)
def test_numbers_that_are_given_anew_may_not_depend_on_themselves(
    deployment: Deployment, body: str, where: str
):
    deployment.data["invoices"].insert_one({"_id": 1})
    with pytest.raises(DefinitionError, match=r"steps\[0\].update.set.number: with renumber"):
        deployment.plan(document(body, where))
