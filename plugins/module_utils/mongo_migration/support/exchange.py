"""One HTTP request and its answer, both within a time. Standard library of Python 3.9.

A time-out of a socket begins anew with every byte: a server that sends one now and then, or an
endless row of interim answers, keeps its client for ever. So a clock runs beside the request, and
ends the connection when the time is over.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


class Answer:
    """What came back, and all of it that was asked for.

    Args:
        status: of HTTP.
        reason: in words.
        headers: as sent.
        body: as far as it was read.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self._body = body

    def read(self, amount: int) -> bytes:
        """Return at most *amount* bytes of the body."""
        return self._body[:amount]


def fetch(
    request: urllib.request.Request,
    redirects: urllib.request.HTTPRedirectHandler,
    *,
    seconds: float,
    most: int,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Return the answer to *request*, whatever its status is.

    Args:
        request: what to ask.
        redirects: which are followed.
        seconds: for all of it, redirects among them.
        most: bytes that are read of the body.
        context: what a certificate is held to.

    Raises:
        OSError, ValueError, http.client.HTTPException: there is no answer in time, or none of HTTP.
    """
    clock = Clock(seconds)
    opener = urllib.request.build_opener(_Plain(clock), _Encrypted(clock, context), redirects)
    try:
        try:
            with opener.open(request, timeout=seconds) as answer:
                found = _whole(answer, most)
        except urllib.error.HTTPError as error:
            with error:
                found = _whole(error, most)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if clock.over:
            raise clock.error() from error
        raise
    finally:
        clock.stop()
    # A body that says no length ends with its connection, whoever ended that.
    if clock.over:
        raise clock.error()
    return found


def _whole(answer: Any, most: int) -> Answer:
    return Answer(answer.status, answer.reason, answer.headers, answer.read(most))


class Clock:
    """Ends the connections of one exchange when its time is over.

    Args:
        seconds: for all of it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._held: list[socket.socket] = []
        self._timer: threading.Timer | None = None
        self.over = False

    def connect(self, *where: Any, **how: Any) -> socket.socket:
        """Connect, as :func:`socket.create_connection` does; what comes of it is watched."""
        made = socket.create_connection(*where, **how)
        # One more name for the connection: encryption takes the first one's.
        self._held.append(made.dup())
        if self._timer is None:
            self._timer = threading.Timer(max(0.0, self._until - time.monotonic()), self._end)
            self._timer.daemon = True
            self._timer.start()
        return made

    def _end(self) -> None:
        self.over = True
        for each in list(self._held):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
        for each in self._held:
            each.close()

    def error(self) -> TimeoutError:
        """Return that it took too long."""
        return TimeoutError(f"the answer wasn't complete within {self._seconds:g} s")


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def http_open(self, req: urllib.request.Request) -> Any:
        """Open it over a connection that is watched."""
        return self.do_open(_watched(http.client.HTTPConnection, self._clock), req)


class _Encrypted(urllib.request.HTTPSHandler):
    def __init__(self, clock: Clock, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._clock = clock
        self._given = context

    def https_open(self, req: urllib.request.Request) -> Any:
        """Open it over a connection that is watched."""
        made = _watched(http.client.HTTPSConnection, self._clock)
        return self.do_open(made, req, context=self._given)


def _watched(kind: Any, clock: Clock) -> Any:
    def make(*given: Any, **options: Any) -> Any:
        connection = kind(*given, **options)
        # How its own tests, and proxies, put another way to connect into it.
        connection._create_connection = clock.connect
        return connection

    return make
