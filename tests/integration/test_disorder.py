"""Companies as years leave them, made by dice: what the plan names is all that it takes."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from mongo_migration.ledger import runs

from embedded.company import OWNER_FIELDS
from tests.support import disorder
from tests.support.disorder import Disorder
from tests.support.migrations import Deployment

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
# DISORDER_SEEDS=100-200 throws others; each seed has a choice of its own.
FIRST, AFTER = map(int, os.environ.get("DISORDER_SEEDS", "0-4").split("-"))
CHOICES = list(itertools.product(["leave", "correct"], ["default_period", "per_fiscal_year"]))
SIZE = 30


def everything(site: Deployment) -> Any:
    """Every byte, every index, and every option of a collection."""
    options = {
        one["name"]: one
        for one in site.data.list_collections()
        if not one["name"].startswith(("_migrations", "system."))
    }
    return site.content(), options


def left_alone(result: dict[str, Any], collection: str) -> set[Any]:
    return {
        disorder.key(one)
        for each in result["left_alone"]
        if each["collection"].lower() == collection
        for one in each["ids"]
    }


@pytest.mark.parametrize("seed", range(FIRST, AFTER))
def test_one_answer_that_the_plan_names_takes_both_migrations_there_and_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    site, (answer, years) = deployment, CHOICES[seed % len(CHOICES)]
    monkeypatch.setattr(runs, "server_now", lambda database: NOW)
    Disorder(site.data, seed, NOW, SIZE)
    site.batch_size = 50
    before = everything(site)

    refused = site.plan("003", fiscal_years=years)
    assert any(f'"wrong_data": "{answer}"' in one for one in refused["next"]), refused["next"]
    choice = {"wrong_data": answer, "fiscal_years": years}
    assert problems(site.plan("003", **choice)) == []
    entries = documents(site, "journalentries")
    site.migrate("003", **choice)
    verdict = site.verify("003")
    assert failures(verdict) == []
    judge_entries(site, verdict, entries, by_date=years == "per_fiscal_year")
    between = everything(site)

    choice = {"wrong_data": answer}
    refused = site.plan("004")
    if problems(refused):
        assert any(f'"wrong_data": "{answer}"' in one for one in refused["next"]), refused["next"]
    assert problems(site.plan("004", **choice)) == []
    held = {name: documents(site, name) for name in OWNER_FIELDS}
    site.migrate("004", writers_stopped=seed % 3 == 0, **choice)
    verdict = site.verify("004")
    assert failures(verdict) == []
    for name in OWNER_FIELDS:
        wrong = disorder.model_violations(site.data, name)
        left = left_alone(verdict, name)
        assert [wrong[one] for one in wrong.keys() - left] == []
        require_untouched(site, name, held[name], left)

    site.roll_back("004")
    assert failures(site.verify("004", "rolled_back")) == []
    assert everything(site) == between
    site.roll_back("003")
    assert failures(site.verify("003", "rolled_back")) == []
    assert everything(site) == before


# What each question of the documents may be answered with, alone and together.
ANSWERS: dict[str, dict[str, list[Any]]] = {
    "R04": {},
    "R06": {},
    "R05": {},
    "R01": {
        "keep": ["most_referenced", "oldest", "newest"],
        "differing_periods": ["fail", "skip", "merge"],
    },
    "R02": {
        "assignable_statuses": [["open"], ["open", "closed", "locked"]],
        "unresolved_entries": ["fail", "skip"],
        "contradicting_entries": ["fail", "replace", "skip"],
    },
    "R03": {
        "unresolved_documents": ["fail", "skip"],
        "contradicting_documents": ["fail", "replace", "skip"],
    },
    "003": {
        "wrong_data": ["fail", "leave", "correct"],
        "fiscal_years": ["default_period", "per_fiscal_year"],
        "invalid_settings": ["fail", "default"],
        "unresolved_entries": ["fail", "skip"],
        "unclear_periods": ["fail", "make", "leave"],
        "contradicting_entries": ["fail", "replace", "skip"],
        "assignable_statuses": [["open"], ["open", "closed", "locked"]],
    },
    "004": {
        "wrong_data": ["fail", "leave", "correct"],
        "unresolved_documents": ["fail", "skip"],
        "contradicting_documents": ["fail", "replace", "skip"],
        "invalid_values": ["replace", "keep", "fail"],
    },
}


@pytest.mark.parametrize(
    "throws",
    [
        pytest.param(range(10 * FIRST, 10 * FIRST + 5), id="few"),
        pytest.param(range(10 * FIRST + 5, 10 * AFTER), id="many", marks=pytest.mark.torture),
    ],
)
def test_what_the_plan_does_not_refuse_goes_through(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, throws: range
) -> None:
    site = deployment
    monkeypatch.setattr(runs, "server_now", lambda database: NOW)
    for throw in throws:
        site.data.client.drop_database(site.data.name)
        company = Disorder(site.data, throw, NOW, 3)
        before = everything(site)
        done = []
        for migration, questions in ANSWERS.items():
            chosen = {
                name: company.dice.choice(values)
                for name, values in questions.items()
                if company.dice.random() < 0.5
            }
            if company.dice.random() < 0.5 and migration.startswith("R"):
                continue
            if not problems(site.plan(migration, **chosen)):
                site.migrate(migration, **chosen)
                done.append(migration)
                assert failures(site.verify(migration)) == [], (throw, migration, chosen)
        for migration in reversed(done):
            site.roll_back(migration)
            assert failures(site.verify(migration, "rolled_back")) == [], (throw, migration)
        assert everything(site) == before, throw


def judge_entries(
    site: Deployment, verdict: dict[str, Any], old: dict[Any, str], *, by_date: bool
) -> None:
    """Each entry is right as the application sees it, or told of and as it was."""
    wrong = disorder.entry_violations(site.data, by_date=False)
    left = left_alone(verdict, "journalentries")
    assert [(wrong[one], old[one]) for one in wrong.keys() - left] == []
    require_untouched(site, "journalentries", old, left)
    if by_date:
        # Another period of its own organization was a person's choice; what is new goes by date.
        strict = disorder.entry_violations(site.data, by_date=True)
        now = documents(site, "journalentries")
        written = {one for one in now if now[one] != old[one]}
        assert [(strict[one], now[one]) for one in strict.keys() & written] == []


def require_untouched(site: Deployment, name: str, old: dict[Any, str], left: set[Any]) -> None:
    now = documents(site, name)
    assert [now[one] for one in left if now[one] != old[one]] == []


def documents(site: Deployment, name: str) -> dict[Any, str]:
    return {disorder.key(one["_id"]): repr(one) for one in site.data[name].find()}


def problems(plan: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["what"], one["fix"]) for one in plan["problems"]]


def failures(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in verdict["checks"] if check["status"] == "failed"]
