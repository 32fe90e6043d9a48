"""Callback plugin: write every task's result as a line of JSON into the evidence."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_log
type: notification
short_description: Writes every task's result as a line of JSON into the evidence folder
version_added: "1.0.0"
description:
  - Writes C(log.jsonl) into the folder that the role C(evidence) opens, one line for each result of
    a task. Lines from before that moment are kept and written first.
  - Results are written as Ansible shows them, with secrets masked. Results of tasks with C(no_log)
    are left out, as are the arguments of modules.
author: The migration playbooks' authors
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

# Arguments of modules, and what other lines or files of the evidence hold already.
LEFT_OUT = frozenset(
    {"invocation", "ansible_facts", "diff", "results", "plan", "plan_text", "exception"}
)
# Longer texts are cut: the evidence holds the whole results in files of their own.
LONGEST_TEXT = 2000


class CallbackModule(CallbackBase):
    """Writes the log."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "migration_log"

    def __init__(self) -> None:
        super().__init__()
        self._play = ""
        self._began: dict[str, float] = {}
        self._waiting: list[str] = []
        self._folder: Path | None = None

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember the play."""
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Start the clock."""
        self._began[task._uuid] = time.monotonic()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Start the clock."""
        self._began[task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Log a success, and learn where the evidence is."""
        self._log(result, "changed" if result.result.get("changed") else "ok")
        # The role `evidence` tells where its folder is; a later play may open another one.
        folder = result.result.get("ansible_facts", {}).get("evidence_path")
        if folder:
            self._folder = Path(str(folder))
        self._flush()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Log a failure."""
        self._log(result, "ignored" if ignore_errors else "failed")
        self._flush()

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Log a lost host."""
        self._log(result, "unreachable")
        self._flush()

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Log what was skipped."""
        self._log(result, "skipped")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Log one turn of a loop."""
        self._log(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Log a failed turn of a loop."""
        self._log(result, "failed")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Log the recap."""
        recap = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._add({"time": _now(), "play": self._play, "status": "recap", "recap": recap})
        self._flush()

    def _log(self, result: Any, status: str) -> None:
        task = result.task
        values = result.result
        if task.no_log or values.get("_ansible_no_log") or "censored" in values:
            values = {}
        delegated = values.get("_ansible_delegated_vars", {}).get("ansible_delegated_host")
        began = self._began.get(task._uuid)
        self._add(
            {
                "time": _now(),
                "play": self._play,
                "task": task.get_name(),
                "action": task.action,
                "host": result.host.get_name(),
                "delegated": delegated,
                "item": values.get("_ansible_item_label"),
                "status": status,
                "seconds": None if began is None else round(time.monotonic() - began, 3),
                "result": {
                    key: _shorten(value)
                    for key, value in values.items()
                    if key not in LEFT_OUT and not key.startswith("_ansible")
                },
            }
        )

    def _add(self, line: dict[str, Any]) -> None:
        known = {key: value for key, value in line.items() if value not in (None, "", {})}
        self._waiting.append(json.dumps(known, ensure_ascii=False, default=str))

    def _flush(self) -> None:
        """Append what waits; without a folder yet, keep it."""
        # In the moment between its naming and its making the folder isn't there yet.
        if self._folder is None or not self._folder.is_dir():
            return
        text = "".join(f"{line}\n" for line in self._waiting)
        self._waiting.clear()
        path = self._folder / "log.jsonl"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            with os.fdopen(descriptor, "a", encoding="utf-8") as log:
                log.write(text)
        except OSError as error:
            # A full disk here must not end a migration, or worse its rescue.
            self._display.warning(f"Can't write {path}: {error}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shorten(value: Any) -> Any:
    """Return *value*, or the start of its JSON where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return (
        value if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"
    )
