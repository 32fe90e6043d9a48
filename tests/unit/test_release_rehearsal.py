"""A rehearsal goes up, down and up with the same document, is sealed, and not long ago."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence import log_writer, proof, seal, signature
from release import copies, notice, rehearsal

NOW = datetime(2026, 11, 23, 20, tzinfo=UTC)
DIGEST = "d" * 64


MODULES = {
    "migrate": "mongo_migrate",
    "rehearse": "mongo_rehearse",
    "rollback": "mongo_rollback",
    "notice": "uri",
}


def turn(root: Path, action: str, hours_ago: float, *, alone: bool = True, **more: Any) -> Path:
    """Leave the sealed evidence of one run, as a command does.

    Args:
        root: of all evidence.
        action: of the command.
        hours_ago: when it ended.
        alone: whether it was verified by a process of its own.
        more: of run.json.
    """
    began = NOW - timedelta(hours=hours_ago, minutes=5)
    ended = NOW - timedelta(hours=hours_ago)
    run = {
        "action": action,
        "migration": "004",
        "digest": DIGEST,
        "run": "004-1",
        "deployment": "staging",
        "database": "bizzai",
        "started": began.isoformat(),
        "ended": ended.isoformat(),
        "outcome": "success",
        "verified": True,
        "check_mode": False,
        "variables": {"policy": "default_period"},
        **more,
    }
    folder = root / f"{began:%Y%m%d-%H%M%S}-{action}-{run['migration']}-{run['deployment']}"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    checks = [{"name": "all", "status": "passed"}]
    verification = {"passed": True, "run": "004-1", "checks": checks}
    (folder / "verification.json").write_text(json.dumps(verification))
    log = log_writer.Writer(folder)
    log.write(
        [
            {
                "time": moment.isoformat(),
                "action": module,
                "host": run["deployment"],
                "status": "ok",
            }
            for moment, module in ((began, MODULES[action]), (ended, "mongo_verify"))
            if alone or module != "mongo_verify"
        ],
        "",
    )
    log.close()
    reseal(folder, ended)
    return folder


def reseal(folder: Path, at: datetime) -> None:
    """Seal it as of then: whoever can write can do so, and every sum is right."""
    made = seal.seal(folder)
    (folder / seal.SEAL).write_text(json.dumps({**made, "sealed": at.isoformat()}))


def verify(folder: Path, modules: Sequence[str]) -> list[str]:
    return proof.problems(folder, modules, now=NOW)


def find(root: Path, **more: Any) -> rehearsal.Rehearsal:
    known = {
        "digest": DIGEST,
        "days": 14,
        "but_not": "production",
        "databases": ["bizzai"],
        "variables": {"policy": "default_period"},
        "verify": verify,
        **more,
    }
    return rehearsal.find(root=root, now=NOW, **known)


def on_copy(
    root: Path, hours_ago: float = 3, told: dict[str, Any] | None = None, **more: Any
) -> Path:
    """Leave the sealed evidence of one rehearsal on a copy of production's data."""
    folder = turn(root, "rehearse", hours_ago, deployment="production", **more)
    (folder / "verification.json").unlink()
    good = {"passed": True, "checks": [{"name": "all", "status": "passed"}]}
    rehearsal_ = {
        "passed": True,
        "digest": DIGEST,
        "database": "bizzai",
        "snapshot_time": (NOW - timedelta(hours=hours_ago + 1)).isoformat(),
        "documents": 20,
        "seconds": {"migrate": 1.5},
        "compared": {"collections": 3, "documents": 20, "problems": []},
        "turns": [{"direction": each, **good} for each in ("up", "down", "up")],
        **(told or {}),
    }
    (folder / "rehearsal.json").write_text(json.dumps(rehearsal_))
    reseal(folder, NOW - timedelta(hours=hours_ago))
    return folder


def newest(root: Path, **more: Any) -> tuple[copies.Copy | None, list[str]]:
    known = {
        "digest": DIGEST,
        "days": 14,
        "deployment": "production",
        "database": "bizzai",
        "variables": {"policy": "default_period"},
        "verify": verify,
        **more,
    }
    return copies.newest(root=root, now=NOW, **known)


def rehearse(root: Path) -> list[Path]:
    return [turn(root, "migrate", 5), turn(root, "rollback", 4), turn(root, "migrate", 3)]


REPAIR = {"id": "R01", "repair": "duplicate_periods", "digest": "r" * 64, "variables": {"k": 1}}
MADE = {
    "migration": "R01",
    "digest": "r" * 64,
    "deployment": "production",
    "variables": {"k": 1},
}


