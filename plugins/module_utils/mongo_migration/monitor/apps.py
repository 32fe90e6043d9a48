"""What an application answers, and what it logs. Needs nothing but Python.

A health request is what can be asked of any application; where the log says more, a pattern counts
its errors and another one its requests.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from ..support import exchange

# A first look at a log reads no more than this from its end.
_TAIL_BYTES = 1_000_000
_MOST_BYTES = 16_000_000
_LARGEST_ANSWER = 1_000_000


class AppError(ValueError):
    """The description of an application is wrong."""


@dataclass(frozen=True)
class Answer:
    """What came back of one request."""

    ok: bool
    status: int | None
    milliseconds: float
    error: str = ""


class App:
    """One instance.

    Args:
        name: of its host.
        url: the health request; empty asks nothing.
        status: the codes that are well.
        timeout: seconds until a request counts as failed.
        log: ``path`` and ``pattern``, and where its requests can be counted ``request_pattern``.
        clock: seconds that only grow.

    Raises:
        AppError: a pattern is not a regular expression, or the log lacks its path.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str = "",
        status: Iterable[int] = (200,),
        timeout: float = 5.0,
        log: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._url = url
        self._status = frozenset(int(code) for code in status)
        self._timeout = timeout
        self._clock = clock
        self._log = _Log(name, log) if log else None
        self._since = clock()

    def look(self, requests: int = 1) -> dict[str, Any]:
        """Make *requests* and read what was logged since the last look; return the numbers."""
        answers = [self._ask() for _number in range(requests)] if self._url else []
        now = self._clock()
        seconds = max(now - self._since, 0.001)
        self._since = now
        found: dict[str, Any] = {"name": self.name, "gaps": []}
        if answers:
            times = sorted(answer.milliseconds for answer in answers)
            failed = [answer for answer in answers if not answer.ok]
            spent = sum(times) / 1000
            found |= {
                "response_ms": round(times[len(times) // 2], 2),
                "error_ratio": round(len(failed) / len(answers), 4),
                # How fast one client after the other is served.
                "requests_per_second": round((len(answers) - len(failed)) / max(spent, 1e-6), 2),
                "status": answers[-1].status,
                "error": failed[-1].error if failed else "",
            }
        if self._log is not None:
            try:
                matches, logged = self._log.count()
            except OSError as error:
                found["gaps"].append(f"log of {self.name}: {error.strerror}: {error.filename}")
            else:
                found["log_matches_per_minute"] = round(60 * matches / seconds, 2)
                found["log_matches"] = self._log.total
                if logged is not None:
                    found["requests_per_second"] = round(logged / seconds, 2)
        return found

    def _ask(self) -> Answer:
        began = self._clock()
        status, error = None, ""
        try:
            request = urllib.request.Request(self._url, headers={"User-Agent": "monitor"})
            redirects = urllib.request.HTTPRedirectHandler()
            status = exchange.fetch(
                request, redirects, seconds=self._timeout, most=_LARGEST_ANSWER
            ).status
        except (OSError, ValueError, HTTPException) as failure:
            error = str(getattr(failure, "reason", failure))
        if status is not None and status not in self._status:
            error = f"answered {status}"
        return Answer(
            ok=not error,
            status=status,
            milliseconds=(self._clock() - began) * 1000,
            error=error,
        )


class _Log:
    """Counts the lines of a growing file that match; follows it through a rotation."""

    def __init__(self, name: str, log: Mapping[str, Any]) -> None:
        unknown = set(log) - {"path", "pattern", "request_pattern"}
        if unknown or not log.get("path") or not log.get("pattern"):
            raise AppError(
                f"monitor_app_log of {name} must be {{path: file, pattern: regular expression}}, "
                "with request_pattern where requests are to be counted"
            )
        self._path = str(log["path"])
        self._pattern = _compiled(name, "pattern", log["pattern"])
        wanted = log.get("request_pattern")
        self._requests = _compiled(name, "request_pattern", wanted) if wanted else None
        self._at: tuple[int, int] | None = None
        self.total = 0
        self._begin()

    def _begin(self) -> None:
        """Count from here on: what was logged before is no news, but its last part is told."""
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 - runs on any Python 3
                end = os.fstat(file.fileno())
                file.seek(max(0, end.st_size - _TAIL_BYTES))
                self.total = self._matching(file.read(_TAIL_BYTES))[0]
                self._at = (end.st_ino, end.st_size)
        except OSError:
            return  # the first count says why, or it is there by then

    def count(self) -> tuple[int, int | None]:
        """Return the new matching lines, and the new requests where a pattern finds them.

        Raises:
            OSError: the file can't be read.
        """
        with open(self._path, "rb") as file:  # noqa: PTH123 - runs on any Python 3
            now = os.fstat(file.fileno())
            inode, offset = self._at or (now.st_ino, 0)
            if inode != now.st_ino or offset > now.st_size:
                offset = 0  # rotated, or emptied
            offset = max(offset, now.st_size - _MOST_BYTES)
            file.seek(offset)
            found = file.read(_MOST_BYTES)
        # A line that is still being written counts when it is whole.
        whole = found[: found.rfind(b"\n") + 1]
        self._at = (now.st_ino, offset + len(whole))
        matches, requests = self._matching(whole)
        self.total += matches
        return matches, requests

    def _matching(self, text: bytes) -> tuple[int, int | None]:
        lines = text.decode(errors="replace").splitlines()
        matches = sum(bool(self._pattern.search(line)) for line in lines)
        if self._requests is None:
            return matches, None
        return matches, sum(bool(self._requests.search(line)) for line in lines)


def _compiled(name: str, key: str, text: Any) -> re.Pattern[str]:
    try:
        return re.compile(str(text))
    except re.error as error:
        raise AppError(
            f"monitor_app_log of {name}: {key} {text!r} is not a regular expression: {error}"
        ) from error


def make(described: Iterable[Mapping[str, Any]]) -> list[App]:
    """Return the applications that a module was given.

    Raises:
        AppError: one is described wrongly.
    """
    return [
        App(
            str(item["name"]),
            url=item.get("url") or "",
            status=item.get("status") or (200,),
            timeout=item.get("timeout") or 5.0,
            log=item.get("log"),
        )
        for item in described
    ]


def measure(found: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics over all instances."""
    rows = list(found)
    values: dict[str, float] = {}
    for name, key, together in (
        ("app_response_ms", "response_ms", max),
        ("app_requests_per_second", "requests_per_second", sum),
        ("app_log_matches_per_minute", "log_matches_per_minute", sum),
    ):
        seen = [row[key] for row in rows if row.get(key) is not None]
        if seen:
            values[name] = round(together(seen), 2)
    errors = [row["error_ratio"] for row in rows if row.get("error_ratio") is not None]
    if errors:
        values["app_error_ratio"] = round(sum(errors) / len(errors), 4)
    return values
