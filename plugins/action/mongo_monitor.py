"""Action plugin: show what mongo_monitor sees, refreshed in place on a terminal.

The module goes on looking and keeps its newest observation in a file; the plugin of mongo_migrate
watches that file and hands Ctrl-C on, and this one draws a whole table instead of one line. Where
the file can't be watched, as over SSH, the module is run again for each refresh.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.loader import action_loader
from ansible.utils.color import stringc
from ansible.utils.display import Display

Watching: Any = action_loader.get("mongo_migrate", class_only=True)
_progress = sys.modules[Watching.__module__]
neutral = _progress.neutral

_HOME, _REST_OF_LINE, _REST_OF_SCREEN, _CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
_COLOURS = {"!!": "red", "! ": "yellow"}
_EXPLAINED = (
    "Monitoring ended. (The exit code 99 is Ansible's for a stop by a person; nothing failed. "
    "-e samples=10 ends by itself, with 0.)"
)


class ActionModule(Watching):
    """Runs the module, and shows what it sees as long as it goes on."""

    _watched = "output"
    _stopping = "Ending …"

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module; with the argument ``live``, show every observation."""
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        live = bool(arguments.pop("live", False))
        local = self._connection.transport == "local"
        if local:
            # A watch must not outlive the command that began it, however that ends.
            arguments["parent_pid"] = os.getppid()
        self._task.args = arguments
        if self._task.async_val or not live:
            return dict(self._alone(tmp, task_vars))
        return super().run(tmp, task_vars) if local else self._again(task_vars)

    def _again(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run the module for each refresh."""
        screen = self._screen()
        left = int(self._task.args.get("samples", 1))
        while True:
            arguments = {**self._task.args, "samples": 1}
            result = _progress.reached.run(
                self,
                str(task_vars.get("inventory_hostname", "the host")),
                lambda: self._execute_module(module_args=arguments, task_vars=task_vars),  # noqa: B023
            )
            left -= 1
            if result.get("failed") or left == 0:
                return dict(result)
            screen.update(result)

    def _screen(self) -> Any:
        return Screen(_show, _size) if _progress._INTERACTIVE else Blocks(Display().display)

    def _end(self, result: Mapping[str, Any], task_vars: Mapping[str, Any]) -> None:
        self._tell(str(result["msg"]) if result.get("failed") else _EXPLAINED)
        # As in mongo_migrate: nobody waits for a result any more.
        os._exit(1)


class Screen:
    """A table that is drawn again and again from the top of the terminal."""

    def __init__(self, show: Callable[[str], None], size: Callable[[], tuple[int, int]]) -> None:
        self._show = show
        self._size = size
        self._seen: Any = None

    def update(self, observation: Mapping[str, Any]) -> None:
        """Draw *observation*, if it is a new one."""
        if observation["time"] == self._seen:
            return
        lines = fit(observation["text"], *self._size())
        first = _CLEAR if self._seen is None else ""
        drawn = "\r\n".join(f"{_coloured(line)}{_REST_OF_LINE}" for line in lines)
        self._show(f"{first}{_HOME}{drawn}{_REST_OF_SCREEN}")
        self._seen = observation["time"]

    def close(self) -> None:
        """Leave the last table standing; who writes next begins below it."""
        if self._seen is not None:
            self._show("\r\n")


class Blocks:
    """A table below the other, for logs."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._seen: Any = None

    def update(self, observation: Mapping[str, Any]) -> None:
        """Show *observation*, if it is a new one."""
        if observation["time"] != self._seen:
            self._seen = observation["time"]
            self._show("\n".join([*map(neutral.line, observation["text"]), ""]))

    def close(self) -> None:
        """Nothing was left open."""


def fit(lines: list[str], columns: int, rows: int) -> list[str]:
    """Return *lines* wrapped to the terminal, and cut with a word where they are too many."""
    wrapped: list[str] = []
    for line in lines:
        # One column is left free: a full line would make some terminals go to the next.
        wrapped += textwrap.wrap(
            neutral.line(line), columns - 1, subsequent_indent="      ", drop_whitespace=True,
            replace_whitespace=False,
        ) or [""]  # fmt: skip
    if len(wrapped) < rows:
        return wrapped
    kept = wrapped[: rows - 2]
    return [*kept, f"… {len(wrapped) - len(kept)} more lines; make the window higher"]


def _coloured(line: str) -> str:
    colour = _COLOURS.get(line[:2])
    if line.isupper() and line[:1].isalpha():
        return stringc(line, "bright blue")
    return stringc(line, colour) if colour else line


def _show(text: str) -> None:
    Display().display(text, newline=False, screen_only=True)


def _size() -> tuple[int, int]:
    try:
        found = os.get_terminal_size(_progress._TERMINAL)
    except OSError:
        return 80, 24
    # Some terminals, of containers above all, have no size.
    return found.columns or 80, found.lines or 24
