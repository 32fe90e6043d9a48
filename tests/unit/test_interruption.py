"""The last words of a command that was interrupted, at several moments."""

from __future__ import annotations

from typing import Any

from invocation.interruption import Story

AGAIN = "ansible-playbook migrate-004.yml -i production -e ticket=CHG1"


def told(*actions: str, check: bool = False, again: str = AGAIN, **facts: Any) -> str:
    story = Story(phase="Change the database")
    story.learns(facts)
    for action in actions:
        story.begins(action, check=check)
    return "\n".join(story.last_words("The task", again))


def test_before_anything_changed():
    words = told("mongo_migration_info")
    assert "Interrupted (Change the database: The task)" in words
    assert "written nothing to the data" in words
    assert "did not touch maintenance mode" in words
    assert f"next      {AGAIN}" in words
    assert "status.yml" not in words


def test_in_maintenance_mode():
    words = told("mongo_maintenance", "ansible.builtin.debug", maintenance_entered=True)
    assert "Maintenance mode is ON: the application is read-only" in words
    assert "ansible-playbook status.yml -i production   #" in words


def test_while_it_is_switched():
    for action in ("mongo_maintenance_flag", "app_maintenance_everywhere"):
        words = told(action, maintenance_entered=True)
        assert "being switched" in words


def test_after_it_was_left():
    words = told("mongo_migrate", "uri", maintenance_entered=True, maintenance_left=True)
    assert "Maintenance mode is off" in words
    assert "has written to the data" in words


def test_a_check_has_begun_nothing():
    assert "written nothing" in told("mongo_migrate", "debug", check=True)


def test_a_module_that_speaks_itself_is_not_interrupted():
    assert told("mongo_migrate") == ""


def test_a_secret_is_not_repeated():
    words = told("debug", again="ansible-playbook migrate-004.yml -e vault_password=hunter2")
    assert "hunter2" not in words


def test_what_shows_itself_says_itself_that_it_ends_and_what_works_unseen_does_not():
    for action in ("mongo_monitor", "mongo_migration_watch"):
        story = Story()
        story.begins(action, check=False)
        assert story.last_words("Watch", "ansible-playbook attach.yml -i x") == []
    story = Story()
    story.begins("mongo_monitor", check=False, background=True)
    assert "next      ansible-playbook migrate-004.yml -i x" in story.last_words(
        "Begin to sample", "ansible-playbook migrate-004.yml -i x"
    )
