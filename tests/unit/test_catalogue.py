"""Which file is which migration: one number stands for one document, or is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mongo_migration.document import catalogue, definition
from mongo_migration.errors import DefinitionError

from tests.support.playbooks import ROOT

MIGRATIONS = ROOT / "playbooks" / "migrations"


def write(folder: Path, name: str, number: str | None = None, title: str = "add") -> None:
    number = number or name.partition("-")[0]
    (folder / name).write_text(f'id: "{number}"\nname: {title}\n')


def test_the_documents_of_the_project_are_certain():
    found = catalogue.read(MIGRATIONS)
    assert found.problems == ()
    assert found.names == [
        "003-create-default-financial-period",
        "004-add-organization-to-all-models",
    ]


def test_two_documents_of_one_number_are_both_named_and_neither_is_taken(tmp_path: Path):
    write(tmp_path, "004-old.yml")
    write(tmp_path, "005-add-currency.yml")
    write(tmp_path, "005-add-colour.yaml")
    found = catalogue.read(tmp_path)
    assert set(found.files) == {"004"}
    assert set(found.doubled["005"]) == {"005-add-currency.yml", "005-add-colour.yaml"}
    (problem,) = found.problems
    assert "005-add-currency.yml" in problem
    assert "005-add-colour.yaml" in problem


def test_an_id_that_is_not_its_files_is_a_problem_with_the_place(tmp_path: Path):
    write(tmp_path, "005-add-currency.yml", number="006")
    (problem,) = catalogue.read(tmp_path).problems
    assert problem.startswith(f"{tmp_path}/005-add-currency.yml: id: is '006'")
    assert 'Write id: "005"' in problem


def test_loading_refuses_an_id_that_is_not_its_files():
    text = (MIGRATIONS / "004-add-organization-to-all-models.yml").read_text()
    with pytest.raises(DefinitionError, match=r"005-copy\.yml: id: is '004'"):
        definition.load(text, "migrations/005-copy.yml")
    # Without a numbered file there is nothing to contradict.
    assert definition.load(text, "definition").id == "004"


def test_a_repair_is_called_by_its_files_name(tmp_path: Path):
    write(tmp_path, "R07-wrong-dates.yml", title="wrong-days")
    (problem,) = catalogue.read(tmp_path, catalogue.REPAIR).problems
    assert "name: is 'wrong-days'" in problem


@pytest.mark.parametrize("name", ["5-add.yml", "05-add.yml", "005_add.yml", "R1-add.yml"])
def test_a_number_that_no_playbook_finds_is_a_problem(tmp_path: Path, name: str):
    (tmp_path / name).write_text("id: x\n")
    (problem,) = catalogue.read(tmp_path).problems
    assert f"{name}: no playbook finds it" in problem


def test_four_digits_come_after_three(tmp_path: Path):
    write(tmp_path, "1000-late.yml")
    write(tmp_path, "999-early.yml")
    assert list(catalogue.read(tmp_path).files) == ["999", "1000"]
    assert catalogue.ids_of("1000,999", place="migrations") == (["999", "1000"], [])


def test_a_document_that_is_no_yaml_hinders_no_other(tmp_path: Path):
    (tmp_path / "005-draft.yml").write_bytes(b"id: \xff\n")
    (tmp_path / "006-draft.yml").write_text("id: [\n")
    assert catalogue.read(tmp_path).problems == ()


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path):
    (problem,) = catalogue.read(tmp_path / "gone").problems
    assert "gone: No such file or directory" in problem


@pytest.mark.parametrize("given", [[8], 8, ["003", 4], {"003": 1}, True])
def test_ids_that_are_not_text_are_refused(given: object):
    _ids, problems = catalogue.ids_of(given, place="migrations")
    assert problems
    assert "in quotes" in problems[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({3: {}}, "3 isn't text"),
        ({"009": {"a": 1}}, "there is no migration or repair '009'"),
        ({"4": {"a": 1}}, 'write "004"'),
        ({"004": "x"}, "'004': must be a mapping"),
        ("004", "must be a mapping from ids"),
    ],
)
def test_keys_of_migration_variables_are_checked(given: object, words: str):
    (problem,) = catalogue.check_variables(given, ["003", "004", "R01"])
    assert problem.startswith("migration_variables: ")
    assert words in problem


def test_right_keys_of_migration_variables_pass():
    assert (
        catalogue.check_variables(
            {"003": {}, "004": {"a": 1}, "R01": {"keep": "oldest"}}, ["004", "R01"]
        )
        == []
    )


@pytest.mark.parametrize("given", [[3], ["3"], "003", 3])
def test_ids_assumed_applied_are_text_as_in_the_documents(given: object):
    (problem,) = catalogue.check_assumed(given)
    assert problem.startswith("migrations_assumed_applied: ")
    assert catalogue.check_assumed(["002", "003"]) == []


def test_what_is_no_file_is_named_and_never_read(tmp_path: Path):
    os.mkfifo(tmp_path / "009-pipe.yml")
    (tmp_path / "010-folder.yml").mkdir()
    (tmp_path / "011-endless\x1b[2J.yml").symlink_to("/dev/zero")
    found = catalogue.read(tmp_path)
    assert found.files == {}
    assert len(found.problems) == 3
    assert all("is no file: move it away" in problem for problem in found.problems)
    assert not any("\x1b" in problem for problem in found.problems)
