"""The published schema is that of the engine, and says what every key means."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from authoring import schema_file

MAKE = "run `make schema`, and describe new keys in authoring/schema_help.yml"
DOCUMENTS = sorted(schema_file.ROOT.glob("playbooks/*/*.yml"))


def test_every_key_is_described() -> None:
    assert schema_file.undescribed() == [], MAKE


def test_what_is_published_is_what_the_engine_demands() -> None:
    assert schema_file.SCHEMA.read_text(encoding="utf-8") == schema_file.published(), MAKE
    assert schema_file.REFERENCE.read_text(encoding="utf-8") == schema_file.reference(), MAKE


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if path.parent.name in ("migrations", "repairs")],
    ids=lambda path: path.stem,
)
def test_our_own_documents_name_it_and_fit_it_but_for_their_templates(path) -> None:
    text = path.read_text(encoding="utf-8")
    named = "# yaml-language-server: $schema=../../docs/migration-document.schema.json"
    assert text.startswith(named)
    published = json.loads(schema_file.SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(published)
    for error in validator.iter_errors(yaml.safe_load(text)):
        assert "{{" in json.dumps(error.instance), error.message
