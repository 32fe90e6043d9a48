"""What the evidence keeps of who ran a command, and of what came by ``-e``."""

from __future__ import annotations

import os
import pwd

import pytest
from release import asking, origin


def test_who_is_logged_in_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch):
    name = pwd.getpwuid(os.geteuid()).pw_name
    for variable in ("USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.setenv(variable, name)
    assert origin.login() == name
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("SUDO_USER", "anna")
    assert origin.login() == f"anna, as {name}"


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch):
    def nobody(_number: int) -> None:
        raise KeyError

    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert origin.login() == f"uid {os.geteuid()}"


def test_what_came_by_e_is_named_and_no_secret_is_kept():
    kept = origin.of(
        {
            "ticket": "CHG1",
            "change_gate_ticket_required": "false",
            "change_gate_ticket_system": {"headers": {"Authorization": "s3cret"}},
            "awx_user_name": "eve",
            "awx_job_id": 7,
            "vault_password": "s3cret",
        }
    )
    assert kept["from_command_line"]["change_gate_ticket_required"] == "false"
    assert kept["controller"] == {"awx_user_name": "eve", "awx_job_id": 7}
    assert kept["other_variables"] == ["vault_password"]
    assert "s3cret" not in str(kept)


def test_the_settings_are_kept_without_the_login_of_the_ticket_system():
    expect = [{"path": "state", "value": "approved"}]
    system = {"url": "https://x/{ticket}?key=s3cret", "headers": {"A": "s3cret"}, "expect": expect}
    kept = asking.kept({"ticket_required": True, "ticket_system": system, "variables": {"a": 1}})
    assert kept == {"ticket_required": True, "ticket_system_expects": expect}


def test_only_the_platform_says_who_started_its_job():
    given = {"awx_user_name": "eve"}
    job = {"AWX_PRIVATE_DATA_DIR": "/tmp/awx_7", "AWX_ISOLATED_DATA_DIR": "/runner/artifacts/7"}
    written = "@/runner/env/extravars"

    assert origin.platform_user(given, [written], job) == "eve"
    assert origin.platform_user({"tower_user_name": "eve"}, [written], job) == "eve"
    assert origin.platform_user({}, [written], job) == ""
    # On a command line, under ansible-runner alone, and beside what somebody else says by -e.
    assert origin.platform_user(given, ["awx_user_name=eve"], {}) == ""
    assert origin.platform_user(given, ["awx_user_name=eve"], job) == ""
    assert origin.platform_user(given, [written, "awx_user_name=eve"], job) == ""
    runner = {"AWX_ISOLATED_DATA_DIR": "/runner/artifacts/7"}
    assert origin.platform_user(given, [written], runner) == ""
