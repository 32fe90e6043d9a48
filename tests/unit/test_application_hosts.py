"""What an inventory says of application hosts, and what is said of them."""

from __future__ import annotations

from typing import Any

from release.application import inventory, smoke

ENV = {"app_flag_path": "/etc/shop.env", "app_restart_command": "systemctl restart shop"}
PROBE = {"url": "http://localhost/items", "headers": {"X-Key": "k"}}


def arguments(host: dict[str, Any], **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"state": "on", "reason": "test", "always": False, "seconds": 60}
    return inventory.arguments(host, **(given | more))


def test_the_short_form_is_an_environment_file_that_is_read_at_the_start() -> None:
    found = arguments(ENV, always=True)
    assert found["flag"] == {"kind": "env_file", "path": "/etc/shop.env"}
    assert found["restart"]["command"] == "systemctl restart shop"
    assert found["restart"]["always"] is True
    assert "health" not in found
    assert "write" not in found


def test_a_flag_that_is_no_environment_file_needs_no_restart_unless_told() -> None:
    flag = {"kind": "file", "path": "/run/off"}
    assert "restart" not in arguments({"app_flag": flag, "app_restart_command": "x"})
    host = {"app_flag": {**flag, "restart": True}, "app_reload_command": "kill -HUP 1"}
    assert arguments(host)["restart"]["command"] == "kill -HUP 1"


def test_a_flag_in_the_database_is_not_the_hosts_own() -> None:
    flag = {"kind": "document", "collection": "c", "filter": {}, "field": "f", "restart": True}
    host = {"app_flag": flag, "app_restart_command": "x"}
    assert "flag" not in arguments(host)
    assert arguments(host, changed=True)["changed"] is True
    assert "restart" in arguments(host)


def test_health_has_codes_of_its_own_in_maintenance_mode() -> None:
    host = ENV | {"app_health_url": "http://localhost/", "app_maintenance_health_status": [503]}
    assert arguments(host)["health"]["status"] == [503]
    assert arguments(host, state="off")["health"]["status"] == [200]


def test_a_write_is_tried_where_its_right_answer_is_a_refusal_or_is_known() -> None:
    host = ENV | {"app_write_probe": PROBE}
    assert arguments(host)["write"] == {**PROBE, "status": [503]}
    # Accepted, it would stay in the database.
    assert "write" not in arguments(host, state="off")
    host["app_write_probe"] = PROBE | {"accepted_status": [201]}
    assert arguments(host, state="off")["write"]["status"] == [201]


def test_what_could_not_be_told_is_said_before_anything_changes() -> None:
    assert inventory.lacking({}) == "neither app_flag nor app_flag_path is set"
    assert "app_restart_command" in inventory.lacking({"app_flag_path": "/x"})
    assert inventory.lacking(ENV) == ""
    assert inventory.lacking({"app_flag": {"kind": "file", "path": "/x"}}) == ""


def test_a_lost_host_and_an_ill_one_are_both_named_and_only_the_first_was_not_told() -> None:
    fine = {"told": True, "problems": []}
    ill = {"told": True, "problems": ["is not healthy"]}
    problems, untold = inventory.judge({"a": fine, "b": ill}, {"c": "no route to host"})
    assert problems == ["c did not take the flag: no route to host", "b is not healthy"]
    assert untold == ["c"]


def test_the_table_says_what_each_host_is_told_and_where_that_can_not_be_seen() -> None:
    settings = {
        "file": {"app_flag": {"kind": "file", "path": "/x"}},
        "deaf": {"app_flag": {"kind": "http", "on": {}, "off": {}}},
        "lost": ENV,
        "document": {"app_flag": {"kind": "document"}},
    }
    outcomes = {"file": {"says": "on"}, "deaf": {"says": "unknown"}}
    outcomes["document"] = {"says": "unknown"}
    assert inventory.words(list(settings), settings, outcomes, {"document": "off"}) == {
        "file": "on",
        "deaf": "not readable: app_flag.read is not set",
        "lost": "unreachable",
        "document": "off",
    }


def test_smoke_tests_ask_the_health_first_and_send_a_body_only_where_there_is_one() -> None:
    tests = [{"name": "list", "url": "u"}, {"name": "add", "url": "u", "body": {}, "status": 201}]
    found = smoke.requests({"app_health_url": "h", "app_smoke_tests": tests})
    assert [request["name"] for request in found] == ["health", "list", "add"]
    assert "body" not in found[1]
    assert found[2]["body"] == {}
    assert found[2]["status"] == 201


def test_a_host_without_an_account_of_its_answers_is_no_good_one() -> None:
    assert smoke.wrong(None) == ["it gave no account of its answers"]
    seen = {"list": {"problems": {"status 500, not 200": 1}}, "add": {"problems": {}}}
    assert smoke.wrong(seen) == ["list: status 500, not 200"]
