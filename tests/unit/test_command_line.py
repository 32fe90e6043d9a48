"""The command line: what it may not leave out, and commands that can be pasted."""

from __future__ import annotations

from pathlib import Path

import pytest
from invocation import command_line, selection, settings
from invocation.command_line import CommandLine
from mongo_migration.document import catalogue

from tests.support.playbooks import ROOT

OPTIONS = {"args": ("migrate-004.yml",), "inventory": ("/etc/ansible/hosts",), "tags": ("all",)}


def complete(text: str, line: CommandLine, *, host: str = "", **shown: str) -> str:
    return command_line.complete(text, line, project=Path.cwd(), host=host, shown=shown)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["migrate-004.yml"], False),
        (["migrate-004.yml", "-i", "/etc/ansible/hosts"], True),
        (["-i/etc/ansible/hosts", "migrate-004.yml"], True),
        (["--inventory=/etc/ansible/hosts", "migrate-004.yml"], True),
        (["-vi", "/etc/ansible/hosts", "migrate-004.yml"], True),
        (["migrate-004.yml", "-e", "x=i"], False),
        (["migrate-004.yml", "--limit", "db1"], False),
    ],
)
def test_whether_an_inventory_was_named(arguments: list[str], named: bool):
    line = command_line.read(OPTIONS, arguments, ["/etc/ansible/hosts"])
    assert line.inventory_named is named


def test_values_that_a_run_began_with_are_repeated_where_it_goes_on_by_them():
    given = {"migration_variables": {"003": {"fiscal_years": "it's"}}, "ticket": "C1"}
    line = command_line.read({**OPTIONS, "inventory": ()}, [], [], given)
    values = """-e '{"migration_variables": {"003": {"fiscal_years": "it'"'"'s"}}}'"""

    again = complete("ansible-playbook migrate-003.yml; then ansible-playbook status.yml", line)

    assert again == f"ansible-playbook migrate-003.yml {values}; then ansible-playbook status.yml"
    assert complete(again, line) == again
    assert complete("ansible-playbook verify.yml -e migration=003", line) == (
        f"ansible-playbook verify.yml {values} -e migration=003"
    )
    # It is undone by the values that the run began with, whatever they are today.
    back = "ansible-playbook rollback.yml -e migration=003"
    assert complete(back, line) == back


def test_the_databases_that_a_command_was_about_are_those_of_the_next_one():
    given = {"mongo_database": "tenant_7", "mongo_databases": "none", "migration": "004"}
    line = command_line.read({**OPTIONS, "inventory": ("/srv/hosts",)}, [], [], given)
    place = "-e mongo_database=tenant_7 -e mongo_databases=none"

    for playbook in ("restore.yml", "status.yml", "migrate-004.yml"):
        again = complete(f"ansible-playbook {playbook}", line)
        assert again == f"ansible-playbook {playbook} -i /srv/hosts {place}"
        assert complete(again, line) == again
    assert command_line.target(line) == f"-i /srv/hosts {place}"
    query = {"databases": ["a", "b"], "mongo_databases": {"from": "c.d", "take": "e"}}
    line = command_line.read({**OPTIONS, "inventory": ()}, [], [], query)
    again = complete("ansible-playbook rollback.yml -e databases=a", line)
    assert again == (
        """ansible-playbook rollback.yml -e '{"mongo_databases": {"from": "c.d", "take": "e"}}' """
        "-e databases=a"
    )


def test_how_many_databases_are_gone_through_is_how_it_goes_on():
    given = {"canary": "passed", "failures_allowed": 2, "lanes": "4"}
    line = command_line.read({**OPTIONS, "inventory": ()}, [], [], given)
    assert complete("ansible-playbook migrate-004.yml", line) == (
        "ansible-playbook migrate-004.yml -e canary=passed -e failures_allowed=2 -e lanes=4"
    )
    assert complete("ansible-playbook rollback.yml", line) == "ansible-playbook rollback.yml"
    line = command_line.read({**OPTIONS, "inventory": ()}, [], [], {"canary": 3})
    passed = "ansible-playbook migrate-004.yml -e canary=passed"
    assert complete(passed, line) == passed


@pytest.mark.parametrize(
    "option",
    [
        {"start_at_task": "Back up"},
        {"tags": ("backup",)},
        {"skip_tags": ("gate",)},
        {"step": True},
    ],
)
def test_what_would_leave_out_the_checks_is_refused(option: dict[str, object]):
    line = command_line.read({**OPTIONS, **option}, [], [])
    (problem,) = command_line.refusals(line)
    assert problem.startswith("--")
    assert command_line.refusals(command_line.read(OPTIONS, [], [])) == []


def test_a_command_gets_inventory_and_limit_as_given():
    line = CommandLine(inventory=(str(Path.cwd() / "production"), "/srv/more hosts"), limit="db1")
    assert complete("Next: ansible-playbook migrate-004.yml --check. See docs.", line) == (
        "Next: ansible-playbook migrate-004.yml -i production -i '/srv/more hosts' --limit db1 "
        "--check. See docs."
    )


