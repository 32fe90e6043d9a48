"""Callback plugin: the screen at 02:00. Phases, what changed, and what went wrong."""

from __future__ import annotations

DOCUMENTATION = r"""
name: phases
type: stdout
short_description: Shows the phases of a run, what changed and what went wrong, and nothing else
version_added: "1.0.0"
description:
  - One line for each phase, that is for each role that a playbook includes. Below it stand the
    tasks that changed something, the texts that a task shows, and failures in full.
  - Tasks that only looked are not shown. C(-v) shows everything, as Ansible's default does.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
author: The migration playbooks' authors (@migration-playbooks)
"""

import re
import sys
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback.default import CallbackModule as Default

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import outcome
import screen
from mongo_migration.support import neutral

_SHOWING = frozenset({"debug", "ansible.builtin.debug"})
_INCLUDING = frozenset({"include_role", "ansible.builtin.include_role"})
# What every command does around its work: seen where something in it is shown, or with -v.
_HOUSEKEEPING = frozenset(
    {"Open the evidence folder", "Compose the final message", "Write the evidence"}
)
# Below it, hosts stand behind their phase instead of below each other.
_ALIGNED_FROM = 60
# The column of phases, which no name of one may fill, and the least width of Ansible's own recap.
_PHASE = 34
_RECAP_FROM = 115
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DIFF_COLOURS = {
    "+": constants.COLOR_DIFF_ADD,
    "-": constants.COLOR_DIFF_REMOVE,
    "@": constants.COLOR_DIFF_LINES,
}
# Of two texts that have no names, they say nothing.
_DIFF_HEADINGS = ("--- before", "+++ after", "@@ ")
_ASSERTING = frozenset({"fail", "ansible.builtin.fail", "assert", "ansible.builtin.assert"})


