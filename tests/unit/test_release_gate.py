"""What the gate finds, all of it at once; the ticket system is a real HTTP server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from release import dependencies, revision, ticket
from release.errors import SettingError
from release.gate import Gate, Migration, Verdict

from tests.support.tickets import APPROVED, REQUESTED, TicketSystem, ticket_system

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
MIGRATION = Migration(id="004", digest="d" * 64, downtime="recommended", variables={})
REVIEW = {"id": "review", "text": "Somebody has read it"}
WORDS = "payments fail since 20:10"


@pytest.fixture(scope="module")
def system() -> Iterator[TicketSystem]:
    with ticket_system() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git checkout with one commit."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.yml").write_text("a: 1\n")
    for command in (["init", "-q"], ["add", "a.yml"], ["commit", "-q", "-m", "One"]):
        git(folder, *command)
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def check(project: Path, **asked: Any) -> Verdict:
    settings: dict[str, Any] = {
        "project": str(project),
        "database": "bizzai",
        "deployment": "production",
        "operator": "anna",
        "timezone": "UTC",
        "ticket_pattern": "^CHG[0-9]{7}$",
        "tag_pattern": "^v",
        "rehearsal": "any",
        "rehearsal_days": 0,
        "notice_hours": 24,
        "maintenance_mode": "auto",
        "rehearsal_evidence": str(project / "evidence"),
        "evidence": str(project / "evidence"),
        **dict.fromkeys(("ticket", "approver", "reason", "override", "confirm", "ticket_system")),
        **dict.fromkeys(("ticket_required", "approver_required", "way_out", "login"), False),
        **dict.fromkeys(("clean_revision_required", "tag_required"), False),
        **{name: [] for name in ("windows", "freezes", "checklist", "confirmed", "typed")},
        "rehearsal_deployments": [],
        "rehearsal_databases": [],
        **asked,
    }
    gate = Gate(settings, migrations=[MIGRATION], now=MONDAY, verify=lambda *_asked: [])
    return gate.check()


def missing(verdict: Verdict) -> list[str]:
    return [sentence.partition(":")[0] for sentence in verdict.as_dict()["missing"]]


STRICT: dict[str, Any] = {
    "ticket_required": True,
    "approver_required": True,
    "tag_required": True,
    "windows": [{"days": ["sat"], "from": "22:00", "to": "04:00"}],
    "rehearsal_days": 14,
}


def test_an_inventory_that_asks_for_nothing_gets_nothing(project: Path):
    verdict = check(project)
    assert verdict.findings == ()
    assert verdict.change["operator"] == "anna"


def test_everything_that_is_missing_is_told_at_once(project: Path):
    verdict = check(project, **STRICT)
    assert missing(verdict) == ["ticket", "approver", "revision", "window", "rehearsal"]
    assert "opens Sat 2026-11-28 22:00 UTC" in " ".join(verdict.as_dict()["missing"])


def test_an_override_lets_pass_what_cannot_wait_and_nothing_else(project: Path):
    verdict = check(project, **STRICT, override=WORDS)
    assert missing(verdict) == ["ticket", "revision"]
    overridden = [each.partition(":")[0] for each in verdict.change["overridden"]]
    assert overridden == ["approver", "window", "rehearsal"]
    assert verdict.change["override"] == WORDS


@pytest.mark.parametrize("reason", ["", "true", "yes", "because"])
def test_an_override_needs_a_reason_in_words(project: Path, reason: str):
    with pytest.raises(SettingError, match="is not a reason"):
        check(project, override=reason)


def test_a_wrong_confirmation_is_never_overridden(project: Path):
    assert missing(check(project, confirm="bizzia", override=WORDS)) == ["confirmation"]
    assert missing(check(project, confirm="bizzai")) == []


@pytest.mark.parametrize(
    "approver",
    [
        *(
            "anna",
            "ANNA",
            " anna ",
            "",
            "anna@example.com",
            "CORP\\anna",
            "Anna <anna@example.com>",
        ),
        *(
            "\uff41\uff4e\uff4e\uff41",
            "an\u200bna",
            "a\u034fnna",
            "anna\u3164",
            "ánna",
            "anna+x@corp",
        ),
        # Cyrillic letters that look the same, and a name of nothing at all.
        *("\u0430nna", "@example.com", "\u200b"),
    ],
)
def test_nobody_approves_their_own_change(project: Path, approver: str):
    assert missing(check(project, approver_required=True, approver=approver)) == ["approver"]


@pytest.mark.parametrize("approver", ["ravi", "Ravi Iyer", "joanna", "анна", "ravi@example.com"])
def test_somebody_else_approves_it(project: Path, approver: str):
    assert missing(check(project, approver_required=True, approver=approver)) == []


def test_who_is_logged_in_approves_nothing_either(project: Path):
    asked = {"operator": "ravi", "approver": "anna", "approver_required": True}
    verdict = check(project, **asked, login="anna, as root")
    assert "'anna' is who runs it" in verdict.as_dict()["missing"][0]
    assert (verdict.change["operator"], verdict.change["login"]) == ("ravi", "anna, as root")


@pytest.mark.parametrize(
    "number", ["CHG0000001\n", "CHG0000001\nCHG0000002", "CHG0000001\x1b[2K", "CHG\u200b0000001"]
)
def test_a_ticket_is_one_line_that_can_be_read(project: Path, number: str):
    for required in (True, False):
        verdict = check(project, ticket=number, ticket_required=required, ticket_pattern="^CHG")
        (sentence,) = verdict.as_dict()["missing"]
        assert "can't be seen" in sentence
        assert sentence.isprintable()


def test_a_way_out_records_what_is_missing_and_waits_for_nothing(project: Path):
    strict = {**STRICT, "checklist": [REVIEW], "ticket": "x\n", "approver": "anna", "timezone": "?"}
    verdict = check(project, **strict, way_out=True, override="no")
    assert (missing(verdict), verdict.as_dict()["unconfirmed"]) == ([], [])
    waived = [each.partition(":")[0] for each in verdict.change["waived"]]
    assert waived == ["ticket", "approver", "revision"]
    # The name of another database still says that this is another inventory.
    assert missing(check(project, way_out=True, confirm="bizzia")) == ["confirmation"]


def test_a_persons_item_is_asked_for_until_somebody_confirms_it(project: Path):
    verdict = check(project, checklist=[REVIEW])
    assert verdict.as_dict()["to_confirm"] == [REVIEW]
    for how in ("confirmed", "typed"):
        verdict = check(project, checklist=[REVIEW], **{how: ["review"]})
        assert verdict.as_dict()["to_confirm"] == []
        assert verdict.as_dict()["unconfirmed"] == []
        assert verdict.change["checklist"][0]["how"] == {"confirmed": "passed"}.get(how, how)


def test_no_override_confirms_a_persons_item(project: Path):
    assert check(project, checklist=[REVIEW], override=WORDS).as_dict()["unconfirmed"]


@pytest.mark.parametrize(
    ("items", "confirmed", "message"),
    [
        ([REVIEW], ["revue"], "-e checklist=revue confirms nothing: .* review"),
        ([{"id": "x", "text": "X", "automatic": "magic"}], [], "nothing looks up 'magic'"),
        ([{"id": "x"}], [], "must have an id and a text"),
        ([REVIEW, REVIEW], [], "is there twice"),
    ],
)
def test_a_mistake_in_the_checklist_is_named(
    project: Path, items: list[dict[str, str]], confirmed: list[str], message: str
):
    with pytest.raises(SettingError, match=message):
        check(project, checklist=items, confirmed=confirmed)


@pytest.mark.parametrize(
    ("automatic", "settings", "holds"),
    [
        ("backup", {}, True),
        ("maintenance", {}, True),
        ("maintenance", {"maintenance_mode": "off"}, False),
        ("notice", {}, False),
        ("rehearsal", {"rehearsal_days": 14}, False),
        ("dependencies", {}, True),  # of the product, whatever the folder of the documents
    ],
)
def test_an_automatic_item_is_looked_up(
    project: Path, automatic: str, settings: dict[str, Any], holds: bool
):
    item = {"id": "it", "text": "It", "automatic": automatic}
    found = missing(check(project, checklist=[item], **settings))
    assert ("checklist 'it'" not in found) is holds


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("pymongo>=4.10,<5", []),
        ("pymongo>=3,<4", ["pymongo is {}, not <4,>=3"]),
        ("pymongo-of-nobody>=1", ["pymongo-of-nobody is not installed"]),
    ],
)
@pytest.mark.parametrize("file", ["pyproject.toml", "requirements.txt"])
def test_a_library_has_to_be_within_its_range(
    tmp_path: Path, file: str, wanted: str, said: list[str]
):
    text = f'[project]\ndependencies = ["{wanted}"]' if file == "pyproject.toml" else f"{wanted}\n"
    (tmp_path / file).write_text(text)
    assert dependencies.problems(tmp_path) == [each.format(version("pymongo")) for each in said]


def test_what_the_product_needs_is_within_its_ranges():
    assert dependencies.problems() == []


def test_code_that_is_not_committed_or_not_tagged_is_named(project: Path):
    asked = {"clean_revision_required": True, "tag_required": True}
    git(project, "tag", "v1.0")
    assert missing(check(project, **asked)) == []
    assert "v1.0" in str(revision.read(project))
    (project / "b.yml").write_text("b: 1\n")
    (sentence,) = check(project, **asked).as_dict()["missing"]
    assert "b.yml" in sentence


def test_a_folder_without_git_is_refused(tmp_path: Path):
    (sentence,) = check(tmp_path, clean_revision_required=True).as_dict()["missing"]
    assert "is not a git checkout" in sentence


def test_an_approved_ticket_passes(system: TicketSystem, project: Path):
    asked = {"ticket_required": True, "ticket_system": system.setting()}
    assert missing(check(project, **asked, ticket=APPROVED)) == []
    assert system.asked[-1].endswith(f"number={APPROVED}")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (REQUESTED, "result[0].approval is 'requested', not approved"),
        ("CHG9999999", "doesn't know it"),
    ],
)
def test_a_ticket_that_is_not_approved_is_refused_with_its_state(
    system: TicketSystem, project: Path, number: str, said: str
):
    verdict = check(project, ticket_system=system.setting(), ticket=number)
    (sentence,) = verdict.as_dict()["missing"]
    assert said in sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"headers": {"Authorization": "wrong"}}, "answered 401"),
        ({"url": "http://127.0.0.1:1/{ticket}"}, "doesn't answer"),
        ({"url": "BASE/broken"}, "not JSON"),
        ({"url": "BASE/login"}, "answered 302"),
    ],
    ids=["refused", "dead", "no JSON", "a login page"],
)
def test_a_ticket_system_that_does_not_answer_is_a_refusal(
    system: TicketSystem, change: dict[str, Any], said: str
):
    setting = {**system.setting(), **change}
    setting["url"] = setting["url"].replace("BASE", system.base)
    (problem,) = ticket.ask(setting, APPROVED)
    assert said in problem
    assert "ticket-token" not in problem


def test_a_ticket_number_cannot_change_the_question(system: TicketSystem):
    ticket.ask(system.setting(), "CHG0012345&sysparm_query=number=X")
    assert system.asked[-1].count("sysparm_query=") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expect": []}, "an answer alone is not an approval"),
        ({"expect": [{"path": "x"}]}, r"expect\[0\] must have the keys"),
        ({"url": "example.com"}, "not an http"),
        ({"uri": "x"}, "unknown key 'uri'"),
    ],
)
def test_a_mistake_in_the_ticket_system_is_named(
    system: TicketSystem, change: dict[str, Any], message: str
):
    with pytest.raises(SettingError, match=message):
        ticket.ask({**system.setting(), **change}, APPROVED)
