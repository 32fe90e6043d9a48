"""One message to a webhook: no redirects, a bounded answer, again where it asks for patience."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

from . import bounded_json, exchange, redirects
from .patience import patiently

_GOOD = frozenset({200, 201, 202, 204})
_LATER = frozenset({429, 503})
_LONGEST_ID = 200
_LONGEST_ANSWER = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent, and where to.

    Args:
        url: the address; mostly a secret.
        body: sent as JSON.
        method: such as POST.
        headers: beside that of the content.
        ca_certs: file with the certificates to trust instead of the system's.
        timeout: seconds that one answer may take.
        patience: seconds that waiting for a channel which asks for it may take together.
    """

    url: str
    body: Any
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_certs: str = ""
    timeout: float = 10
    patience: float = 30


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What came of it.

    Args:
        status: of the answer; None without one.
        id: what the answer calls the thing that it made, for later messages.
        problem: why it doesn't count as told, never with the address; empty where it does.
    """

    status: int | None = None
    id: str = ""
    problem: str = ""


def post(
    message: Message,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Posted:
    """Send *message*, again and within a bound where the channel asks for patience."""
    return patiently(lambda: _attempt(message), seconds=message.patience, sleep=sleep, clock=clock)


def _attempt(message: Message) -> tuple[Posted, float | None]:
    try:
        request = urllib.request.Request(
            message.url,
            data=json.dumps(message.body).encode(),
            headers={"Content-Type": "application/json", **message.headers},
            method=message.method,
        )
        context = ssl.create_default_context(cafile=message.ca_certs or None)
        answer = exchange.fetch(
            request,
            redirects.Nowhere(),
            seconds=message.timeout,
            most=_LONGEST_ANSWER + 1,
            context=context,
        )
    except FileNotFoundError:
        return Posted(problem="its ca_certs can't be read"), None
    # Python quotes an address that is none; nothing of that may be shown.
    except (OSError, ValueError, HTTPException):
        return Posted(problem="no answer"), None
    if answer.status in _GOOD:
        return Posted(status=answer.status, id=_id(answer)), None
    return _refused(answer)


def _refused(answer: exchange.Answer) -> tuple[Posted, float | None]:
    if answer.status not in _LATER:
        return Posted(status=answer.status, problem=f"status {answer.status}"), None
    wait = _retry_after(answer.headers.get("Retry-After"))
    asks = f", asks to wait {wait:.0f} s" if wait else ""
    return Posted(status=answer.status, problem=f"status {answer.status}{asks}"), wait


def _retry_after(text: str | None) -> float:
    """Return the seconds of a Retry-After, which may be a date; 0 where it says nothing."""
    if text and text.strip().isdecimal():
        return float(text)
    try:
        then = parsedate_to_datetime(text or "")
    except ValueError:
        return 0.0
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def _id(answer: Any) -> str:
    try:
        found = bounded_json.read(answer, longest=_LONGEST_ANSWER)
    except ValueError:
        return ""
    known = found.get("id") if isinstance(found, dict) else None
    plain = isinstance(known, str | int) and not isinstance(known, bool)
    return str(known)[:_LONGEST_ID] if plain else ""