def test_a_command_that_is_complete_stays_as_it_is():
    line = CommandLine(inventory=("/srv/hosts",), more=("--ask-vault-password",))
    once = complete("ansible-playbook status.yml, then ansible-playbook control.yml -e a=b", line)
    assert once == (
        "ansible-playbook status.yml -i /srv/hosts --ask-vault-password, then "
        "ansible-playbook control.yml -i /srv/hosts --ask-vault-password -e a=b"
    )
    assert complete(once, line) == once


def test_of_several_deployments_a_command_names_its_own():
    line = CommandLine(inventory=("/srv/hosts",))
    assert complete("ansible-playbook status.yml", line, host="db2").endswith("--limit db2")


def test_the_gate_is_shown_again_what_it_was_shown():
    line = CommandLine(inventory=("/srv/hosts",))
    given = {"ticket": "CHG1; rm -rf /", "approver": "anna"}
    again = complete("ansible-playbook rollback.yml -e migration=004", line, **given)
    assert "-e '{ticket: !unsafe \"CHG1; rm -rf /\"}' -e approver=anna -e migration=004" in again
    assert complete(again, line, **given).count("ticket") == 1
    assert "ticket" not in complete("ansible-playbook status.yml", line, **given)


def test_a_migration_without_a_playbook_of_its_own_is_carried_out_by_the_common_one():
    line = CommandLine(inventory=("/srv/hosts",))
    text = command_line.complete("ansible-playbook migrate-777.yml --check", line, project=ROOT)
    expected = "playbooks/migrate.yml -i /srv/hosts -e migration=777 --check"
    assert text.removeprefix("ansible-playbook ").removeprefix(f"{ROOT}/") == expected


def test_from_another_folder_a_command_names_the_projects(tmp_path: Path):
    line = CommandLine(inventory=("/srv/hosts",))
    text = command_line.complete("ansible-playbook status.yml", line, project=tmp_path)
    assert text == f"ansible-playbook {tmp_path}/status.yml -i /srv/hosts"


def test_the_number_in_a_playbooks_name_is_known():
    names = ("migrate-004.yml", "/srv/x/migrate-005.yml", "ours.shop.migrate_006", "status.yml")
    assert CommandLine(playbooks=names).migrations == ["004", "005", "006"]


def problems(given: dict[str, object], **more: object) -> list[str]:
    options = {
        "wanted": selection.Wanted(migration=True),
        "typed": {},
        "line": CommandLine(),
        **more,
    }
    return selection.problems(
        options["wanted"],  # type: ignore[arg-type]
        given,
        typed=options["typed"],  # type: ignore[arg-type]
        line=options["line"],  # type: ignore[arg-type]
        migrations=catalogue.read(ROOT / "playbooks" / "migrations"),
        repairs=catalogue.read(ROOT / "playbooks" / "repairs", catalogue.REPAIR),
    )


def test_a_playbooks_name_and_an_extra_variable_must_agree():
    line = CommandLine(playbooks=("migrate-004.yml",))
    (problem,) = problems({"migration": "003"}, typed={"migration": "003"}, line=line)
    assert "migrate-004.yml carries out migration 004" in problem
    assert problems({"migration": "4"}, typed={"migration": "4"}, line=line) == []


def test_a_value_that_ansible_split_is_refused():
    # -e reason="index repair", as the shell hands it on.
    typed = {"reason": "index", "_raw_params": "repair"}
    (problem,) = problems({"migration": "004"}, typed=typed)
    assert problem.startswith("-e: 'repair' belongs to no variable")


@pytest.mark.parametrize("given", [4, 8.0, True, ["004"]])
def test_an_id_that_is_not_text_is_refused(given: object):
    (problem,) = problems({"migration": given})
    assert "in quotes" in problem


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("migrate_batch_size", -1, "at least 1"),
        ("migrate_batch_size", 10**9, "at most 100,000"),
        ("migrate_throttle", {"pause_second": 1}, "no limit 'pause_second'"),
        ("rollback_throttle", {"target_seconds": "x"}, "must be a number"),
        ("watch_minutes", -1.0, "at least 0"),
        ("monitor_thresholds", {"lagg": None}, "no such metric"),
        ("change_gate_ticket_pattern", "(", "isn't a pattern"),
    ],
)
def test_what_a_type_cannot_say(name: str, value: object, words: str):
    assert words in (settings.problem(name, value) or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("migrate_batch_size", 0), ("migrate_throttle", {"batch_size": None}), ("watch_minutes", 0)],
)
def test_right_settings_pass(name: str, value: object):
    assert settings.problem(name, value) is None


def test_tags_that_no_task_has_leave_nothing_out() -> None:
    """Molecule gives them to every command."""
    given = {**OPTIONS, "skip_tags": ("molecule-idempotence-notest", "notest")}
    assert command_line.refusals(command_line.read(given, [], [])) == []


def test_commands_of_an_installed_collection_go_by_its_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/")
    line = CommandLine(inventory=("/srv/production",))
    text = "Next: ansible-playbook migrate-004.yml -C, or ansible-playbook emergency-rollback.yml"
    assert command_line.complete(text, line, project=ROOT, collection="ours.mongodb") == (
        "Next: ansible-playbook ours.mongodb.migrate -i /srv/production -e migration=004 -C, "
        "or ansible-playbook ours.mongodb.emergency_rollback -i /srv/production"
    )
