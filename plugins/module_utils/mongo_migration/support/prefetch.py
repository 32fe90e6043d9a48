"""Read ahead: the server looks for the next batch while this process works on the present one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")

_PATIENCE = 0.005  # between two looks whether the reading thread has ended


def ahead(items: Iterable[Item], depth: int = 3) -> Generator[Item, None, None]:
    """Yield *items*, read by another thread up to *depth* in advance.

    The thread ends with the iterator, also when the caller stops early; an exception of *items*
    reaches the caller in its place.
    """
    box: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(depth)
    unwanted = threading.Event()

    def read() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                box.put((item, None, False))
                if unwanted.is_set():
                    break
            box.put((None, None, True))
        except BaseException as error:
            box.put((None, error, True))
        finally:
            # A generator holds cursors and sessions: close it in the thread that ran it.
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = box.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        unwanted.set()
        while thread.is_alive():  # it may be waiting for room to put what nobody wants
            with suppress(queue.Empty):
                box.get(timeout=_PATIENCE)
