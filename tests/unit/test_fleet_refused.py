"""What a policy refuses before the first write is refused; in the middle of a run, it is undone."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.errors import PlanBlockedError
from mongo_migration.fleet import applying, outcomes


def _ended(monkeypatch: pytest.MonkeyPatch, **details: Any) -> outcomes.Outcome:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise PlanBlockedError("an owner was deleted", run="005-1", **details)

    undone = {"run": "005-1", "changed": True}
    monkeypatch.setattr(applying.migrate, "migrate", refuse)
    monkeypatch.setattr(applying.rollback, "roll_back", lambda *_args, **_options: undone)
    monkeypatch.setattr(applying.verify, "verify", lambda **_options: {"passed": True})
    job: Any = type(
        "Job",
        (),
        {
            "database": "tenant_1",
            "client": None,
            "operator": {},
            "progress": None,
            "stop": None,
        },
    )()
    wanted: Any = applying.Wanted(
        definition=type("Definition", (), {"id": "005"})(),
        until="applied",
        job=lambda _lane, _name: job,
        home="control",
    )
    return applying._one(None, "tenant_1", wanted)


def test_a_plan_that_is_refused_has_written_nothing(monkeypatch: pytest.MonkeyPatch):
    assert _ended(monkeypatch).state == outcomes.REFUSED


def test_a_policy_that_ends_a_run_in_the_middle_is_undone(monkeypatch: pytest.MonkeyPatch):
    ended = _ended(monkeypatch, phase="failed", counts={"modified": 100})
    assert (ended.state, ended.changed) == (outcomes.UNDONE, True)
