"""What the ticket system says of a change: one HTTP request, and fields that must have a value."""

from __future__ import annotations

import json
import re
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

from . import bounded_json, exchange, redirects
from .errors import SettingError

_SYSTEM_KEYS = ("url", "headers", "expect", "timeout", "ca_certs")
_GOOD, _REDIRECTS = 200, 300
_STEP = re.compile(r"[^.\[\]]+")


class _RefusedError(Exception):
    """It answered with a status that isn't a good one."""


def ask(system: Mapping[str, Any], ticket: str) -> list[str]:
    """Return why the ticket system refuses *ticket*, one sentence each; empty if it agrees.

    Args:
        system: the setting ``change_gate_ticket_system``.
        ticket: its number.

    Raises:
        SettingError: the setting can't be understood.
    """
    _validate(system)
    url = str(system["url"]).replace("{ticket}", urllib.parse.quote(ticket, safe=""))
    host = urllib.parse.urlsplit(url).hostname
    try:
        answer = _get(url, system)
    except _RefusedError as refused:
        return [f"the ticket system ({host}) answered {refused}"]
    except (OSError, HTTPException) as error:
        return [f"the ticket system ({host}) doesn't answer: {getattr(error, 'reason', error)}"]
    except ValueError as error:
        return [f"the ticket system ({host}) answered something that is not JSON: {error}"]
    return [
        problem
        for expected in system["expect"]
        if (problem := _compare(answer, expected, ticket)) is not None
    ]


def pick(answer: Any, path: str) -> Any:
    """Return what *path* (``result[0].state``) leads to; None where it leads nowhere."""
    for step in _STEP.findall(path):
        if isinstance(answer, Mapping):
            answer = answer.get(step)
        elif isinstance(answer, list) and step.isdigit() and int(step) < len(answer):
            answer = answer[int(step)]
        else:
            return None
    return answer


def _get(url: str, system: Mapping[str, Any]) -> Any:
    headers = {"Accept": "application/json", **(system.get("headers") or {})}
    request = urllib.request.Request(url, headers={k: str(v) for k, v in headers.items()})
    context = ssl.create_default_context(cafile=system.get("ca_certs") or None)
    # A redirect leads to a login page, and would carry the token to another host.
    answer = exchange.fetch(
        request,
        redirects.Nowhere(),
        seconds=float(system.get("timeout") or 10),
        most=bounded_json.LONGEST + 1,
        context=context,
    )
    if not _GOOD <= answer.status < _REDIRECTS:
        raise _RefusedError(f"{answer.status} {answer.reason}")
    return bounded_json.read(answer)


def _compare(answer: Any, expected: Mapping[str, Any], ticket: str) -> str | None:
    path, wanted = str(expected["path"]), expected["value"]
    choices = wanted if isinstance(wanted, list) else [wanted]
    allowed = [_plain(choice).replace("{ticket}", ticket) for choice in choices]
    found = pick(answer, path)
    if found is None:
        return f"the ticket system doesn't know it: its answer has no {path}"
    if _plain(found) not in allowed:
        return f"in the ticket system {path} is '{_plain(found)}', not {' or '.join(allowed)}"
    return None


def _plain(value: Any) -> str:
    # JSON's spelling: `true` in the inventory and in the answer are the same.
    return value if isinstance(value, str) else json.dumps(value)


def _validate(system: Mapping[str, Any]) -> None:
    where = "change_gate_ticket_system"
    unknown = sorted(set(system) - set(_SYSTEM_KEYS))
    if unknown:
        raise SettingError(f"{where}: unknown key '{unknown[0]}', known: {', '.join(_SYSTEM_KEYS)}")
    url = str(system.get("url") or "")
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise SettingError(f"{where}.url is not an http(s) address")
    expect = system.get("expect")
    if not isinstance(expect, Sequence) or isinstance(expect, str) or not expect:
        raise SettingError(
            f"{where}.expect is missing: an answer alone is not an approval; write a list such as "
            "[{path: result[0].approval, value: approved}]"
        )
    for number, each in enumerate(expect):
        if not isinstance(each, Mapping) or set(each) != {"path", "value"}:
            raise SettingError(f"{where}.expect[{number}] must have the keys path and value")
