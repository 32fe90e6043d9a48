"""The plan for people."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.errors import PlanBlockedError
from mongo_migration.procedures import plan_text


def field_row(**changes: Any) -> dict[str, Any]:
    return {
        "step": 1,
        "kind": "set_field",
        "collection": "items",
        "real_name": "items",
        "field": "organizationId",
        "documents": 5000,
        "candidates": 4875,
        "to_change": 4875,
        "empty": {"missing": 4875, "null": 0, "empty_string": 0},
        "invalid": {"wrong_type": 0, "dangling": 0},
        "resolved": {"reference": 4875},
        "unresolved": [],
        "skipped": 0,
        **changes,
    }


def make_plan(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "migration": "004",
        "name": "add-organization",
        "digest": "abc",
        "database": "bizzai",
        "downtime": "recommended",
        "steps": list(steps),
        "totals": {},
        "estimate": {"seconds": 9, "oplog_bytes": 926250},
        "problems": [],
        "warnings": [],
        **changes,
    }


def found(state: str, **changes: Any) -> dict[str, Any]:
    return {
        "migration": {
            "id": "004",
            "name": "add-organization",
            "digest": "abc",
            "downtime": "none",
            "state": state,
            "run": None,
            "todo": "nothing" if state == "verified" else "migrate",
            "command": "migrate-004.yml",
        },
        "problems": [],
        "plan": make_plan(field_row()),
        **changes,
    }


INDEX_ROW = {
    "step": 2,
    "kind": "create_index",
    "collection": "items",
    "real_name": "items",
    "documents": 5000,
    "candidates": 0,
    "indexes": [{"name": "organizationId_1", "keys": {"organizationId": 1}, "state": "missing"}],
}
INSERT_ROW = {
    "step": 1,
    "kind": "insert_for_each",
    "collection": "financialPeriods",
    "real_name": "financialperiods",
    "documents": 3,
    "candidates": 5,
    "to_insert": 5,
    "existing": 3,
}


def test_the_table_aligns_collections_and_sums_them() -> None:
    purchases = field_row(
        collection="purchases",
        real_name="purchases",
        documents=120,
        candidates=20,
        to_change=18,
        empty={"missing": 10, "null": 7, "empty_string": 0},
        invalid={"wrong_type": 0, "dangling": 3},
        unresolved=[{"policy": "unresolved", "what": "no owner", "count": 2, "samples": []}],
    )

    text = plan_text.table(make_plan(field_row(), purchases))

    assert text == (
        "Migration 004 add-organization on database bizzai (downtime recommended)\n"
        "\n"
        "collection  field           documents  to change  missing  null  dangling  unresolved  "
        "already fine\n"
        "items       organizationId      5,000      4,875    4,875     -         -           -  "
        "         125\n"
        "purchases   organizationId        120         18       10     7         3           2  "
        "         100\n"
        "total                           5,120      4,893    4,885     7         3           2  "
        "         225\n"
        "\n"
        "Estimate: about 9 s, 926.2 kB of oplog\n"
        "\n"
        "No problems: the migration would run."
    )


def test_what_a_policy_leaves_alone_is_not_called_unresolved() -> None:
    skipped = [{"policy": "unresolved", "what": "no owner", "count": 2, "samples": []}]

    lines = plan_text.table(make_plan(field_row(unresolved=skipped, skipped=2))).splitlines()

    assert lines[2].split("  ")[-3:] == ["unresolved", "left alone", "already fine"]
    assert lines[3].split()[-3:] == ["-", "2", "125"]


def test_inserts_have_their_own_table() -> None:
    text = plan_text.table(make_plan(INSERT_ROW))

    assert "inserts into      to insert  kept as they are\n" in text
    assert "financialperiods          5                 3\n" in text
    assert "already fine" not in text


def test_one_index_on_many_collections_is_one_paragraph() -> None:
    rows = [
        {**INDEX_ROW, "collection": name, "real_name": name}
        for name in (f"collection{number}" for number in range(13))
    ]

    lines = plan_text.table(make_plan(*rows)).split("\n\n")[1].splitlines()

    assert lines[0] == "Indexes"
    assert lines[1].startswith("  organizationId_1 to build on 13 collections: collection0, ")
    assert lines[2].startswith("    collection")
    assert max(map(len, lines)) <= 100


def test_a_collection_with_quite_another_name_shows_both() -> None:
    text = plan_text.table(make_plan(field_row(collection="items", real_name="stock")))

    assert "stock (items)  organizationId" in text


def test_a_problem_comes_with_samples_and_fix() -> None:
    identity = ObjectId("656f1c0e8f1b2a0001c3d4e5")
    problem = {
        "step": 1,
        "collection": "invoices",
        "what": "no organization found",
        "count": 1200,
        "samples": [identity],
        "policy": "when_unresolved: fail",
        "fix": "name a default",
    }

    text = plan_text.table(make_plan(field_row(), problems=[problem], warnings=["mind the gap"]))

    assert "Warnings\n  - mind the gap\n" in text
    assert text.endswith(
        "PROBLEMS: the migration refuses to run until these are settled (1)\n"
        "  1. step 1, invoices: no organization found (1,200; policy when_unresolved: fail)\n"
        '     such as {"$oid": "656f1c0e8f1b2a0001c3d4e5"}\n'
        "     fix: name a default"
    )


def test_no_line_ends_in_blanks() -> None:
    for line in plan_text.table(make_plan(INSERT_ROW, field_row(), INDEX_ROW)).splitlines():
        assert line == line.rstrip()


def test_the_diff_counts_before_and_after() -> None:
    diff = plan_text.diff(make_plan(INSERT_ROW, field_row(), INDEX_ROW))

    assert diff == {
        "before": "financialperiods: 3 documents\n"
        "items.organizationId: 125 of 5,000 documents set\n"
        "items: index organizationId_1 missing\n",
        "after": "financialperiods: 8 documents\n"
        "items.organizationId: 5,000 of 5,000 documents set\n"
        "items: index organizationId_1 present\n",
    }


def test_the_diff_of_nothing_to_do_is_empty() -> None:
    present = {**INDEX_ROW, "indexes": [{**INDEX_ROW["indexes"][0], "state": "present"}]}

    diff = plan_text.diff(make_plan(field_row(candidates=0, to_change=0), present))

    assert diff["before"] == diff["after"]


@pytest.mark.parametrize("state", ["pending", "interrupted", "failed", "rolled_back"])
def test_the_preview_of_an_unfinished_migration_is_a_change(state: str) -> None:
    result = plan_text.preview(found(state))

    assert result["changed"]
    assert result["plan"]["steps"]
    assert result["next"] == "ansible-playbook migrate-004.yml"


@pytest.mark.parametrize("state", ["applied", "verified"])
def test_the_preview_of_a_finished_migration_is_no_change(state: str) -> None:
    result = plan_text.preview(found(state))

    assert not result["changed"]
    assert "plan" not in result
    assert result["next"] == "ansible-playbook verify.yml -e migration=004"


def test_the_preview_refuses_what_the_run_would_refuse() -> None:
    with pytest.raises(PlanBlockedError, match="nothing was written") as error:
        plan_text.preview(found("pending", problems=["invoices: no organization (2). Fix: it."]))

    assert "invoices: no organization (2)" in error.value.message
    assert error.value.details["plan_text"]


def test_the_preview_refuses_without_a_plan_too() -> None:
    refused = {**found("pending", problems=["no such collection"])}
    del refused["plan"]

    with pytest.raises(PlanBlockedError, match="no such collection"):
        plan_text.preview(refused)


def test_a_result_gets_its_plan_as_lines_and_on_request_as_diff() -> None:
    plan = make_plan(field_row())

    plain = plan_text.illustrate({"changed": True, "plan": plan})
    with_diff = plan_text.illustrate({"changed": True, "plan": plan}, with_diff=True)
    unchanged = plan_text.illustrate({"changed": False, "plan": plan}, with_diff=True)

    assert plain["plan_text"][0].startswith("Migration 004")
    assert "diff" not in plain
    assert with_diff["diff"] == plan_text.diff(plan)
    assert unchanged["diff"] == {"before": "", "after": ""}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "nothing to do"), (9, "about 9 s"), (600, "about 10 min")]
)
def test_the_estimate_is_rounded_for_people(seconds: int, said: str) -> None:
    text = plan_text.table(
        make_plan(field_row(), estimate={"seconds": seconds, "oplog_bytes": 12_300_000_000})
    )

    assert f"Estimate: {said}, 12.3 GB of oplog" in text
