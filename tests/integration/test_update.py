"""``update`` beside the corpus: what doesn't fit, what was changed since, what is proved."""

from __future__ import annotations

from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError, PlanBlockedError
from mongo_migration.procedures import plan, plan_text

from tests.support.migrations import Deployment, failed
from tests.support.playbooks import ROOT
from tests.support.snapshot import differences


def document(body: str, *, files: str = "") -> tuple[str, str]:
    """Return a migration of one update, whose body is *body*."""
    text = f"""
id: "950"
name: update
summary: One update.
after: []
downtime: none
steps:
  - update:
      collections: [items]
{body}
"""
    return text + files, "950-update.yml"


NEGATE = "      set: {n: {expression: {$multiply: [$n, -1]}}}\n      where: {n: {$type: number}}"
BAD = "      set: {at: {expression: {$dateTrunc: {date: $at, unit: day}}}}"


def test_with_writers_stopped_it_is_proved_by_digests_and_so_is_its_rollback(
    deployment: Deployment,
):
    deployment.data["items"].insert_many(
        [{"_id": n, "old": n, "tail": {"b": 1, "a": Int64(2)}} for n in range(30)]
    )
    deployment.data["others"].insert_one({"_id": 1})
    deployment.batch_size = 7
    before = deployment.content()
    deployment.maintenance("on")
    deployment.migrate(document("      rename: {old: new}"), writers_stopped=True)
    done = deployment.verify(document("      rename: {old: new}"))
    assert failed(done) == []
    assert any(
        "every new is as it was, or as the journal says" in c["name"] for c in done["checks"]
    )
    deployment.roll_back("950")
    undone = deployment.verify(document("      rename: {old: new}"), "rolled_back")
    assert failed(undone) == []
    assert any("each field at its place" in check["name"] for check in undone["checks"])
    assert differences(before[0], deployment.content()[0]) == []


def test_a_field_at_another_place_is_found_by_the_verification_of_a_rollback(
    deployment: Deployment,
):
    deployment.data["items"].insert_many([{"_id": 1, "old": 1, "tail": 1}])
    deployment.maintenance("on")
    what = document("      rename: {old: new}")
    deployment.migrate(what, writers_stopped=True)
    deployment.roll_back("950")
    deployment.data["items"].replace_one({"_id": 1}, {"_id": 1, "tail": 1, "old": 1})
    assert failed(deployment.verify(what, "rolled_back")) == [
        "items: every document is as it was, each field at its place"
    ]


@pytest.mark.parametrize("kind", ["deployment", "standalone_deployment"])
def test_what_was_changed_since_is_a_conflict(kind: str, request: pytest.FixtureRequest):
    deployment: Deployment = request.getfixturevalue(kind)
    items = deployment.data["items"]
    items.insert_many([{"_id": n, "n": n + 1, "z": 0} for n in range(4)])
    deployment.migrate(document(NEGATE))
    items.update_one({"_id": 1}, {"$set": {"n": 77}})
    items.update_one({"_id": 2}, {"$set": {"z": 5}})  # another field: no conflict
    items.delete_one({"_id": 3})
    done = deployment.roll_back("950")
    assert done["conflict_count"] == 2
    assert {(c["_id"], c["reason"]) for c in done["conflicts"]} == {
        (1, "changed since the migration"),
        (3, "deleted since the migration"),
    }
    assert list(items.find()) == [
        {"_id": 0, "n": 1, "z": 0},
        {"_id": 1, "n": 77, "z": 0},
        {"_id": 2, "n": 3, "z": 5},
    ]


def test_an_error_of_the_server_is_counted_by_document_and_stops_the_plan(deployment: Deployment):
    items = deployment.data["items"]
    items.insert_many([{"_id": n, "at": "soon" if n in (3, 8) else None} for n in range(12)])
    found = deployment.plan(document(BAD))
    (wrong,) = found["problems"]
    assert (wrong["count"], wrong["samples"]) == (2, [3, 8])
    assert "dateTrunc" in wrong["what"] or "date" in wrong["what"]
    with pytest.raises(PlanBlockedError):
        deployment.migrate(document(BAD))
    kept = document(BAD + "\n      when_unfit: keep")
    deployment.migrate(kept)
    assert items.count_documents({"at": "soon"}) == 2


