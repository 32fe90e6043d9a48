"""A malformed migration document gets one message that names the file, the path in it, the fix."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError

from tests.support.migrations import text_of

FILE = "005-mark-items.yml"
HEAD = 'id: "005"\nname: mark-items\nsummary: Marks items.\ndowntime: none\n'
STEP = "steps:\n  - set_field: {collections: [items], field: mark, value: {value: 1}}\n"
VARIABLES = """\
variables:
  policy: {type: string, choices: [stop, skip], default: stop, description: What to do.}
  amount: {type: integer, default: 1, description: How many.}
"""


def load(text: str, **options: Any) -> definition.Definition:
    return definition.load(text, FILE, **options)


def refusal(text: str, **options: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        load(text, **options)
    return caught.value.message


def step(old: str, new: str) -> str:
    assert old in STEP
    return HEAD + STEP.replace(old, new)


def value(text: str) -> str:
    return step("{value: 1}", f"{{value: {text}}}")


def only_value(loaded: definition.Definition) -> Any:
    return loaded.steps[0].options["value"]["value"]


# -- what is right ---------------------------------------------------------------------------


@pytest.mark.parametrize("migration", ["003", "004"])
def test_the_documents_of_the_project_are_valid(migration: str):
    text, source = text_of(migration)
    loaded = definition.load(text, source)
    assert loaded.id == migration
    assert source.startswith(f"{migration}-{loaded.name}")


def test_an_unquoted_date_stays_text():
    assert only_value(load(value("2026-04-01"))) == "2026-04-01"


def test_extended_json_becomes_bson():
    text = value('{id: {$oid: "65f000000000000000000001"}, at: {$date: "2026-04-01T00:00:00Z"}}')
    assert only_value(load(text)) == {
        "id": ObjectId("65f000000000000000000001"),
        "at": datetime(2026, 4, 1, tzinfo=UTC),
    }


def test_a_comment_does_not_change_the_digest():
    assert load(HEAD + STEP).digest == load(f"# Why.\n{HEAD}{STEP}").digest


@pytest.mark.parametrize(("old", "new"), [("[items]", "[bills]"), ("value: 1", "value: 2")])
def test_any_other_change_changes_the_digest(old: str, new: str):
    assert load(HEAD + STEP).digest != load(step(old, new)).digest


def test_variables_of_the_inventory_do_not_change_the_digest():
    text = HEAD + VARIABLES + STEP
    assert load(text).digest == load(text, variables={"amount": 7}).digest


# -- YAML ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["must be a mapping with id, name, summary, downtime and steps"]),
        ("- a list\n", ["must be a mapping with id, name, summary, downtime and steps"]),
        ("id: [", ["isn't valid YAML", "line 1"]),
        (HEAD + "\tname: x\n", ["isn't valid YAML", "line 5"]),
        (HEAD + STEP + "summary: again\n", ["the key 'summary' stands twice", "line 7"]),
        (step("field: mark", "field: mark, field: b"), ["the key 'field' stands twice", "line 6"]),
        (value("{1: x}"), ["the key 1 isn't text", "put it in quotes", "line 6"]),
        (HEAD + STEP + "on: x\n", ["on is text to some", "put text in quotes", "line 7"]),
        (HEAD.replace('"005"', "005") + STEP, ['in quotes, such as "005"', "line 1"]),
        (HEAD + STEP + "true: x\n", ["the key True isn't text", "put it in quotes", "line 7"]),
        (value("{? [a, b] : x}"), ["the key ['a', 'b'] isn't text"]),
        (value("!!python/object:os.system x"), ["isn't valid YAML", "line 6"]),
        (value("&a [*a]"), ["an alias (*name) stands inside its own anchor"]),
    ],
)
def test_text_that_is_no_document_is_refused_where_it_goes_wrong(text: str, says: list[str]):
    message = refusal(text)
    for part in [FILE, *says]:
        assert part in message


# -- the schema ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        (HEAD.replace('"005"', "501") + STEP, "id", 'in quotes, such as "004"'),
        (HEAD, "top level", "'steps' is missing"),
        (
            HEAD.replace("summary:", "sumary:"),
            "top level",
            "'summary' is missing; is 'sumary' meant for it?",
        ),
        (HEAD + "steps: []\n", "steps", "[] should be non-empty"),
        (HEAD + STEP + "stpes: []\n", "top level", "unknown key 'stpes'; did you mean 'steps'?"),
        (HEAD.replace("none", "maybe") + STEP, "downtime", "'maybe' is not one of ['none'"),
        (HEAD.replace("mark-items", "Mark Items") + STEP, "name", "'Mark Items' does not match"),
        (
            step("set_field", "set_feild"),
            "steps[0]",
            "unknown key 'set_feild'; did you mean 'set_field'?",
        ),
        (step("set_field", "set_feild"), "steps[0]", "exactly one of set_field, insert_for_each"),
        (
            HEAD + STEP + "    create_index: {collections: [items], keys: {mark: 1}}\n",
            "steps[0]",
            "must have exactly one of set_field, insert_for_each, create_index",
        ),
        (step("set_field:", "name: x #"), "steps[0]", "must have exactly one of"),
        (HEAD + "steps: [go]\n", "steps[0]", "'go' is not of type 'object'"),
        (
            step("field: mark", "field: mark, feild: b"),
            "steps[0].set_field",
            "unknown key 'feild'; did you mean 'field'?",
        ),
        (step(", value: {value: 1}", ""), "steps[0].set_field", "'value' is missing"),
        (step("[items]", "items"), "steps[0].set_field.collections", "must be a list of names, or"),
        (step("[items]", "[a, a]"), "steps[0].set_field.collections", "has non-unique elements"),
        (step("mark", "_id"), "steps[0].set_field.field", "a top-level field other than _id"),
        (step("mark", "a.b"), "steps[0].set_field.field", "a top-level field other than _id"),
        (step("mark", "$mark"), "steps[0].set_field.field", "a top-level field other than _id"),
        (
            step("{value: 1}", "{valeu: 1}"),
            "steps[0].set_field.value",
            "unknown key 'valeu'; did you mean 'value'?",
        ),
        (
            step("{value: 1}", "{value: 1, expression: $a}"),
            "steps[0].set_field.value",
            "too many properties",
        ),
        (
            step("{value: 1}", "{first_of: [{reference: {from: users, take: a}}]}"),
            "steps[0].set_field.value.first_of[0].reference",
            "'match' is missing",
        ),
        (step("- set_field", "- when: 3\n    set_field"), "steps[0].when", "3 is not of type"),
        (
            HEAD + "steps:\n  - create_index: {collections: [items], keys: {mark: up}}\n",
            "steps[0].create_index.keys.mark",
            "'up' is not one of [1, -1",
        ),
        (
            HEAD + STEP + "postconditions:\n  - {name: x, nnoe: {in: items, where: {}}}\n",
            "postconditions[0]",
            "must have exactly one of none, count, unique, no_rows",
        ),
        (
            HEAD + STEP + "preconditions:\n  - {name: x, count: {in: items}}\n",
            "preconditions[0].count",
            "must have exactly one of equals, at_least",
        ),
        (
            HEAD + VARIABLES.replace("integer", "int") + STEP,
            "variables.amount.type",
            "'int' is not one of",
        ),
    ],
)
def test_what_breaks_the_schema_is_named_by_its_path(text: str, path: str, says: str):
    message = refusal(text)
    assert message.startswith(f"{FILE} is not a valid migration document:")
    assert any(
        line.startswith(f"  - {path}: ") and says in line for line in message.splitlines()[1:]
    ), message


def test_all_mistakes_are_told_at_once():
    text = step("field: mark", "field: _id, feild: 1, when_invalid: never")
    assert len(refusal(text).splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{$oid: xyz}", "'xyz' is not a valid ObjectId"),
        ("{$date: yesterday}", "yesterday"),
        ("{$numberDecimal: abc}", 'JSON: {"$numberDecimal": "abc"}'),
        ("99999999999999999999", "8-byte ints"),
        ("!!binary aGVsbG8=", "bytes is not JSON serializable"),
        ("[1, {deep: {$oid: xyz}}]", "'xyz' is not a valid ObjectId"),
    ],
)
def test_a_value_that_bson_does_not_know_is_named_by_its_path(text: str, says: str):
    message = refusal(value(text))
    inside = "[1].deep" if "deep" in text else ""
    start = f"{FILE}: steps[0].set_field.value.value{inside}: not valid extended JSON"
    assert message.startswith(start)
    assert says in message


# -- variables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"polciy": "skip"}, f"variable 'polciy' is not declared in {FILE}; did you mean 'policy'"),
        ({"xyz": 1}, f"variable 'xyz' is not declared in {FILE}; it knows: policy, amount"),
        ({"policy": "sometimes"}, "variable 'policy' must be one of stop, skip, not 'sometimes'"),
        ({"policy": None}, "variable 'policy' must be of type string, not None"),
        ({"amount": "1"}, "variable 'amount' must be of type integer, not '1'"),
        ({"amount": True}, "variable 'amount' must be of type integer, not True"),
        ({"amount": 1.0}, "variable 'amount' must be of type integer, not 1.0"),
    ],
)
def test_a_variable_that_does_not_fit_is_refused(given: dict[str, Any], says: str):
    message = refusal(HEAD + VARIABLES + STEP, variables=given)
    assert "inventory: migration_variables" in message
    assert f"  - {says}" in message


def test_a_default_that_does_not_fit_is_refused():
    text = HEAD + VARIABLES.replace("default: 1", "default: one") + STEP
    assert "variable 'amount' must be of type integer, not 'one'" in refusal(text)


def test_a_value_from_the_inventory_is_put_in_with_its_type():
    text = HEAD + VARIABLES + STEP.replace("value: 1", "value: '{{ amount }}'")
    assert only_value(load(text, variables={"amount": 12})) == 12


def test_a_value_from_the_inventory_must_fit_where_it_is_put():
    text = HEAD + VARIABLES + STEP.replace("field: mark", "field: '{{ policy }}', when_invalid: 1")
    assert "steps[0].set_field.when_invalid" in refusal(text)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("{{ amuont }}", "'amuont' is undefined (declared variables: amount, policy)"),
        ("n-{{ amuont }}", "'amuont' is undefined"),
        ("{{ amount", "unexpected end of template"),
        ("{{ amount policy }}", "chunk after expression"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ amount + policy }}", "unsupported operand"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ range }}", "not valid extended JSON"),
    ],
)
def test_an_expression_that_fails_is_named_by_its_path(expression: str, says: str):
    message = refusal(HEAD + VARIABLES + STEP.replace("value: 1", f'value: "{expression}"'))
    assert f"{FILE}: steps[0].set_field.value.value: " in message
    assert says in message


# -- names of collections --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"items": 5}, "'items' is mapped to 5, but no collection can have that name"),
        ({"items": ["a"]}, "'items' is mapped to ['a'], but no collection can have that name"),
        ({"items": ""}, "'items' is mapped to '', but no collection can have that name"),
        ({"items": "a$b"}, "'items' is mapped to 'a$b', but no collection can have that name"),
        ({"items": ".items"}, "no collection can have that name"),
        ({"items": "a\0b"}, "no collection can have that name"),
        ({"items": "system.users"}, "that collection isn't one of the application"),
        ({"items": "_migrations"}, "that collection isn't one of the application"),
        ({"items": "goods", "bills": "goods"}, "'bills' is mapped to 'goods', but so is 'items'"),
    ],
)
def test_a_mapping_to_nonsense_is_refused(mapping: dict[str, Any], says: str):
    message = refusal(HEAD + STEP, collections=mapping)
    assert "mongo_collections: " in message
    assert says in message
    assert "write the collection's real name, or null" in message


# -- steps that build on each other ------------------------------------------------------------

CHAIN = """
id: "009"
name: chain
summary: Two steps.
downtime: none
steps:
  - set_field: {{collections: [items], field: region, value: {{value: north}}}}
  - set_field: {{collections: {collections}, field: label, value: {value}, where: {where}}}
