"""For how long a majority has been behind: since a write that it doesn't have, not between two.

The server tells the times of the newest write and of the newest one that a majority has. Their
difference is the time between two writes, which is all night on an idle set. Only a write that was
seen earlier and still isn't confirmed has waited, and for how long is known from when it was made.
"""

from __future__ import annotations

import datetime


class MajorityLag:
    """What follows from one look after the other."""

    def __init__(self) -> None:
        self._waiting: datetime.datetime | None = None

    def see(
        self, written: datetime.datetime, majority: datetime.datetime, now: datetime.datetime
    ) -> float:
        """Return for how many seconds a write has waited for a majority.

        Args:
            written: when the newest write was made, by the server's clock.
            majority: when the newest write was made that a majority has.
            now: the server's clock.
        """
        if written <= majority:
            self._waiting = None
            return 0.0
        if self._waiting is None or self._waiting <= majority:
            self._waiting = written
        return max(0.0, (now - self._waiting).total_seconds())