def repaired(root: Path, action: str, hours_ago: float, **more: Any) -> Path:
    """Leave the evidence of a repair in earnest, or of its undoing."""
    return turn(root, action, hours_ago, **{**MADE, **more})


def test_a_rehearsal_after_a_repair_counts_once_the_repair_was_made_here(tmp_path: Path):
    folder = on_copy(tmp_path, 5, {"repairs": [REPAIR]})
    found, problems = newest(tmp_path)
    assert found is None
    assert "it was after repair=duplicate_periods, which was not made here since" in problems[0]
    # Of the repair itself it is a rehearsal at once.
    itself, _problems = newest(tmp_path, digest="r" * 64, variables={"k": 1})
    assert itself is not None and itself.repairs == ()
    assert newest(tmp_path, digest="r" * 64, variables={"k": 2})[0] is None

    repaired(tmp_path, "migrate", 3)
    found, _problems = newest(tmp_path)
    assert found is not None and found.folder == folder
    assert [one.name for one in found.repairs] == ["duplicate_periods"]


def test_a_repair_that_is_live_first_makes_it_count_too(tmp_path: Path):
    on_copy(tmp_path, 5, {"repairs": [REPAIR]})
    repaired(tmp_path, "migrate", 3, alone=False)
    assert newest(tmp_path)[0] is not None


@pytest.mark.parametrize(
    "spoil",
    [
        {"digest": "e" * 64},
        {"variables": {"k": 2}},
        {"verified": False},
        {"outcome": "rolled_back"},
        {"database": "playground"},
        {"deployment": "staging"},
        {"migration": "R02"},
    ],
    ids=str,
)
def test_a_repair_that_was_another_or_did_not_stand_does_not_make_it_count(
    tmp_path: Path, spoil: dict[str, Any]
):
    on_copy(tmp_path, 5, {"repairs": [REPAIR]})
    repaired(tmp_path, "migrate", 3, **spoil)
    assert newest(tmp_path)[0] is None


@pytest.mark.parametrize("outcome", ["success", "failed"])
def test_a_repair_that_was_undone_or_came_before_the_copy_does_not_count(
    tmp_path: Path, outcome: str
):
    on_copy(tmp_path, 5, {"repairs": [REPAIR]})
    repaired(tmp_path, "migrate", 7)
    assert newest(tmp_path)[0] is None
    repaired(tmp_path, "migrate", 3)
    assert newest(tmp_path)[0] is not None
    repaired(tmp_path, "rollback", 2, outcome=outcome)
    assert newest(tmp_path)[0] is None


def test_up_down_and_up_is_a_rehearsal(tmp_path: Path):
    folders = rehearse(tmp_path)
    found = find(tmp_path)
    assert [each.folder for each in found.turns] == folders
    assert found.problems == ()


def test_what_is_live_first_is_verified_by_the_process_that_migrates(tmp_path: Path):
    turn(tmp_path, "migrate", 30, alone=False)
    turn(tmp_path, "rollback", 20)
    turn(tmp_path, "migrate", 10, alone=False)
    assert find(tmp_path).turns

    turn(tmp_path / "other", "migrate", 30)
    turn(tmp_path / "other", "rollback", 20, alone=False)
    turn(tmp_path / "other", "migrate", 10)
    assert not find(tmp_path / "other").turns


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
        {"ended": (NOW + timedelta(days=900)).isoformat()},
        {"started": (NOW + timedelta(days=900)).isoformat()},
        {"deployment": ""},
        {"database": "playground"},
        {"database": ""},
        {"variables": {"policy": "per_fiscal_year"}},
        {"variables": None},
        {"finished_by": "20261123-000000-migrate-004-staging"},
        {"run": "004-2"},
    ],
    ids=[
        *("another document", "unverified", "failed", "a plan", "production itself", "too old"),
        *("ahead", "begun ahead", "nowhere", "another database", "no database"),
        *("other variables", "unknown variables", "killed", "another run's verification"),
    ],
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
        (30, [], False, "sent no notice"),
        (24 * 40, ["mail"], False, "sent no notice"),
    ],
    ids=["a day ahead", "too late", "nobody reached", "long ago"],
)
def test_a_notice_counts_when_it_was_early_enough(
    tmp_path: Path, hours_ago: float, told: list[str], enough: bool, why: str
):
    folder = turn(tmp_path, "notice", hours_ago)
    sent = (NOW - timedelta(hours=hours_ago)).isoformat()
    record = {"migrations": ["004"], "deployment": "db", "sent": sent, "sent_to": told}
    (folder / "notice.json").write_text(json.dumps({**record, "database": "bizzai"}))
    reseal(folder, NOW - timedelta(hours=hours_ago))
    found, problem = told_of(tmp_path)
    assert (found is not None) is enough
    assert why in problem


