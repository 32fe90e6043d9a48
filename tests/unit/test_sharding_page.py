"""docs/sharding.md names every command that the engine sends, with what a router does with it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import commands_sent
from tests.support.playbooks import ROOT

ENGINE = ROOT / "plugins" / "module_utils" / "mongo_migration"
# Functions that send what they are given, or what has a name of its own, and what that is.
HIDDEN = {
    "backup/changes.py:_reply": {"aggregate", "getMore"},
    "ledger/by_uuid.py:_sender": {"delete", "drop"},
    "ledger/by_uuid.py:send": {"delete", "drop"},
    "maintenance/switch.py:_set_block": {"setUserWriteBlockMode"},
    "monitor/snapshot.py:take": {"serverStatus"},
    "operations/ddl.py:attempt": {"collMod", "create", "drop", "dropIndexes", "renameCollection"},
    "operations/ddl.py:run": {"collMod", "create", "drop", "dropIndexes", "renameCollection"},
    "pace/sampler.py:_status": {"serverStatus"},
    "support/listing.py:_all": {"listCollections", "listIndexes", "getMore"},
    "support/privileges.py:missing": {"connectionStatus"},
    "values/raw.py:_reply": {"find", "getMore"},
}


def test_every_command_that_is_sent_is_on_the_page() -> None:
    sent = commands_sent.commands(ENGINE).union(*HIDDEN.values())
    on_page = commands_sent.on_the_page()
    in_text = set(re.findall(r"`([$\w]+)`", commands_sent.PAGE.read_text()))
    # Stages may be told beside the command that they are a part of.
    lacking = {name for name in sent if name not in (in_text if name[0] == "$" else on_page)}
    assert lacking == set()


def test_what_sends_a_command_that_nobody_can_read_there_is_known() -> None:
    assert commands_sent.not_told(ENGINE) == set(HIDDEN)


def test_a_command_is_found_however_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "def f(db, command):\n"
        "    db.command('compact', 'a')\n"
        "    db.command({'reIndex': 'a'})\n"
        "    db['a'].find_one_and_update({}, {})\n"
        "    run({'collMod': name, 'index': 1})\n"
        "    db.aggregate([{'$listSessions': {}}])\n"
    )
    found = commands_sent.commands(tmp_path)
    assert found == {
        *("compact", "reIndex", "findAndModify", "collMod", "aggregate", "$listSessions"),
    }
    assert commands_sent.not_told(tmp_path) == set()
    (tmp_path / "two.py").write_text("def g(db, command):\n    db.command(command)\n")
    assert commands_sent.not_told(tmp_path) == {"two.py:g"}
