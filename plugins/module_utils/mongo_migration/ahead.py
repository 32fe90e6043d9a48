"""Read ahead: the server looks for the next batch while this process works on the present one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Generator[T, None, None]) -> Iterator[T]:
    """Yield *items*, made one ahead in a thread of their own, and closed there in the end."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as reader:
        coming = reader.submit(next, items, None)
        try:
            while (item := coming.result()) is not None:
                coming = reader.submit(next, items, None)
                yield item
        finally:
            # Behind the read that may still be under way: a generator isn't entered twice.
            reader.submit(items.close)