def told_of(root: Path) -> tuple[dict[str, Any] | None, str]:
    return notice.find(
        root=root,
        migration="004",
        deployment="db",
        database="bizzai",
        now=NOW,
        hours=24,
        verify=lambda folder: verify(folder, ()),
    )


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        ({"database": "playground"}, "about the database 'playground'"),
        ({"sent": (NOW + timedelta(days=900)).isoformat()}, "only be sent"),
        ({"event": "progress"}, "announces 'progress'"),
    ],
)
def test_a_notice_that_cannot_be_does_not_count(tmp_path: Path, forged: dict[str, Any], why: str):
    folder = turn(tmp_path, "notice", 30)
    sent = (NOW - timedelta(hours=30)).isoformat()
    known = {"migrations": ["004"], "deployment": "db", "sent": sent, "sent_to": ["mail"]}
    (folder / "notice.json").write_text(json.dumps({**known, "database": "bizzai", **forged}))
    reseal(folder, NOW - timedelta(hours=30))
    found, problem = told_of(tmp_path)
    assert found is None
    assert why in problem


def without_log(folder: Path) -> None:
    (folder / "log.jsonl").unlink()


def of_another_module(folder: Path) -> None:
    text = (folder / "log.jsonl").read_text().replace("mongo_migrate", "mongo_migration_info")
    lines = [json.loads(line) for line in text.splitlines()]
    (folder / "log.jsonl").unlink()
    log = log_writer.Writer(folder)
    log.write([{k: v for k, v in x.items() if k not in ("previous", "hash")} for x in lines], "")
    log.close()


def without_checks(folder: Path) -> None:
    (folder / "verification.json").write_text('{"passed": true, "checks": []}')


def with_failed_check(folder: Path) -> None:
    checks = [{"name": "a", "status": "failed"}]
    (folder / "verification.json").write_text(json.dumps({"passed": True, "checks": checks}))


@pytest.mark.parametrize(
    "forge", [without_log, of_another_module, without_checks, with_failed_check]
)
def test_typed_evidence_is_no_rehearsal_though_every_sum_is_right(
    tmp_path: Path, forge: Callable[[Path], None]
):
    folders = rehearse(tmp_path)
    forge(folders[2])
    reseal(folders[2], NOW - timedelta(hours=3))
    assert seal.verify(folders[2]) == []
    assert not find(tmp_path).complete


@pytest.mark.parametrize("name", ["typed", "20261123-140000-migrate-004-production"])
def test_a_folder_is_called_as_a_command_calls_it(tmp_path: Path, name: str):
    folders = rehearse(tmp_path)
    moved = folders[2].rename(tmp_path / name)
    reseal(moved, NOW - timedelta(hours=3))
    assert not find(tmp_path).complete


def test_with_a_key_only_what_is_signed_counts(tmp_path: Path):
    key = Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(pem, form).decode()

    def signed(folder: Path, modules: Sequence[str]) -> list[str]:
        return proof.problems(folder, modules, now=NOW, public_key=public)

    folders = rehearse(tmp_path)
    assert "isn't signed" in " ".join(find(tmp_path, verify=signed).problems)
    for folder in folders:
        signature.sign(folder, private)
    assert find(tmp_path, verify=signed).complete


def test_a_whole_rehearsal_in_another_database_is_none(tmp_path: Path):
    for action, hours in (("migrate", 5), ("rollback", 4), ("migrate", 3)):
        turn(tmp_path, action, hours, database="playground")
    found = find(tmp_path)
    assert not found.complete
    assert "it was in the database 'playground'" in found.problems[1]


def test_what_agrees_with_itself_and_lies_ahead_is_no_proof(tmp_path: Path):
    folder = turn(tmp_path, "migrate", -24 * 900)
    assert proof.problems(folder, now=NOW) == [
        "started lies ahead",
        "ended lies ahead",
        "sealed lies ahead",
    ]


def test_what_was_sealed_before_it_ended_is_no_proof(tmp_path: Path):
    folder = turn(tmp_path, "migrate", 3)
    reseal(folder, NOW - timedelta(hours=4))
    assert "sealed before it ended" in proof.problems(folder, now=NOW)[0]


