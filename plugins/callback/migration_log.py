"""Callback plugin: write every task's result, and the screen, into the evidence."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_log
type: notification
short_description: Writes every task's result and the screen into the evidence folder
version_added: "1.0.0"
description:
  - Writes C(log.jsonl) into the folder that the role C(evidence) opens, one line for each result of
    a task and one for the begin of each phase. Lines from before that moment are kept and written
    first. Each line holds the hash of the line before it, so that a later change is noticed.
  - Writes C(stdout.txt), the screen without its colours and without the progress bar.
  - Everything that Ansible shows, whatever shows it, passes through here first, and is made
    harmless for a terminal. Names and values come from a database that others write to; a control
    sequence in one of them could erase or forge lines. What draws on the screen itself neutralizes
    its own text and says so (C(screen_only)).
  - Every secret of the inventory is masked, in each of its spellings, on the screen and in the log.
    That is what stands in the vault, under the name of a password or token, in a connection string
    or in a header; see C(invocation/inventory_secrets.py).
  - Results are written as Ansible shows them. Results of tasks with C(no_log)
    are left out, as are the arguments of modules.
  - While it writes, it holds a lock on C(log.jsonl). A folder that is neither sealed nor locked
    belongs to a command that was killed; the next command finishes it.
  - When the command ends without sealing its evidence, as after a failure that no rescue caught, it
    is sealed here, without a signature.
author: The migration playbooks' authors (@migration-playbooks)
"""

import atexit
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import outcome
from evidence import bundle, log_writer, record
from invocation import masking
from mongo_migration.support import neutral, secrets

# Arguments of modules, and what other lines or files of the evidence hold already.
LEFT_OUT = frozenset(
    {"invocation", "ansible_facts", "diff", "results", "plan", "plan_text", "exception"}
)
# Longer texts are cut: the evidence holds the whole results in files of their own.
LONGEST_TEXT = 2000
INCLUDING = frozenset({"include_role", "ansible.builtin.include_role"})
OPENING = "evidence_open"
SEALING = "evidence_seal"


