"""Action plugin: run a long module and show how far it is, and stop it where it can be resumed.

mongo_rollback, mongo_backup, mongo_restore and mongo_rehearse are links to this file. Two facts of
Ansible shape it. A task runs in a worker process that is detached from the terminal: what is to be
seen goes through ``Display``. And Ctrl-C ends the worker at once, with the module left alone: here
the worker hands the signal to the module and waits, so that the module's own last words reach the
person.

Over SSH no file can be watched and no signal arrives: an attendant copies the file to here and
carries the signals there (``plugin_utils/attendant.py``), and the rest is the same.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

# Ansible loads a plugin by its path: what it shares with others lies beside it. Not the folder of
# this file's target: a link to it is loaded, too.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import gated
import packed
import reached
from attendant import Attendant
from invocation import ansible_cli
from mongo_migration.support import neutral

REDRAW_SECONDS = 0.5
LINE_SECONDS = 30.0
_TOGETHER_SECONDS = 0.05
# In the order in which they tell what happened.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Less of a reason says nothing: then the phase alone stands before it.
_SHORTEST_REASON = 20
_ERASE = "\r\x1b[K"
_UNFILLED = {"█": "░", "#": "."}
_WORDS = {"baseline": "take the baseline", "index": "build index", "rollback": "roll back"}

# Ansible loads this file before it starts a worker, where the terminal still is what it seems.
_TERMINAL = os.dup(2) if sys.stdout is sys.__stdout__ else None
_INTERACTIVE = (
    _TERMINAL is not None
    and sys.stdout.isatty()
    and os.isatty(_TERMINAL)
    and not os.environ.get("CI")
    and os.environ.get("TERM", "dumb") != "dumb"
)
_BLOCK = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
if _TERMINAL is not None and not _INTERACTIVE and hasattr(sys.stdout, "reconfigure"):
    # Into a pipe, Python writes by the block: a line that says "still at it" would come at the end.
    sys.stdout.reconfigure(line_buffering=True)


class ActionModule(packed.Packed, NormalAction):
    """Runs the module of the same name."""

    # The option that names the file to watch, and what is said of a stop.
    _watched = "progress_file"
    _stopping = "Stopping where it can be resumed; this takes a moment …"
    _relay: Relay | None = None
    # Of a module on another host.
    _attendant: Attendant | None = None

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module, with its progress shown."""
        task_vars = task_vars or {}
        gated.require(self, task_vars)
        given = self._task.args.get(self._watched)
        near = self._connection.transport == "local"
        far = self._connection.transport == "ssh" and not given
        if self._task.check_mode or self._task.async_val or not (near or far):
            return self._alone(tmp, task_vars)
        folder = Path(tempfile.mkdtemp(prefix="progress-", dir=constants.DEFAULT_LOCAL_TMP))
        file = Path(given) if given else folder / "progress.json"
        if far:
            reached.pipe(self)
            self._attendant = Attendant(super()._low_level_execute_command, file)
        place = self._attendant.progress_file if self._attendant else str(file)
        self._task.args = {**self._task.args, self._watched: place}
        relay = self._relay = Relay(self._tell, self._stopping, self._hand_on)
        view = View(file, self._screen())
        try:
            with relay, Watch(view, relay):
                result = _pasteable(self._run_module(tmp, task_vars), task_vars)
        finally:
            if self._attendant is not None:
                self._attendant.close()
            shutil.rmtree(folder, ignore_errors=True)
        if relay.asked:
            self._end(result, task_vars)
        return result

    def _alone(self, tmp: str | None, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run the module as Ansible does, but for a host that isn't reached."""
        result = reached.run(
            self, _host(task_vars), lambda: super(ActionModule, self).run(tmp, task_vars)
        )
        return _pasteable(result, task_vars)

    def _hand_on(self, number: signal.Signals) -> None:
        """Give a signal to the module."""
        if self._attendant is not None:
            self._attendant.stop(number)
        else:
            # The worker leads a process group: the shell and the module below it.
            os.killpg(os.getpgid(0), number)

    def _screen(self) -> Any:
        return _terminal(_TERMINAL) if _INTERACTIVE and _TERMINAL is not None else _lines()

    def _run_module(self, tmp: str | None, task_vars: dict[str, Any]) -> dict[str, Any]:
        try:
            return reached.run(
                self,
                _host(task_vars),
                lambda: super(ActionModule, self).run(tmp, task_vars),
                ended=self._attendant.has_ended if self._attendant else None,
            )
        except AnsibleError as error:
            if self._relay is None or not self._relay.asked:
                raise
            return {"failed": True, "msg": str(error)}

    def _low_level_execute_command(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if self._relay is not None and self._relay.asked:
            raise AnsibleActionFail("Interrupted before the module was started.")
        return super()._low_level_execute_command(*args, **kwargs)

    def _remove_tmp_path(self, tmp_path: str, force: bool = False) -> None:
        if self._relay is not None and self._relay.asked and self._attendant is None:
            shutil.rmtree(tmp_path, ignore_errors=True)  # it is on this machine
        elif self._relay is not None and self._relay.asked and tmp_path:
            super()._low_level_execute_command(f"rm -rf {shlex.quote(tmp_path)}")
        else:
            super()._remove_tmp_path(tmp_path, force)

    def _tell(self, text: str) -> None:
        """Write past Ansible, which no longer listens to its workers."""
        if _TERMINAL is not None:
            try:
                erase = _ERASE if _INTERACTIVE else ""
                os.write(_TERMINAL, f"{erase}{neutral.terminal(text)}\n".encode())
            except OSError:
                return  # the terminal is gone, too

    def _end(self, result: Mapping[str, Any], task_vars: Mapping[str, Any]) -> None:
        """Say how the module ended, and end: Ansible has stopped to wait for results."""
        words = [f"{self._task.action} on {task_vars.get('inventory_hostname')}:"]
        words += _last_words(result).split("\n")
        if result.get("next"):
            words.append(f"Next: {result['next']}")
        if self._task.args.get("writers_stopped") or self._task.args.get("frozen"):
            words.append("Maintenance mode is as it was; maintenance.yml and status.yml show it.")
        self._tell("\n" + "\n  ".join(words))
        # A result that nobody reads could fill the pipe and keep this process for ever.
        os._exit(1)


def _host(task_vars: Mapping[str, Any]) -> str:
    return str(task_vars.get("inventory_hostname", "the host"))


def _last_words(result: Mapping[str, Any]) -> str:
    """Return what the module says of its end; one that takes no stop dies without a word."""
    if not result.get("failed"):
        return "It had just finished; nothing is left half done."
    if "module_stdout" in result:
        return "It was stopped in the middle and gave no result. Run the same command again."
    return str(result["msg"])


class Relay:
    """While it is entered, notices the signals that end Ansible, and hands one to the module.

    The system may give a signal to any thread, and Python's own handlers run in the main one, which
    sleeps until the module ends: a signal would then be heard when it is too late. So Python's
    lowest layer writes its number into a pipe, and the thread that shows the progress reads that.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        stopping: str,
        hand_on: Callable[[signal.Signals], None],
    ) -> None:
        self._tell = tell
        self._stopping = stopping
        self._hand_on = hand_on
        self._before: dict[signal.Signals, Any] = {}
        self._inbox, self._outbox = os.pipe()
        os.set_blocking(self._outbox, False)
        self.asked = False

    def __enter__(self) -> Relay:
        signal.set_wakeup_fd(self._outbox, warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, _leave_to_the_pipe)
        return self

    def __exit__(self, *_error: object) -> None:
        if self.asked:
            return  # Ansible goes on trying to end this process
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._inbox)
        os.close(self._outbox)

    def wait(self, seconds: float) -> None:
        """Wait, and hand on what arrives meanwhile."""
        if not select.select([self._inbox], [], [], seconds)[0]:
            return
        # Ansible's own SIGTERM follows a Ctrl-C at once, and may even be seen first.
        time.sleep(_TOGETHER_SECONDS)
        arrived = os.read(self._inbox, 64)
        for number in _SIGNALS:
            if number in arrived:
                self.pass_on(number)

    def wake(self) -> None:
        """End a wait."""
        os.write(self._outbox, b"\0")

    def pass_on(self, number: signal.Signals) -> None:
        """Give the module a signal, once: Ansible repeats itself, and ours comes back to us."""
        if self.asked:
            return
        self.asked = True
        self._tell(self._stopping)
        self._hand_on(number)


def _leave_to_the_pipe(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: without a handler of ours the signal would end this process."""


class Watch(threading.Thread):
    """Shows the progress from a thread of its own; notices signals, and when Ansible is gone."""

    def __init__(self, view: View, relay: Relay) -> None:
        super().__init__(name="progress", daemon=True)
        self._view = view
        self._relay = relay
        self._over = threading.Event()
        self._parent = os.getppid()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._relay.wake()
        self.join()
        if os.getppid() == self._parent:
            self._view.close()

    def run(self) -> None:
        """Draw until it is over."""
        while not self._over.is_set():
            self._relay.wait(REDRAW_SECONDS)
            if os.getppid() != self._parent:
                # The terminal was closed, or Ansible killed: as if the signal had come to us.
                self._relay.pass_on(signal.SIGHUP)
            elif not self._relay.asked:
                self._show()

    def _show(self) -> None:
        try:
            self._view.update()
        except Exception:  # whatever can't be drawn: a signal must be heard all the same
            self._view.give_up()


class Screen:
    """A terminal's last line, drawn again and again."""

    def __init__(self, show: Callable[[str], None], columns: Callable[[], int]) -> None:
        self._show = show
        self._columns = columns
        self._drawn = ""

    def update(self, event: Mapping[str, Any]) -> None:
        """Draw *event*."""
        # One column is left free: a full line would make some terminals go to the next.
        drawn = bar(event, self._columns() - 1)
        if drawn != self._drawn:
            self._show(f"{_ERASE}{drawn}")
            self._drawn = drawn

    def close(self) -> None:
        """Leave an empty line for whoever writes next."""
        if self._drawn:
            self._show(_ERASE)


class Lines:
    """A line every now and then, for logs."""

    def __init__(
        self,
        show: Callable[[str], None],
        *,
        seconds: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._seconds = seconds
        self._clock = clock
        self._last = clock()

    def update(self, event: Mapping[str, Any]) -> None:
        """Show *event* if it is time."""
        if self._clock() - self._last >= self._seconds:
            self._last = self._clock()
            self._show(line(event))

    def close(self) -> None:
        """Nothing was left open."""


class Nothing:
    """In place of a screen that can't be drawn on."""

    def update(self, event: Mapping[str, Any]) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing was left open."""


class View:
    """What the module last wrote into its progress file, on a screen or in lines."""

    def __init__(self, file: Path, screen: Screen | Lines | Nothing) -> None:
        self._file = file
        self._screen = screen

    def update(self) -> None:
        """Show what there is, if there is something."""
        try:
            event = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return  # nothing yet
        self._screen.update(event)

    def give_up(self) -> None:
        """Show nothing any more."""
        self._screen = Nothing()

    def close(self) -> None:
        """End the showing."""
        self._screen.close()


def bar(event: Mapping[str, Any], width: int, block: str = _BLOCK) -> str:
    """Return *event* as one line of at most *width* characters with a bar.

    What matters least is left out where the line is narrow; why a run stands still never is.
    """
    reason, details = _reason(event), _details(event)
    heads = [_phase(event)]
    if event.get("total"):
        # Rounded down: 100 % is said when it is done, and not before.
        share = min(1.0, event["done"] / event["total"])
        percent = f"{int(share * 1000) / 10:5.1f} %"
        # The size of the bar doesn't depend on what changes: it must not jump about.
        bars = [_drawn(share, size, block) for size in (max(8, min(30, width // 5)), 8)]
        heads = [*(f"{heads[0]} {drawn} {percent}" for drawn in bars), f"{heads[0]} {percent}"]
        if reason and details and _fits([heads[0], *details[:2]], width):
            return _fit([heads[0], *details], width, block)
    if not reason:
        return _fit([heads[0], *details], width, block)
    # Shorter in turn: the counts go, then the bar, then the end of the reason.
    head = next((head for head in heads if _fits([head, reason], width)), heads[-1])
    room = width - len(head) - len(_between(block))
    if room < _SHORTEST_REASON:
        head, room = _phase(event), width - len(_phase(event)) - len(_between(block))
    shown = reason if len(reason) <= room else f"{reason[: max(0, room - 1)]}…"
    rest = [part for part in details if part != reason][1:]
    return _fit([head, shown, *rest], width, block)


def _drawn(share: float, size: int, block: str) -> str:
    filled = int(size * share)
    return block * filled + _UNFILLED.get(block, " ") * (size - filled)


def line(event: Mapping[str, Any]) -> str:
    """Return *event* as a line of a log."""
    share = ""
    if event.get("total"):
        share = f" {int(1000 * event['done'] / event['total']) / 10:.1f} %"
    return f"{_phase(event)}:{share} {', '.join(_details(event))}".rstrip()


def _phase(event: Mapping[str, Any]) -> str:
    phase = str(event.get("phase", "working"))
    return _WORDS.get(phase, neutral.line(phase))


def _reason(event: Mapping[str, Any]) -> str:
    """Return why it is slow or stands still: it explains everything that is said after it."""
    found = (event.get(key) for key in ("waiting", "paused", "throttle"))
    return str(next(filter(None, found), ""))


def _details(event: Mapping[str, Any]) -> list[str]:
    """Return the parts of a line, the most important first."""
    parts = []
    if event.get("total"):
        parts.append(f"{event['done']:,}/{event['total']:,} {event.get('unit', 'documents')}")
    if reason := _reason(event):
        parts.append(reason)
    if event.get("rate") and not (event.get("waiting") or event.get("paused")):
        parts.append(f"{event['rate']:,.0f}/s")
        if event.get("eta_seconds") is not None and event["done"] < event["total"]:
            parts.append(f"{_clock(event['eta_seconds'])} left")
    if event.get("collection") or event.get("detail"):
        parts.append(str(event.get("collection") or event["detail"]))
    if event.get("lag_seconds") is not None:
        parts.append(f"lag {event['lag_seconds']:.1f} s")
    if event.get("batch"):
        parts.append(f"batches of {event['batch']:,}")
    return [neutral.line(part) for part in parts]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _between(block: str) -> str:
    return " · " if block == "█" else " - "


def _fits(parts: list[str], width: int) -> bool:
    return len(" · ".join(parts)) <= width


def _fit(parts: list[str], width: int, block: str) -> str:
    text, between = parts[0], _between(block)
    for part in parts[1:]:
        if len(text) + len(between) + len(part) > width:
            break
        text += between + part
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"[: max(0, width)]


def _terminal(descriptor: int) -> Screen:
    def columns() -> int:
        try:
            # Some terminals, of containers above all, have no size: 0 columns.
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            return 80

    return Screen(lambda text: Display().display(text, newline=False, screen_only=True), columns)


def _lines() -> Lines:
    return Lines(lambda text: Display().display(text))


def _pasteable(result: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Return *result* with the commands that it suggests completed by this command's inventory."""
    completed: dict[str, Any] = ansible_cli.pasteable(result, task_vars)
    return completed
