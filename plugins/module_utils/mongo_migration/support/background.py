"""Work in another thread for which nobody waits once its result isn't wanted any more.

A thread of a ``ThreadPoolExecutor`` is waited for at the latest when the process ends, however long
the server takes for what it was asked: a stop would be heard, and then last for an hour.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
Check = Callable[[], None]


class UnwantedError(Exception):
    """Whoever asked for the work doesn't want it any more."""


class Background(Generic[T]):
    """Something that another thread does. Use :func:`running`."""

    def __init__(self, work: Callable[[Check], T]) -> None:
        self._work = work
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._unwanted = False
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def result(self) -> T:
        """Return what the work returns, or raise what it raises, when it has ended."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done[0]

    def forget(self) -> None:
        """Let the work end at its next check."""
        self._unwanted = True

    def _check(self) -> None:
        if self._unwanted:
            raise UnwantedError

    def _run(self) -> None:
        try:
            self._done.append(self._work(self._check))
        except BaseException as error:
            self._error = error


@contextmanager
def running(work: Callable[[Check], T]) -> Iterator[Background[T]]:
    """Do *work* in another thread for the time of a ``with`` block, whose end doesn't wait for it.

    Args:
        work: is given what raises an error once its result isn't wanted.
    """
    started = Background(work)
    try:
        yield started
    finally:
        started.forget()
