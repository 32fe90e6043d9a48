"""Several sources, asked one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .contract import Agreement, Found, Key, Resolution, Source, Unresolved


class FirstOf:
    """The first source that finds a value."""

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources
        self.judges = any(source.judges for source in sources)
        self.inputs: list[Any] = []
        self._slices: list[slice] = []
        for source in sources:
            self._slices.append(slice(len(self.inputs), len(self.inputs) + len(source.inputs)))
            self.inputs += source.inputs

    def forget(self) -> None:
        """Look everything up anew from now on."""
        for source in self._sources:
            source.forget()

    def prepare(self, keys: Iterable[Key]) -> None:
        """Prepare each source with the keys that the ones before it left open."""
        pending = list(keys)
        for source, part in zip(self._sources, self._slices, strict=True):
            if not pending:
                return
            source.prepare([key[part] for key in pending])
            pending = [k for k in pending if isinstance(source.resolve(k[part]), Unresolved)]

    def resolve(self, key: Key) -> Resolution:
        """Return the first value found, or all the reasons."""
        reasons, unclear, is_text = [], False, False
        for source, part in zip(self._sources, self._slices, strict=True):
            answer = source.resolve(key[part])
            if isinstance(answer, Found):
                return answer
            reasons.append(answer.reason)
            unclear = unclear or answer.unclear
            is_text = is_text or answer.is_text
        return Unresolved("; and ".join(dict.fromkeys(reasons)), unclear, is_text)

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """A value that one of the sources agrees with is right; else the first to know counts."""
        columns = [
            source.judge([(key[part], value) for key, value in pairs])
            for source, part in zip(self._sources, self._slices, strict=True)
        ]
        judged = []
        for row in zip(*columns, strict=True):
            known = [item for item in row if item is not None]
            judged.append(next((item for item in known if item.agrees), next(iter(known), None)))
        return judged