@pytest.mark.parametrize(("policy", "wanted"), [("keep", "x"), ("null", None)])
def test_what_is_unfit_goes_by_the_policy(deployment: Deployment, policy: str, wanted: Any):
    items = deployment.data["items"]
    items.insert_many([{"_id": 1, "n": "x"}, {"_id": 2, "n": "12"}])
    what = document(f"      set: {{n: {{expression: {{$toInt: $n}}}}}}\n      when_unfit: {policy}")
    found = deployment.plan(what)
    assert found["problems"] == []
    assert any("1 documents" in warning for warning in found["warnings"])
    deployment.migrate(what)
    assert [row["n"] for row in items.find().sort("_id")] == [wanted, 12]
    deployment.roll_back("950")
    assert [row["n"] for row in items.find().sort("_id")] == ["x", "12"]


def test_the_plan_shows_real_documents_before_and_after(deployment: Deployment):
    deployment.data["items"].insert_many([{"_id": 1, "n": 5}, {"_id": 2, "n": -2.5}])
    found = plan_text.diff(deployment.plan(document(NEGATE)))
    assert 'items 1\n  {"n": 5}\n' in found["before"]
    assert 'items 1\n  {"n": -5}\n' in found["after"]
    assert 'items 2\n  {"n": 2.5}\n' in found["after"]


SLUG = "      set: {slug: {python: {file: 950_slug.py, function: slug}}}"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def slug(item):\n    return item['title'].lower()\n", "raised KeyError"),
        ("import itertools\nc = itertools.count()\ndef slug(item):\n    return next(c)\n", "pure"),
        ("def slug(item):\n    return object()\n", "raised InvalidDocument"),
    ],
)
def test_a_function_that_raises_or_isnt_pure_names_the_document(
    deployment: Deployment, code: str, says: str
):
    deployment.data["items"].insert_one({"_id": "the one"})
    text, source = document(SLUG)
    made = definition.load(text, source, files={"950_slug.py": code})
    (wrong,) = plan.make(deployment.client, deployment.data.name, made)["problems"]
    assert says in wrong["what"]
    assert wrong["samples"] == ["the one"]


def test_the_text_of_a_function_is_part_of_the_digest_and_of_what_is_read(tmp_path: Any):
    text, source = document(SLUG)
    with pytest.raises(DefinitionError, match="put the file beside the document"):
        definition.load(text, source)
    path = tmp_path / source
    path.write_text(text)
    (tmp_path / "950_slug.py").write_text("def slug(item):\n    return 'a'\n")
    one = definition.load(definition.read_text(path), source)
    (tmp_path / "950_slug.py").write_text("def slug(item):\n    return 'b'\n")
    other = definition.load(definition.read_text(path), source)
    assert one.digest != other.digest
    assert one.files["950_slug.py"].endswith("'a'\n")


def test_two_lines_for_one_path_are_refused(deployment: Deployment):
    deployment.data["items"].insert_one({"_id": 1})
    with pytest.raises(DefinitionError, match=r"'a\.b' lies within what another line changes"):
        deployment.plan(document("      unset: [a, a.b]"))


def test_the_example_of_the_documentation_runs_and_is_undone(deployment: Deployment):
    page = (ROOT / "docs" / "operations" / "update.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    data = deployment.data
    data["products"].insert_many(
        [
            {"_id": 1, "legacyKey": 7, "price": "12.50", "stages": {"intoduction": 1, "x": 2}},
            {"_id": 2, "price": "dear"},
        ]
    )
    data["orders"].insert_one({"_id": 1, "lines": [{"n": 1}, {"currency": "USD"}]})
    before = deployment.content()
    what = (text, "005-clean-products.yml")
    assert deployment.plan(what)["problems"] == []
    deployment.migrate(what)
    assert list(data["products"].find().sort("_id")) == [
        {"_id": 1, "price": Decimal128("12.50"), "stages": {"x": 2, "introduction": 1}},
        {"_id": 2, "price": "dear"},
    ]
    assert data["orders"].find_one() == {
        "_id": 1,
        "lines": [{"n": 1, "currency": "EUR"}, {"currency": "USD"}],
    }
    assert failed(deployment.verify(what)) == []
    deployment.roll_back("005")
    assert differences(before[0], deployment.content()[0]) == []