"""


@pytest.mark.parametrize(
    ("collections", "value", "where"),
    [
        ("[items]", "{expression: {$concat: [$region, x]}}", "{}"),
        ("[items]", "{value: a}", "{region.name: x}"),
        ("{items: region}", "{reference: {from: areas, match: {_id: $owner}, take: name}}", "{}"),
        ("[items]", "{reference: {from: areas, match: {code: $region}, take: name}}", "{}"),
    ],
)
def test_a_step_that_reads_what_an_earlier_one_writes_is_refused(
    collections: str, value: str, where: str
):
    with pytest.raises(DefinitionError, match=r"steps\[1\].set_field reads 'region' of items"):
        definition.load(CHAIN.format(collections=collections, value=value, where=where))


@pytest.mark.parametrize(
    ("collections", "value"),
    [
        ("[shops]", "{expression: $region}"),
        ("[items]", "{reference: {from: areas, match: {region: $owner}, take: region}}"),
    ],
)
def test_a_step_may_read_a_field_of_that_name_elsewhere(collections: str, value: str):
    text = CHAIN.format(collections=collections, value=value, where="{}")
    assert len(definition.load(text).steps) == 2


# -- what YAML and people mean by different things -----------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "on", "OFF", "010", "0x1F", "0b11", "1_000", "12:30", "12:30:00", "1:30.5"],
)
def test_what_looks_like_something_else_is_refused_with_its_line(text: str):
    said = refusal(value(text))
    assert f"{FILE} isn't valid YAML: {text} " in said
    assert "quotes" in said and "line 6" in said


@pytest.mark.parametrize("text", ["true", "False", "0", "-7", "+3", "1.5", "1e3", ".inf", "null"])
def test_what_everybody_reads_alike_is_right(text: str):
    only_value(load(value(text)))


def test_a_key_that_yaml_takes_for_a_boolean_is_refused():
    assert "on is text to some" in refusal(value("{on: 1}"))


def test_an_operator_where_a_value_is_meant_is_refused():
    update = "  - update: {collections: [items], set: {a: {value: {n: [{$toUpper: $a}]}}}}\n"
    said = refusal(f"{HEAD}steps:\n{update}")
    assert "steps[0].update.set.a.value: $toUpper is an operator" in said
    insert = "  - insert: {into: items, key: [a], documents: [{a: {$concat: [x]}}]}\n"
    assert "steps[0].insert.documents: $concat is an operator" in refusal(f"{HEAD}steps:\n{insert}")
    right = "  - update: {collections: [items], set: {a: {value: {$ref: users, $id: 5}}}}\n"
    load(f"{HEAD}steps:\n{right}")


def test_a_migration_behind_itself_and_one_of_megabytes_are_refused():
    assert "after: it names itself" in refusal(f'{HEAD}after: ["005"]\n{STEP}')
    assert "4,000,000" in refusal(value("x" * 5_000_000))


def test_a_key_with_nothing_behind_it_is_told_as_that():
    assert "steps: nothing stands behind it" in refusal(f"{HEAD}steps:\n")


def test_a_policy_that_does_not_exist_is_told_with_those_that_do():
    update = "steps:\n  - update: {collections: [a], unset: [b], when_unfit: skip}\n"
    assert "'skip' must be fail, keep or null" in refusal(HEAD + update)