class CallbackModule(CallbackBase):
    """Writes the log."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "migration_log"

    def __init__(self) -> None:
        super().__init__()
        self._play = ""
        self._began: dict[str, float] = {}
        self._waiting: list[dict[str, Any]] = []
        self._screen: list[str] = []
        self._masker = secrets.Masker(())
        self._folder: Path | None = None
        self._open: log_writer.Writer | None = None
        self._sealed = False
        log_writer.listen()
        self._display.display = self._listen(self._display.display)
        atexit.register(self._on_exit, os.getpid())

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember the play, and learn what must never be shown."""
        self._learn(play)
        self._play = play.get_name()
        self._sealed = False

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Start the clock; what is going to be sealed is complete now."""
        self._began[task._uuid] = time.monotonic()
        if _name(task) == SEALING:
            self._flush()
            self._let_go()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Start the clock."""
        self._began[task._uuid] = time.monotonic()

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Log which phase begins, as the screen shows it: a role that the playbook includes."""
        task = included_file._task
        if task.action in INCLUDING:
            within = task._role.get_name() if task._role is not None else None
            line = {"status": "phase", "phase": task.name or task.get_name(), "within": within}
            self._add({"time": record.now(), "play": self._play, **line})

    def v2_runner_on_ok(self, result: Any) -> None:
        """Log a success, and learn where the evidence is."""
        self._log(result, "changed" if outcome.values(result).get("changed") else "ok")
        # The role `evidence` tells where its folder is; a later play may open another one.
        if _name(outcome.task(result)) == OPENING and outcome.values(result).get("path"):
            # After a failure there is no next play.
            self._finish(bundle.INCOMPLETE)
            self._folder = Path(str(outcome.values(result)["path"]))
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
        self._log(result, "changed" if outcome.values(result).get("changed") else "ok")

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Log a failed turn of a loop."""
        self._log(result, "failed")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Log the recap, and seal what the playbook itself didn't come to seal."""
        recap = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._add({"time": record.now(), "play": self._play, "status": "recap", "recap": recap})
        # A command that doesn't conclude, as with --tags, hasn't said that it went well.
        self._finish("failed" if stats.failures or stats.dark else bundle.INCOMPLETE)

    def _log(self, result: Any, status: str) -> None:
        task = outcome.task(result)
        values = outcome.values(result)
        if task.no_log or values.get("_ansible_no_log") or "censored" in values:
            values = {}
        delegated = values.get("_ansible_delegated_vars", {}).get("ansible_delegated_host")
        began = self._began.get(task._uuid)
        self._add(
            {
                "time": record.now(),
                "play": self._play,
                "task": task.get_name(),
                "action": task.action,
                "host": outcome.host(result).get_name(),
                "delegated": delegated,
                "item": self._masker.value(values.get("_ansible_item_label")),
                "status": status,
                "seconds": None if began is None else round(time.monotonic() - began, 3),
                "result": self._kept(values),
            }
        )

    def _kept(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what the log keeps of a result: masked first, since a cut can halve a secret."""
        return {
            key: log_writer.shorten(self._masker.value(value), LONGEST_TEXT)
            for key, value in values.items()
            if key not in LEFT_OUT and not key.startswith("_ansible")
        }

    def _learn(self, play: Any) -> None:
        """Mask the secrets of every host from now on, also where Ansible shows arguments."""
        manager = play.get_variable_manager()
        try:
            # Without a host, too: localhost needs not be in the inventory.
            hosts = [None, *manager._inventory.get_hosts()]
            known = [
                manager.get_vars(play=play, host=host, include_hostvars=False) for host in hosts
            ]
            self._masker = masking.masker(known, manager._loader)
        except Exception as error:  # evidence must never be what ends a command
            self._display.warning(f"Secrets can't be masked in the evidence: {error}")

    def _add(self, line: dict[str, Any]) -> None:
        if not self._sealed:
            known = {key: value for key, value in line.items() if value not in (None, "", {})}
            self._waiting.append(known)

    def _listen(self, display: Callable[..., None]) -> Callable[..., None]:
        """Return *display*, which shows harmless text alone, and keeps what it shows."""

        def listening(message: str, *args: Any, **kwargs: Any) -> None:
            if not kwargs.get("screen_only"):
                message = neutral.terminal(self._masker.text(message))
            display(message, *args, **kwargs)
            # The progress bar, drawn twice a second, says screen_only.
            if not self._sealed and not kwargs.get("screen_only") and not kwargs.get("log_only"):
                end = "\n" if kwargs.get("newline", True) and not message.endswith("\n") else ""
                self._screen.append(message + end)

        return listening

    def _flush(self) -> None:
        """Append what waits; without a folder yet, keep it."""
        # In the moment between its naming and its making the folder isn't there yet.
        if self._folder is None or not self._folder.is_dir():
            return
        try:
            self._open = self._open or log_writer.Writer(self._folder)
            self._open.write(self._waiting, "".join(self._screen))
        except OSError as error:
            # A full disk here must not end a migration, or worse its rescue.
            self._display.warning(f"Can't write the log in {self._folder}: {error}")
        self._waiting.clear()
        self._screen.clear()

    def _let_go(self) -> None:
        """Write no more into this folder."""
        if self._open is not None:
            self._open.close()
        self._open = self._folder = None
        self._sealed = True
        self._waiting.clear()
        self._screen.clear()

    def _finish(self, outcome: str) -> None:
        """Seal a folder that the playbook left open; *outcome* counts where it says none itself."""
        folder = self._folder
        if folder is None:
            return
        self._flush()
        self._let_go()
        self._sealed = False
        try:
            bundle.close(folder, outcome=outcome)
        except Exception as error:  # evidence must never be what ends a command
            self._display.warning(f"Can't seal the evidence in {folder}: {error}")

    def _on_exit(self, process: int) -> None:
        """Note an interruption: Ctrl-C runs neither rescue nor always, but this."""
        if self._folder is not None and os.getpid() == process:
            self._add({"time": record.now(), "play": self._play, "status": "interrupted"})
            self._flush()


def _name(task: Any) -> str:
    """Return the short name of a task's action, also where a collection brought it."""
    return str(task.action).rpartition(".")[2]
