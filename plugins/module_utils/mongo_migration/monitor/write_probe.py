"""For how long writes were refused: an ordinary user tries to write, all the time.

Neither the clock of tasks nor the record of maintenance mode tells that; only who tries does.
"""

from __future__ import annotations

import datetime
import threading
import time
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ..document.collections import PROBE

# Ten times a second: what is told is told to tenths of a second.
INTERVAL_SECONDS = 0.1
USER_WRITES_BLOCKED = 371
_ID = "write probe"
_END_SECONDS = 5.0


class WriteProbe:
    """Writes one document again and again, from a thread of its own, until :meth:`end`.

    Args:
        client: of an ordinary user of the application, with readWrite on the database.
        database: the database's name.
    """

    def __init__(self, client: MongoClient[dict[str, Any]], database: str) -> None:
        self._place = client[database][PROBE]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="write probe")
        self._tried = self._refused = 0
        # When the first write of a refusal was sent, and when one went through again.
        self._since: tuple[float, datetime.datetime] | None = None
        self._spans: list[dict[str, Any]] = []
        self._other = ""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def end(self) -> dict[str, Any]:
        """Write no more, and return what was seen.

        Returns:
            ``tried`` and ``refused`` writes; ``seconds`` in which they were refused, all together;
            the ``spans`` with ``since`` and ``seconds``, the last one ``open`` if writes are still
            refused; and the ``problem`` of a probe that can't write for another reason.
        """
        self._over.set()
        self._thread.join(_END_SECONDS)
        if self._since is None:
            with suppress(PyMongoError):
                self._place.delete_one({"_id": _ID})
        spans = list(self._spans)
        if self._since is not None:
            spans.append(_span(self._since, time.monotonic()) | {"open": True})
        return {
            "tried": self._tried,
            "refused": self._refused,
            "seconds": round(sum(span["seconds"] for span in spans), 1),
            "spans": spans,
            "problem": self._other if not self._tried - self._refused and not spans else "",
        }

    def _work(self) -> None:
        while True:
            self._try()
            if self._over.wait(INTERVAL_SECONDS):
                return

    def _try(self) -> None:
        began, at = time.monotonic(), datetime.datetime.now(datetime.UTC)
        try:
            self._place.update_one({"_id": _ID}, {"$set": {"at": at}}, upsert=True)
        except OperationFailure as error:
            if error.code != USER_WRITES_BLOCKED:
                self._other = f"code {error.code}"
                return
            self._tried += 1
            self._refused += 1
            self._since = self._since or (began, at)
        except PyMongoError as error:
            self._other = type(error).__name__  # a failover: neither refused nor accepted
        else:
            self._tried += 1
            if self._since is not None:
                self._spans.append(_span(self._since, time.monotonic()))
                self._since = None


def _span(since: tuple[float, datetime.datetime], until: float) -> dict[str, Any]:
    began, at = since
    return {"since": at, "seconds": round(until - began, 1)}
