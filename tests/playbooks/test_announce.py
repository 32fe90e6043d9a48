"""The notice a day ahead: by webhook and mail, kept for the gate; dead channels are reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.playbooks.webhooks import Channel, channel
from tests.support import hostile
from tests.support.inventories import write_inventory
from tests.support.mailbox import REFUSED, Mailbox, mailbox
from tests.support.playbooks import run_playbook

SECRET = "T000-hook-secret"
LOGIN = ("migrations", "smtp-pass-4711")
FAR = "2096-11-24 22:00"  # a Saturday


@dataclass
class Team:
    """Those who are told, and the inventory that knows them."""

    hooks: Channel
    mails: Mailbox
    inventory: Path
    evidence: Path


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    (tmp_path / "own.json.j2").write_text(
        "{{ {'own': announce_headline, 'window': announce_window} | to_json }}"
    )
    (tmp_path / "broken.json.j2").write_text("{{ nothing of this }")
    with channel(SECRET) as hooks, mailbox(login=LOGIN) as mails:
        variables: dict[str, Any] = {
            "evidence_root": str(tmp_path / "evidence"),
            "change_gate_timezone": "Asia/Kolkata",
            "change_gate_windows": [{"days": ["sat"], "from": "22:00", "to": "04:00"}],
            "announce_webhooks": [
                {"name": "slack", "url": hooks.url, "template": "slack"},
                {"name": "page", "url": hooks.url, "template": "statuspage"},
                {"name": "own", "url": hooks.url, "template_file": str(tmp_path / "own.json.j2")},
                {
                    "name": "bad",
                    "url": hooks.url,
                    "template_file": str(tmp_path / "broken.json.j2"),
                },
                {"name": "dead", "url": f"http://127.0.0.1:1/{SECRET}"},
                {"name": "deaf", "url": hooks.url, "events": ["failure"]},
            ],
            "announce_mail": {
                "host": "127.0.0.1",
                "port": mails.port,
                "security": "none",
                "user": LOGIN[0],
                "password": LOGIN[1],
                "sender": "migrations@example.com",
                "to": ["team@example.com", REFUSED],
            },
            "announce_timeout": 60,
        }
        inventory = write_inventory(
            tmp_path / "inventory",
            uri="mongodb://127.0.0.1:1/",
            database="bizzai",
            variables=variables,
        )
        yield Team(hooks, mails, inventory, tmp_path / "evidence")


def test_a_notice_reaches_every_channel_that_lives_and_names_the_others(team: Team):
    when = json.dumps({"at": FAR, "minutes": 30, "text": f"<!channel> & @here{hostile.ESCAPES}"})
    done = run_playbook(
        ["announce.yml", "-e", "migration=004", "-e", "event=notice", "-e", when, "-vvv"],
        team.inventory,
    )
    # Somebody has to be told by hand.
    assert done.returncode == 2
    for name in ("dead (no answer)", "bad (its template", f"{REFUSED}: 550 no such user"):
        assert name in done.stdout
    slack, page, own = team.hooks.messages
    window = "Sat 2096-11-24 22:00 Asia/Kolkata to 22:30"
    assert window in slack["text"]
    # Nothing of a text is obeyed by what shows it.
    assert "&lt;!channel&gt; &amp; @ here\\x1b" in slack["text"]
    assert "Test On-Call, +91 00 0000 0001" in slack["text"]
    assert page["incident"]["scheduled_for"] == "2096-11-24T16:30:00Z"
    assert own == {"own": "Migration 004 is planned on bizzai", "window": window}
    (mail,) = team.mails.mails
    assert mail["Subject"] == "Migration 004 is planned on bizzai"
    assert "read-only" in mail.get_content()
    for text in (done.stdout, slack["text"], mail.get_content().replace("\r\n", "\n")):
        assert not hostile.harm(text)
    (folder,) = (path for path in team.evidence.iterdir() if path.is_dir())
    kept = json.loads((folder / "notice.json").read_text())
    assert kept["migrations"] == ["004"]
    assert kept["sent_to"] == ["slack", "page", "own", "team@example.com"]
    everything = done.stdout + done.stderr + "".join(p.read_text() for p in folder.iterdir())
    assert SECRET not in everything
    assert LOGIN[1] not in everything


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"migration": "004"}, "When will it be?"),
        ({"migration": "004", "at": "2096-11-25 10:00"}, "no change window is open"),
        ({"migrations": "003,999"}, "There is no migration '999'"),
        ({"migration": "004", "at": FAR, "announce_webhooks": [], "announce_mail": {}}, "nobody"),
    ],
    ids=["no time", "closed", "unknown", "nobody to tell"],
)
def test_a_mistake_tells_nobody(team: Team, arguments: dict[str, Any], message: str):
    done = run_playbook(["announce.yml", "-e", json.dumps(arguments)], team.inventory)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
    assert team.hooks.messages == []
    assert team.mails.mails == []
