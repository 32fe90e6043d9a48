"""Watch an application after a release: how often and how late it answers, against before.

Pure logic and the standard library of Python 3.9, since it runs on application hosts: the clock,
the pause and the request come from outside.

A tally is what is known of each request so far, as plain values: how often it was sent, how often
it failed, why, and how many milliseconds each answer took.
"""

from __future__ import annotations

import json
import math
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from . import exchange
from .redirects import SameOrigin

Tally = dict[str, dict[str, Any]]
Send = Callable[["Request"], str]

# What is read of an answer, to look for a text in it.
LARGEST_ANSWER = 1_000_000


@dataclass(frozen=True)
class Request:
    """One request and the answer that is right."""

    name: str
    url: str
    headers: Mapping[str, str]
    status: int = 200
    contains: str = ""
    seconds: float = 10.0
    method: str = "GET"
    body: Any = None


@dataclass(frozen=True)
class Limits:
    """From when on an application is unhealthy.

    Args:
        error_rate: share of failed requests, beyond the share that failed before.
        response_ms: for the percentile of the response times; 0 for no such limit.
        slowdown: how many times the percentile of before it may be; 0 for no such limit.
        floor_ms: below which no response counts as slower than before.
        percentile: which share of the responses has to be within the limits.
    """

    error_rate: float = 0.01
    response_ms: float = 0.0
    slowdown: float = 3.0
    floor_ms: float = 100.0
    percentile: float = 95.0


def send(request: Request) -> str:
    """Send *request*; return what is wrong with the answer, or nothing."""
    try:
        answer = exchange.fetch(
            _made(request), SameOrigin(), seconds=request.seconds, most=LARGEST_ANSWER
        )
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        return f"no answer: {reason}"
    if answer.status != request.status:
        return f"status {answer.status}, not {request.status}"
    body = answer.read(LARGEST_ANSWER).decode(errors="replace")
    if request.contains and request.contains not in body:
        return f"lacks '{request.contains}'"
    return ""


def observe(
    requests: Iterable[Request],
    *,
    seconds: float,
    interval: float,
    earlier: Tally | None = None,
    send: Send = send,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Tally:
    """Send each request every *interval* seconds, for *seconds* and at least once.

    Returns:
        The tally of *earlier* and of these.
    """
    requests = list(requests)
    tally: Tally = {name: _copy(entry) for name, entry in (earlier or {}).items()}
    end = clock() + seconds
    while requests:
        began = clock()
        for request in requests:
            entry = tally.setdefault(request.name, _copy({}))
            sent = clock()
            problem = send(request)
            entry["requests"] += 1
            if problem:
                entry["errors"] += 1
                entry["problems"][problem] = entry["problems"].get(problem, 0) + 1
            else:
                # A refusal is quick: it says nothing of how long an answer takes.
                entry["ms"].append(round((clock() - sent) * 1000, 1))
        pause = max(0.0, began + interval - clock())
        if clock() + pause >= end:
            return tally
        sleep(pause)
    return tally


def judge(tally: Tally, *, limits: Limits, before: Tally, done: float = 1.0) -> list[str]:
    """Return what is wrong, in words; nothing where all is well.

    Args:
        tally: of the watch so far.
        limits: from when on it is wrong.
        before: the tally from before the release; empty where there is none.
        done: the share of the watch that is over. Before its end only that is wrong which can't
            become right any more, whatever the rest brings: one error in the first seconds isn't.
    """
    wrong = []
    for name, entry in tally.items():
        expected = entry["requests"] / min(1.0, max(done, 1e-6))
        was = before.get(name) or _copy({})
        allowed = limits.error_rate + _share(was["errors"], was["requests"])
        if entry["errors"] > allowed * expected:
            reason, times = max(entry["problems"].items(), key=lambda item: item[1])
            wrong.append(
                f"{name} failed {entry['errors']} of {entry['requests']} times "
                f"({_percent(entry['errors'], entry['requests'])}, allowed {allowed:.1%}): "
                f"{reason} ({times} times)"
            )
        limit, origin = _limit_ms(was, limits)
        slow = [ms for ms in entry["ms"] if ms > limit]
        if len(slow) > (1 - limits.percentile / 100) * expected:
            late = percentile(entry["ms"], limits.percentile)
            wrong.append(
                f"{name} is slow: the {limits.percentile:g}th percentile is {late:.0f} ms, "
                f"{limit:.0f} ms allowed ({origin})"
            )
    return wrong


def measure(tally: Tally, part: float = 95.0) -> dict[str, Any]:
    """Return the figures of a tally: requests, errors, error_rate and the percentile."""
    requests = sum(entry["requests"] for entry in tally.values())
    errors = sum(entry["errors"] for entry in tally.values())
    times = [ms for entry in tally.values() for ms in entry["ms"]]
    return {
        "requests": requests,
        "errors": errors,
        "error_rate": round(_share(errors, requests), 4),
        "response_ms": round(percentile(times, part), 1) if times else None,
    }


def percentile(values: Iterable[float], part: float) -> float:
    """Return the smallest of *values* that *part* percent of them don't exceed."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(part / 100 * len(ordered)) - 1)]


def _made(request: Request) -> urllib.request.Request:
    headers, data = dict(request.headers), None
    if request.body is not None:
        text = request.body if isinstance(request.body, str) else json.dumps(request.body)
        headers, data = {"Content-Type": "application/json", **headers}, text.encode()
    return urllib.request.Request(
        request.url, data=data, headers=headers, method=request.method.upper()
    )


def _limit_ms(was: Mapping[str, Any], limits: Limits) -> tuple[float, str]:
    """Return the limit of one request's response time, and where it comes from."""
    found: list[tuple[float, str]] = []
    if limits.response_ms > 0:
        found.append((limits.response_ms, "by the setting"))
    if limits.slowdown > 0 and was["ms"]:
        usual = percentile(was["ms"], limits.percentile)
        against = max(limits.floor_ms, usual * limits.slowdown)
        found.append((against, f"it was {usual:.0f} ms before"))
    return min(found, default=(math.inf, ""))


def _copy(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requests": int(entry.get("requests", 0)),
        "errors": int(entry.get("errors", 0)),
        "ms": [float(ms) for ms in entry.get("ms", ())],
        "problems": dict(entry.get("problems", {})),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _percent(part: float, whole: float) -> str:
    return f"{_share(part, whole):.1%}"
