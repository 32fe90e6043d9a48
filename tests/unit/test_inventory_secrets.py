"""Which variables are secrets, and what YAML and Jinja did to them."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from invocation import inventory_secrets, masking

LOADER = DataLoader()


def masked(variables: dict[str, Any], text: str) -> str:
    return masking.masker([variables], LOADER).text(text)


@pytest.mark.parametrize(
    ("variables", "secret"),
    [
        ({"vault_anything": "s3cret-1"}, "s3cret-1"),
        ({"vault_nested": {"a": ["s3cret-1"]}}, "s3cret-1"),
        ({"mongo_login_password": "s3cret-1"}, "s3cret-1"),
        ({"mongo_uri": "mongodb://u:s3cret-1@db/"}, "s3cret-1"),
        ({"anything": [{"address": "amqp://u:s3cret-1@mq/"}]}, "s3cret-1"),
        ({"migration_secrets": {"DATABASE": "s3cret-1"}}, "s3cret-1"),
        ({"app_smoke_tests": [{"url": "http://a/?api_key=s3cret-1&x=1"}]}, "s3cret-1"),
        ({"app_smoke_tests": [{"headers": {"X-Custom": "s3cret-1"}}]}, "s3cret-1"),
        ({"app_flag": {"headers": {"Authorization": "Bearer s3cret-1"}}}, "s3cret-1"),
        ({"app_smoke_tests": [{"body": {"user": {"password": "s3cret-1"}}}]}, "s3cret-1"),
        ({"announce_webhooks": [{"url": "https://hooks/T0/s3cret-1"}]}, "s3cret-1"),
        ({"announce_mail": {"password": "s3cret-1"}}, "s3cret-1"),
        ({"other": "s3cret-1", "login_password": "{{ other }}"}, "{{ other }}"),
    ],
)
def test_secrets_are_known_by_their_names_and_places(variables: dict[str, Any], secret: str):
    assert secret not in masked(variables, f"before {secret} after")


def test_what_is_no_secret_stays_readable():
    variables = {
        "mongo_database": "bizzai",
        "mongo_login_user": "migrator",
        "mongo_uri": "mongodb://migrator:s3cret-1@db1,db2/?authSource=admin&replicaSet=rs0",
        "app_smoke_tests": [{"name": "lives", "headers": {"Accept": "application/json"}}],
        "announce_webhooks": [{"name": "slack", "template": "slack"}],
        "vault_pin": "abc",
    }
    text = "bizzai migrator db1 admin rs0 lives application/json slack abc"

    assert masked(variables, text) == text


def test_a_template_is_followed_to_the_secret():
    from ansible.template import trust_as_template

    variables = {"other": "s3cret-1", "login_password": trust_as_template("{{ other }}")}

    assert "s3cret-1" not in masked(variables, "with s3cret-1")


def inventory(text: str) -> Any:
    """Read a file of variables as Ansible does: what isn't tagged is a template."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(text)
        file.flush()
        return DataLoader().load_from_file(file.name, cache="none", trusted_as_template=True)


def problems(text: str, **others: Any) -> list[str]:
    return masking.problems([{**inventory(text), **others}], LOADER)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("0123456", "a number"),
        ("12345678", "a number"),
        ("1.50", "a number"),
        ("1e5", None),
        ("0o17", None),
        ("yes", "yes or no"),
        ("2026-11-26", "a date"),
        ("abc{{def", "!unsafe"),
        ("abc{%def", "!unsafe"),
        ("abc{#def#}x", "!unsafe"),
        ("pa{{ 1 }}ss", "!unsafe"),
        ("'{{nothing}}'", "!unsafe"),
    ],
)
def test_a_secret_that_would_be_changed_is_refused_with_the_fix_and_not_shown(
    written: str, message: str | None
):
    found = problems(f"vault_mongo_migrator_password: {written}\n")

    assert len(found) == (1 if message else 0)
    if message:
        assert message in found[0]
        assert found[0].count("vault_mongo_migrator_password") == 2
        for part in ("def", "123", "1.50", "2026", "pa{{", "nothing"):
            assert part not in found[0]


@pytest.mark.parametrize(
    "written",
    [
        "'0123456'",
        "!unsafe 'abc{{def'",
        '!unsafe "{% raw"',
        "'plain'",
        "",
        '\'{{ lookup("env", "HOME") }}\'',
        "'{{ vault_other }}-suffix'",
    ],
)
def test_a_secret_that_stays_as_it_is_is_taken(written: str):
    assert problems(f"vault_x: {written}\n", vault_other="known") == []


def test_the_examples_of_the_vault_show_how_secrets_are_written():
    from tests.support.playbooks import ROOT

    paths = list(ROOT.glob("inventories/*/group_vars/*/vault.example.yml"))
    assert paths
    for path in paths:
        text = path.read_text()
        assert yaml.safe_load(text) is None, "it defines nothing"
        shown = "\n".join(
            line.removeprefix("# ")
            for line in text.partition("by every command.\n")[2].splitlines()
            if line.startswith(("# vault_", "#   "))
        )
        loaded = inventory(shown)
        assert loaded
        assert masking.problems([loaded], LOADER) == []
        # Whatever is filled in between the quotes.
        filled = shown.replace("...", "{{x{%y{#0").replace("'the", "'0{{the")
        assert inventory_secrets.find(inventory(filled), str)
        assert masking.problems([inventory(filled)], LOADER) == []


@pytest.mark.parametrize(
    "structure",
    [
        {"announce_webhooks": [{"name": "x", "url": "{{ hook }}"}]},
        {"app_smoke_tests": [{"headers": {"X-Thing": "{{ hook }}"}}]},
        {"wired": {"login_password": "{{ hook }}"}},
        {"wired": {"anything": "{{ lookup('ansible.builtin.env', 'X') or hook }}"}},
    ],
    ids=str,
)
def test_what_a_structure_gets_from_elsewhere_is_found(structure: dict[str, Any]):
    resolved = "https://u:s3cret-4711@example.com/s3cret-4711"

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: resolve(each) for key, each in value.items()}
        if isinstance(value, list):
            return [resolve(each) for each in value]
        return resolved if "{{" in str(value) else value

    assert any("s3cret-4711" in found for found in inventory_secrets.find(structure, resolve))


def test_what_leads_to_no_secret_is_not_evaluated():
    def resolve(value: Any) -> Any:
        raise AssertionError(f"{value} was evaluated")

    inventory_secrets.find({"definition": {"text": "{{ document }}", "n": "{{ name }}"}}, resolve)
