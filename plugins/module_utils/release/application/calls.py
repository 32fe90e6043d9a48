"""HTTP calls that an application host makes to its own application."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from .. import exchange
from ..redirects import Nowhere

# What is read of an answer, to look for a text in it.
LARGEST_ANSWER = 1_000_000


@dataclass(frozen=True)
class Answer:
    """What came back: a status, or what kept one from coming."""

    status: int = 0
    text: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Request:
    """A call; its headers are keys, so no redirect is followed.

    Args:
        url: where to.
        method: in capitals.
        headers: sent with it.
        body: sent as JSON, a text as it is; None for none.
        seconds: how long an answer may take.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float = 10.0

    def send(self) -> Answer:
        """Send it; whatever goes wrong is an answer, too."""
        headers, data = {name: str(value) for name, value in self.headers.items()}, None
        if self.body is not None:
            text = self.body if isinstance(self.body, str) else json.dumps(self.body)
            headers, data = {"Content-Type": "application/json", **headers}, text.encode()
        try:
            made = urllib.request.Request(
                self.url, data=data, headers=headers, method=self.method.upper()
            )
            answer = exchange.fetch(made, Nowhere(), seconds=self.seconds, most=LARGEST_ANSWER)
            return Answer(answer.status, _text(answer.read(LARGEST_ANSWER)))
        except (OSError, ValueError, HTTPException) as error:
            return Answer(problem=f"no answer: {getattr(error, 'reason', error)}")


def _text(body: bytes) -> str:
    return body.decode(errors="replace")
