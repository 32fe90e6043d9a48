"""The maintenance flag of one application, in the ways that its own host can set and read.

The kind ``document`` is not among them: it lies in the database, and is written through the login
that migrates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .calls import Request

ON, OFF, UNKNOWN = "on", "off", "unknown"
_TAKEN = (200, 201, 202, 204)
_LARGEST = 1_000_000
_HEADING = (
    "# Written by the migration playbooks; change it with maintenance.yml, which restarts too.\n"
)

# Replaces a file as a whole: path, text, mode; returns whether it changed.
Replace = Callable[[str, str, str], bool]


class FlagError(Exception):
    """The flag was not taken; the message says why."""


class Flag(Protocol):
    """How one application is told."""

    def tell(self, on: bool, *, check: bool) -> bool:
        """Set the flag; return whether that changed it.

        Raises:
            FlagError: it was not taken.
            OSError: its file can't be written.
        """

    def says(self) -> str:
        """Return what it is told now: on, off or unknown."""


class EnvFile:
    """A file with the one line ``MAINTENANCE_MODE=true``, which the application reads at start."""

    def __init__(self, options: Mapping[str, Any], replace: Replace) -> None:
        self._path = str(options["path"])
        self._mode = str(options.get("mode") or "0644")
        self._variable = str(options.get("variable") or "MAINTENANCE_MODE")
        self._values = {
            True: _value(options, "on_value", "true"),
            False: _value(options, "off_value", "false"),
        }
        self._replace = replace

    def tell(self, on: bool, *, check: bool) -> bool:
        """Replace the file."""
        text = f"{_HEADING}{self._line(on)}\n"
        if check:
            return _read(self._path) != text
        return self._replace(self._path, text, self._mode)

    def says(self) -> str:
        """Look for the line; a file that isn't there says that it was never on."""
        text = _read(self._path) or ""
        return ON if self._line(True) in text.splitlines() else OFF

    def _line(self, on: bool) -> str:
        return f"{self._variable}={self._values[on]}"


class File:
    """A file whose existence is what counts; its content is for people."""

    def __init__(self, options: Mapping[str, Any], replace: Replace, *, content: str) -> None:
        self._path = str(options["path"])
        self._mode = str(options.get("mode") or "0644")
        self._content = str(options.get("content") or content or "maintenance")
        self._replace = replace

    def tell(self, on: bool, *, check: bool) -> bool:
        """Make it or remove it."""
        there = Path(self._path).exists()
        if check:
            return there is not on
        if on:
            return self._replace(self._path, f"{self._content}\n", self._mode)
        if there:
            Path(self._path).unlink()
        return there

    def says(self) -> str:
        """Look whether it is there."""
        return ON if Path(self._path).exists() else OFF


class Call:
    """A request that tells a running application; perhaps another one asks it what it was told."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._headers = options.get("headers") or {}
        self._seconds = float(options.get("seconds") or 10)
        self._read: Mapping[str, Any] = options.get("read") or {}

    def tell(self, on: bool, *, check: bool) -> bool:
        """Call it, unless it says already what it is to be told; it has to have an effect."""
        word = ON if on else OFF
        if self.says() == word:
            return False
        if check:
            return True
        asked: Mapping[str, Any] = self._options.get(word) or {}
        answer = Request(
            url=asked.get("url") or self._options.get("url") or "",
            method=asked.get("method") or self._options.get("method") or "PUT",
            headers={**self._headers, **(asked.get("headers") or {})},
            body=asked.get("body"),
            seconds=self._seconds,
        ).send()
        if answer.problem:
            raise FlagError(answer.problem)
        wanted = asked.get("status") or _TAKEN
        if answer.status not in wanted:
            listed = ", ".join(map(str, wanted))
            raise FlagError(f"status {answer.status}, not {listed}")
        return True

    def says(self) -> str:
        """Ask the application, where it can be asked."""
        if not self._read:
            return UNKNOWN
        answer = Request(
            url=self._read["url"],
            headers={**self._headers, **(self._read.get("headers") or {})},
            seconds=self._seconds,
        ).send()
        if answer.status != 200:
            return UNKNOWN
        return ON if self._read["contains"] in answer.text else OFF

    @property
    def can_be_asked(self) -> bool:
        """Whether it says what it was told."""
        return bool(self._read)


def build(options: Mapping[str, Any], replace: Replace, *, content: str) -> Flag:
    """Return the flag that *options* describe.

    Args:
        options: kind, and what it takes.
        replace: writes files.
        content: of a file, for people.
    """
    kind = options["kind"]
    if kind == "env_file":
        return EnvFile(options, replace)
    if kind == "file":
        return File(options, replace, content=content)
    return Call(options)


def _value(options: Mapping[str, Any], name: str, default: str) -> str:
    value = options.get(name)
    return default if value is None else str(value)


def _read(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LARGEST).decode(errors="replace")
    except OSError:
        return None