def test_what_is_called_by_another_time_is_no_proof(tmp_path: Path):
    folder = turn(tmp_path, "migrate", 3)
    other = folder.rename(folder.with_name(f"20261101{folder.name[8:]}"))
    reseal(other, NOW - timedelta(hours=3))
    assert "isn't that of its begin" in proof.problems(other, now=NOW)[0]


@pytest.mark.parametrize(
    ("moments", "said"),
    [
        ([], "has no log"),
        ([3.0, 3.1], "aren't in the order of their times"),
        ([9.0, 8.0], "is of another time"),
    ],
    ids=["none", "backwards", "of another time"],
)
def test_a_log_that_cannot_be_of_the_command_is_no_proof(
    tmp_path: Path, moments: list[float], said: str
):
    folder = turn(tmp_path, "notice", 3)
    (folder / "log.jsonl").unlink()
    if moments:
        log = log_writer.Writer(folder)
        log.write([{"time": (NOW - timedelta(hours=at)).isoformat()} for at in moments], "")
        log.close()
    reseal(folder, NOW - timedelta(hours=3))
    assert said in proof.problems(folder, now=NOW)[0]


# -- on a copy of the data -------------------------------------------------------------------


def test_one_on_a_copy_of_these_very_data_counts(tmp_path: Path):
    older, newer = on_copy(tmp_path, 30), on_copy(tmp_path, 3)
    found, problems = newest(tmp_path)
    assert problems == []
    assert found is not None
    assert found.folder == newer != older
    assert (found.documents, found.seconds) == (20, {"migrate": 1.5})
    # It is not a turn of a rehearsal elsewhere.
    assert find(tmp_path).turns == ()


_BAD = {"passed": False, "checks": [{"name": "all", "status": "failed"}]}
_GOOD = {"passed": True, "checks": [{"name": "all", "status": "passed"}]}


@pytest.mark.parametrize(
    "told",
    [
        {"passed": False},
        {"digest": "e" * 64},
        {"database": "other"},
        {"compared": {"collections": 3, "problems": ["items differs"]}},
        {"compared": {"collections": 0, "problems": []}},
        {"turns": [{"direction": each, **_GOOD} for each in ("up", "down")]},
        {"turns": [{"direction": each, **_BAD} for each in ("up", "down", "up")]},
        {"turns": [{"direction": "up", "passed": True, "checks": []}] * 3},
        {"snapshot_time": "yesterday"},
        {"seconds": None},
        {"turns": None},
    ],
)
def test_half_of_one_on_a_copy_is_none(tmp_path: Path, told: dict[str, Any]):
    on_copy(tmp_path, told=told)
    assert newest(tmp_path) == (None, [])


@pytest.mark.parametrize(
    "run",
    [
        {"outcome": "failed"},
        {"verified": False},
        {"check_mode": True},
        {"finished_by": "another"},
        {"digest": "e" * 64},
    ],
)
def test_one_that_failed_or_was_no_more_than_a_check_is_none(tmp_path: Path, run: dict[str, Any]):
    on_copy(tmp_path, **run)
    assert newest(tmp_path) == (None, [])


def test_one_on_a_copy_of_other_data_or_with_other_values_is_none(tmp_path: Path):
    on_copy(tmp_path)
    assert newest(tmp_path, deployment="staging") == (None, [])
    for more, why in (
        ({"database": "other"}, "it was in the database 'bizzai', not in other"),
        ({"variables": {"policy": "else"}}, "it had another value of policy"),
    ):
        found, (problem,) = newest(tmp_path, **more)
        assert found is None
        assert why in problem


def test_the_data_must_be_as_young_as_the_rehearsal(tmp_path: Path):
    on_copy(tmp_path, told={"snapshot_time": (NOW - timedelta(days=20)).isoformat()})
    found, (problem,) = newest(tmp_path)
    assert found is None
    assert "its data are those of 2026-11-03: rehearse on a newer backup" in problem
    assert newest(tmp_path, days=0.01) == (None, [])


def test_one_on_a_copy_that_was_edited_or_never_ran_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = on_copy(tmp_path)
    text = (folder / "rehearsal.json").read_text()
    (folder / "rehearsal.json").write_text(text.replace('"documents": 20', '"documents": 21', 1))
    _found, (problem,) = newest(tmp_path)
    assert f"{folder.name} doesn't count" in problem

    monkeypatch.setitem(MODULES, "rehearse", "mongo_migration_info")
    on_copy(tmp_path, 2)
    found, problems = newest(tmp_path)
    assert found is None
    assert any("mongo_rehearse didn't succeed on production" in each for each in problems)
