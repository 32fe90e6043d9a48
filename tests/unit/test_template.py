"""Expressions keep the type of what they stand for, and conditions are a yes or a no."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.document import variables
from mongo_migration.errors import DefinitionError


def rendered(text: str, **values: Any) -> Any:
    tree = variables.render({"a": [text]}, values, source="f.yml", keep=frozenset())
    return tree["a"][0]


@pytest.mark.parametrize(
    "value", ["0012", "true", "", 0, 4, 1.5, True, None, ["open"], {"slug": "acme"}]
)
def test_one_expression_becomes_the_value_itself(value: Any):
    result = rendered("{{ x }}", x=value)
    assert result == value
    assert type(result) is type(value)


def test_text_around_an_expression_makes_a_string():
    assert rendered("FY {{ x }}", x=2026) == "FY 2026"


def test_two_expressions_make_a_string():
    assert rendered("{{ x }}{{ x }}", x=1) == "11"


def test_text_without_an_expression_is_left_alone():
    assert rendered("$$ROOT {% if %} }}") == "$$ROOT {% if %} }}"


def test_values_are_not_rendered_again():
    assert rendered("{{ x }}", x="{{ y }}") == "{{ y }}"


def test_conditions_are_kept_for_later():
    tree = {"when": "{{ nobody }}", "b": "{{ x }}"}
    result = variables.render(tree, {"x": 1}, source="f.yml", keep=frozenset({"when"}))
    assert result == {"when": "{{ nobody }}", "b": 1}


DECLARED = {
    "all": {"type": "string", "choices": ["fail", "skip"], "default": "fail"},
    "one": {"type": "string", "choices": ["no", "yes"], "default": "{{ {'skip': 'yes'}[all] }}"},
}


def test_a_default_may_follow_a_variable_above_it():
    declared = {**DECLARED, "all": {**DECLARED["all"], "default": "skip"}}
    assert variables.bind(declared, {}, source="f.yml") == {"all": "skip", "one": "yes"}
    assert variables.bind(declared, {"one": "no"}, source="f.yml")["one"] == "no"


def test_what_follows_a_wrong_value_is_not_told_beside_it():
    with pytest.raises(DefinitionError) as caught:
        variables.bind(DECLARED, {"all": "skpi"}, source="f.yml")
    assert "variable 'all' must be one of fail, skip" in caught.value.message
    assert "'one'" not in caught.value.message


def test_a_default_that_names_what_comes_later_is_refused():
    turned = dict(reversed(DECLARED.items()))
    with pytest.raises(DefinitionError, match="'all' is undefined"):
        variables.bind(turned, {}, source="f.yml")


@pytest.mark.parametrize(
    ("when", "holds"),
    [(True, True), (False, False), ("{{ x == 1 }}", True), ("{{ x == 2 }}", False)],
)
def test_a_condition_is_what_it_says(when: bool | str, holds: bool):
    assert variables.condition(when, {"x": 1}, where="f.yml: steps[0]") is holds


@pytest.mark.parametrize(
    "when", ["yes", "x == 1", "{{ x }}", "{{ 'true' }}", "{{ none }}", "a{{ x }}"]
)
def test_a_condition_that_is_no_yes_or_no_is_refused(when: str):
    with pytest.raises(DefinitionError) as caught:
        variables.condition(when, {"x": 1}, where="f.yml: steps[0]")
    assert "f.yml: steps[0]: 'when' must be true or false" in caught.value.message
    assert "write a comparison" in caught.value.message


def test_a_condition_on_an_unknown_variable_is_refused():
    with pytest.raises(DefinitionError, match="'y' is undefined"):
        variables.condition("{{ y == 1 }}", {"x": 1}, where="f.yml: steps[0]")