class CallbackModule(Default):
    """Ansible's default, made quiet."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    # The phase that isn't shown yet, and the text that was shown last.
    _phase = _said = ""

    @property
    def _everything(self) -> bool:
        return bool(self._display.verbosity)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Say which play begins."""
        if self._everything:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        check = " (check mode: nothing is written)" if play.check_mode else ""
        self._display.display("")
        for line in screen.fold(f"{play.get_name()}{check}", screen.columns()):
            self._display.display(line, color=constants.COLOR_HIGHLIGHT)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Show nothing before there is something to say."""
        if self._everything:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Show nothing before there is something to say."""
        if self._everything:
            super().v2_playbook_on_handler_task_start(task)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Say which phase begins: the roles that the playbook itself includes."""
        if self._everything:
            super().v2_playbook_on_include(included_file)
            return
        task = included_file._task
        if task.action in _INCLUDING and task._role is None:
            hosts = ", ".join(host.name for host in included_file._hosts)
            wide = (screen.columns() or screen.DEFAULT) >= _ALIGNED_FROM
            self._phase = f"  {task.get_name():<{_PHASE if wide else 0}} {hosts}"
            if task.get_name() not in _HOUSEKEEPING:
                self._show_phase()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Show nothing before there is something to say."""
        if self._everything:
            super().v2_runner_on_start(host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Show texts and changes."""
        if self._everything:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings(outcome.values(result))
        if outcome.task(result).action in _SHOWING:
            self._text(outcome.values(result).get("msg", ""))
        elif outcome.values(result).get("changed") and not outcome.task(result).loop:
            self._changed(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Show changes of single items."""
        if self._everything:
            super().v2_runner_item_on_ok(result)
        elif outcome.values(result).get("changed"):
            self._changed(result, item=self._get_item_label(outcome.values(result)))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Show a failure in full, but for what a person can't read."""
        if self._everything:
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
            return
        if ignore_errors:
            return
        self._handle_warnings(outcome.values(result))
        self._failed(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Show the failure of one item."""
        if self._everything:
            super().v2_runner_item_on_failed(result)
            return
        self._failed(result, item=self._get_item_label(outcome.values(result)))

    def v2_on_file_diff(self, result: Any) -> None:
        """Show what differs: the default colours the text itself, and trusts what is in it."""
        shown = outcome.values(result)
        for turn in shown.get("results", ()) if outcome.task(result).loop else [shown]:
            if turn.get("diff") and turn.get("changed"):
                if self._everything and self._last_task_banner != outcome.task(result)._uuid:
                    self._print_task_banner(outcome.task(result))
                self._show_phase()
                self._diff(turn["diff"])

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Show which host is lost."""
        if self._everything:
            super().v2_runner_on_unreachable(result)
            return
        self._failed(result, what="UNREACHABLE")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Show nothing."""
        if self._everything:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Show nothing."""
        if self._everything:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_retry(self, result: Any) -> None:
        """Say what is waited for."""
        if self._everything:
            super().v2_runner_retry(result)
            return
        tries = outcome.values(result).get("attempts"), outcome.values(result).get("retries")
        self._line(f"waiting  {self._task(result)} ({tries[0]} of {tries[1]})", None)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Show the recap, on a narrow screen without the counters that are nought."""
        width = screen.columns()
        if self._everything or width is None or width >= _RECAP_FROM:
            super().v2_playbook_on_stats(stats)
            return
        self._display.display("\nPLAY RECAP")
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            bad = counts["failures"] or counts["unreachable"]
            named = {"ok": counts["ok"], "changed": counts["changed"], "failed": counts["failures"]}
            named["unreachable"] = counts["unreachable"]
            told = " ".join(
                f"{name}={count}" for name, count in named.items() if count or name == "ok"
            )
            color = constants.COLOR_ERROR if bad else constants.COLOR_OK
            for line in screen.fold(f"{host} : {told}", width):
                self._display.display(line, color=color)
        self._display.display("")

    def _print_task_banner(self, task: Any) -> None:
        """Say which task it is, never its arguments: nobody can tell which of them are secret."""
        prefix = self._task_type_cache.get(task._uuid, "TASK")
        self._display.banner(f"{prefix} [{(self._last_task_name or task.get_name()).strip()}]")
        if self._display.verbosity > 1:
            self._print_task_path(task)
        self._last_task_banner = task._uuid

    def _diff(self, diff: Any) -> None:
        diffs = diff if isinstance(diff, list) else [diff]
        harmless = [{key: _harmless(value) for key, value in each.items()} for each in diffs]
        # What is left of control sequences is Ansible's own colouring, done anew line by line.
        width = screen.columns()
        for line in _COLOUR.sub("", self._get_diff(harmless)).rstrip("\n").split("\n"):
            if line.startswith(_DIFF_HEADINGS) and not self._everything:
                continue
            for part in screen.fold(line, width, "    ", hang=2):
                self._display.display(part.rstrip(), color=_DIFF_COLOURS.get(line[:1]))

    def _show_phase(self) -> None:
        phase, self._phase = self._phase, ""
        if phase:
            self._display.display(phase, color=constants.COLOR_VERBOSE)

    def _text(self, message: Any) -> None:
        self._show_phase()
        width, self._said = screen.columns(), "\n".join(_lines(message))
        for line in _lines(message):
            for part in screen.fold(line.rstrip(), width, "    "):
                self._display.display(part.rstrip())
        self._display.display("")

    def _changed(self, result: Any, item: str | None = None) -> None:
        about = f" ({neutral.line(item)})" if item is not None else ""
        self._line(f"changed  {self._task(result)}{about}", constants.COLOR_CHANGED)

    def _failed(self, result: Any, what: str = "FAILED", item: str | None = None) -> None:
        message = str(outcome.values(result).get("msg", "")).rstrip()
        if outcome.task(result).action in _ASSERTING and screen.repeats(message, self._said):
            return
        if outcome.task(result).action not in _ASSERTING:
            about = f" ({neutral.line(item)})" if item is not None else ""
            self._line(f"{what}  {self._task(result)}{about}", constants.COLOR_ERROR)
        for key in ("stderr", "stdout", "content"):
            if outcome.values(result).get(key) and key not in message:
                message += f"\n{str(outcome.values(result)[key]).strip()[:2000]}"
        for line in _lines(message):
            self._line(line, constants.COLOR_ERROR)

    def _task(self, result: Any) -> str:
        name = outcome.task(result).get_name().rpartition(" : ")[2]
        delegated = (
            outcome.values(result).get("_ansible_delegated_vars", {}).get("ansible_delegated_host")
        )
        return f"{name}  [{delegated or outcome.host(result).get_name()}]"

    def _line(self, text: str, color: str | None) -> None:
        self._show_phase()
        for part in screen.fold(text, screen.columns(), "    "):
            self._display.display(part, color=color)


def _lines(message: Any) -> list[str]:
    """Return the lines of a text, or of a list of lines: an element of that is never two."""
    if isinstance(message, list):
        return [neutral.line(line) for line in message]
    # Not splitlines(), which also splits at characters that only other people's text holds.
    return neutral.terminal(message).rstrip("\n").split("\n")


def _harmless(value: Any) -> Any:
    return neutral.terminal(value) if isinstance(value, str) else value
