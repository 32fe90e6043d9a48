"""The generator: what it writes is valid and clean, and what it refuses leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mongo_migration.document import definition

from authoring import lint as linting
from authoring import new_migration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "playbooks" / "migrations"
    folder.mkdir(parents=True)
    (folder / "004-add-organization.yml").write_text("")
    return tmp_path


def test_a_new_document_has_the_next_number_and_is_valid_and_clean(project: Path):
    document, playbook = new_migration.create("add-currency", project)
    assert document == project / "playbooks/migrations/005-add-currency.yml"
    made = definition.load(document.read_text(), document.name)
    assert (made.id, made.name, made.after) == ("005", "add-currency", ("004",))
    assert linting.check([document]) == []
    (play,) = yaml.safe_load(playbook.read_text())
    assert playbook.name == "migrate-005.yml"
    assert play["vars"] == {"migration": "005"}
    assert [path.name for path in new_migration.create("next-one", project)] == [
        "006-next-one.yml",
        "migrate-006.yml",
    ]


@pytest.mark.parametrize(
    "name", ["", "Add-Currency", "add currency", "add--currency", "-a", "../x", "a.yml", "a_b", "ä"]
)
def test_a_bad_name_is_refused(project: Path, name: str):
    before = sorted(project.rglob("*"))
    with pytest.raises(new_migration.RefusedError, match="such as add-currency"):
        new_migration.create(name, project)
    assert sorted(project.rglob("*")) == before


def test_what_exists_is_not_overwritten(project: Path):
    with pytest.raises(new_migration.RefusedError, match="Migration 004 is called"):
        new_migration.create("add-organization", project)
    (project / "migrate-005.yml").write_text("mine")
    with pytest.raises(new_migration.RefusedError, match=r"migrate-005\.yml exists already"):
        new_migration.create("add-currency", project)
    assert (project / "migrate-005.yml").read_text() == "mine"
    assert not list(project.glob("playbooks/migrations/005*"))


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]):
    assert new_migration.main(["Bad Name"]) == 2
    assert "'Bad Name' isn't a name for a migration" in capsys.readouterr().err


def test_the_projects_own_folder_is_taken_where_there_is_one(project: Path):
    own = project / "migrations"
    own.mkdir()
    # The number's playbook serves every folder: it is left as it is.
    _document, playbook = new_migration.create("elsewhere", project, folder=own)
    text = playbook.read_text()
    (own / "001-elsewhere.yml").rename(own / "000-elsewhere.yml")
    document, same = new_migration.create("first", project)
    assert (document, same.read_text()) == (own / "001-first.yml", text)
    assert document.read_text().startswith(
        "# yaml-language-server: $schema=../docs/migration-document.schema.json\n"
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("EUR", "string"),
        ("7", "int"),
        ("true", "bool"),
        ("1.5", "double"),
        ("2026-01-01", "string"),
    ],
)
def test_a_constant_is_a_valid_and_clean_document(project: Path, value: str, kind: str):
    constant = new_migration._constant("my orders", "a-b", value)
    document, _playbook = new_migration.create("add-it", project, constant=constant)
    made = definition.load(document.read_text(), document.name)
    assert linting.check([document]) == []
    options = made.steps[0].options
    assert (options["collections"], options["field"], options["type"]) == (
        ["my orders"],
        "a-b",
        kind,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("a", "b", ""), "belong together"),
        (("a", "b.c", "1"), "top-level"),
        (("a", "_id", "1"), "top"),
    ],
)
def test_half_a_constant_is_refused(given: tuple[str, str, str], said: str):
    with pytest.raises(new_migration.RefusedError, match=said):
        new_migration._constant(*given)
