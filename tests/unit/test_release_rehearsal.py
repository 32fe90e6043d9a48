"""A rehearsal goes up, down and up with the same document, is sealed, and not long ago."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from evidence import seal
from release import notice, rehearsal

NOW = datetime(2026, 11, 23, 20, tzinfo=UTC)
DIGEST = "d" * 64


def turn(root: Path, action: str, hours_ago: float, **more: Any) -> Path:
    """Leave the sealed evidence of one run."""
    ended = NOW - timedelta(hours=hours_ago)
    folder = root / f"{ended:%Y%m%d-%H%M%S}-{action}-004-staging"
    folder.mkdir(parents=True)
    run = {
        "action": action,
        "migration": "004",
        "digest": DIGEST,
        "deployment": "staging",
        "ended": ended.isoformat(),
        "outcome": "success",
        "verified": True,
        "check_mode": False,
        **more,
    }
    (folder / "run.json").write_text(json.dumps(run))
    seal.seal(folder)
    return folder


def find(root: Path, **more: Any) -> rehearsal.Rehearsal:
    known = {"digest": DIGEST, "days": 14, "but_not": "production", **more}
    return rehearsal.find(root=root, now=NOW, verify=seal.verify, **known)


def rehearse(root: Path) -> list[Path]:
    return [turn(root, "migrate", 5), turn(root, "rollback", 4), turn(root, "migrate", 3)]


def test_up_down_and_up_is_a_rehearsal(tmp_path: Path):
    folders = rehearse(tmp_path)
    found = find(tmp_path)
    assert [each.folder for each in found.turns] == folders
    assert found.problems == ()


def test_up_alone_is_none_and_what_there_is_is_told(tmp_path: Path):
    turn(tmp_path, "migrate", 5)
    turn(tmp_path, "rollback", 4)
    found = find(tmp_path)
    assert not found.complete
    assert "there is only up → down" in found.problems[0]


@pytest.mark.parametrize(
    "spoil",
    [
        {"digest": "e" * 64},
        {"verified": False},
        {"outcome": "rolled_back"},
        {"check_mode": True},
        {"deployment": "production"},
        {"ended": (NOW - timedelta(days=15)).isoformat()},
    ],
    ids=["another document", "unverified", "failed", "a plan", "production itself", "too old"],
)
def test_a_run_that_proves_nothing_does_not_count(tmp_path: Path, spoil: dict[str, Any]):
    turn(tmp_path, "migrate", 5)
    turn(tmp_path, "rollback", 4)
    turn(tmp_path, "migrate", 3, **spoil)
    assert not find(tmp_path).complete


def test_an_edited_run_does_not_count_and_is_named(tmp_path: Path):
    folders = rehearse(tmp_path)
    run = json.loads((folders[1] / "run.json").read_text())
    (folders[1] / "run.json").write_text(json.dumps({**run, "operator": "somebody"}))
    found = find(tmp_path)
    assert not found.complete
    assert any(folders[1].name in each and "was edited" in each for each in found.problems)


def test_a_run_without_a_seal_does_not_count(tmp_path: Path):
    folders = rehearse(tmp_path)
    (folders[2] / seal.SEAL).unlink()
    assert "isn't sealed" in " ".join(find(tmp_path).problems)


def test_turns_on_different_deployments_are_no_rehearsal(tmp_path: Path):
    turn(tmp_path, "migrate", 5)
    turn(tmp_path, "rollback", 4, deployment="other")
    turn(tmp_path, "migrate", 3)
    assert not find(tmp_path).complete


def test_only_named_deployments_count(tmp_path: Path):
    rehearse(tmp_path)
    assert find(tmp_path, deployments=["staging"]).complete
    assert not find(tmp_path, deployments=["elsewhere"]).complete


def test_a_missing_folder_of_evidence_is_named(tmp_path: Path):
    assert "nowhere" in find(tmp_path / "nowhere").problems[0]


@pytest.mark.parametrize(
    ("hours_ago", "told", "enough", "why"),
    [
        (30, ["mail"], True, ""),
        (3, ["mail"], False, "only 3.0 h ago"),
        (30, [], False, "nobody was told"),
        (24 * 40, ["mail"], False, "nobody was told"),
    ],
    ids=["a day ahead", "too late", "nobody reached", "long ago"],
)
def test_a_notice_counts_when_it_was_early_enough(
    tmp_path: Path, hours_ago: float, told: list[str], enough: bool, why: str
):
    folder = tmp_path / "notice"
    folder.mkdir()
    sent = (NOW - timedelta(hours=hours_ago)).isoformat()
    record = {"migrations": ["004"], "deployment": "db", "sent": sent, "sent_to": told}
    (folder / "notice.json").write_text(json.dumps(record))
    seal.seal(folder)
    found, problem = notice.find(
        root=tmp_path, migration="004", deployment="db", now=NOW, hours=24, verify=seal.verify
    )
    assert (found is not None) is enough
    assert why in problem
