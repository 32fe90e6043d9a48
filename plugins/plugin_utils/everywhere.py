"""One module on many hosts at once, from within one task of another host.

A loop with ``delegate_to`` goes from host to host, and with each of them writers would be stopped
for longer; a play of its own over the hosts would stand outside the flow's block and rescue.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, NoReturn

from ansible.executor.process import worker
from ansible.executor.task_executor import TaskExecutor
from ansible.playbook.task import Task

try:
    from ansible._internal._task import TaskContext
except ImportError:  # before ansible-core 2.19
    TaskContext = None

# Beyond so many, a host waits until another one is done.
MOST_AT_ONCE = 50


class _NobodyListens:
    """Takes what is told of retries and loops, of which there are none."""

    def send_callback(self, *_about: Any, **_more: Any) -> None:
        """Take it."""


def run(
    action: Any,
    task_vars: Mapping[str, Any],
    *,
    module: str,
    arguments: Mapping[str, Mapping[str, Any]],
    become: Mapping[str, bool] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run *module* on every host of *arguments* at once.

    Args:
        action: the action plugin of the task.
        task_vars: its variables.
        module: the module's name, short: it is looked for where the action was found.
        arguments: of the module, by host.
        become: whether it needs privileges there.

    Returns:
        The result of each host; one that can't be reached has ``unreachable``.
    """

    def one(host: str) -> dict[str, Any]:
        task = _task_of(action, module, arguments[host], host, (become or {}).get(host))
        return _execute(action, task_vars, task)

    waiting, results = list(arguments), dict[str, dict[str, Any]]()
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < MOST_AT_ONCE:
                child = _Child(waiting.pop(0), one)
                running.register(child.outcome, selectors.EVENT_READ, child)
            for key, _events in running.select():
                child = key.data
                if child.read():
                    running.unregister(child.outcome)
                    results[child.host] = child.end()
    return {host: results[host] for host in arguments}


class _Child:
    """A process that runs the module on one host.

    Ansible loads plugins as they are needed, and not from several threads at once. The process is
    of our group: what ends the worker ends it, too.
    """

    def __init__(self, host: str, work: Callable[[str], dict[str, Any]]) -> None:
        self.host = host
        self._said = b""
        self.outcome, inbox = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _live(inbox, lambda: work(host))
        os.close(inbox)

    def read(self) -> bool:
        """Read what has come; return whether that was all."""
        more = os.read(self.outcome, 65536)
        self._said += more
        return not more

    def end(self) -> dict[str, Any]:
        """Return the result."""
        os.close(self.outcome)
        os.waitpid(self._pid, 0)
        if not self._said:
            return {"failed": True, "msg": "the process that spoke to it was killed"}
        result: dict[str, Any] = json.loads(self._said)
        return result


def _live(inbox: int, work: Callable[[], dict[str, Any]]) -> NoReturn:
    """Be the child; nothing of the worker's own may run here after it."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            result = work()
        except Exception as error:  # of one host: the others go on
            result = {"failed": True, "msg": str(error)}
        with os.fdopen(inbox, "wb") as file:
            file.write(json.dumps(result, default=str).encode())
    finally:
        os._exit(0)


def problem_of(result: Mapping[str, Any]) -> str:
    """Return why a host gave no answer of the module, in one line; nothing where it did."""
    if not (result.get("failed") or result.get("unreachable")):
        return ""
    said = str(result.get("msg") or result.get("module_stderr") or "no answer")
    for prefix in ("Task failed: ", "Action failed: ", "Module failed: "):
        said = said.removeprefix(prefix)
    return " ".join(said.split()).rstrip(".")


def _task_of(
    action: Any, module: str, arguments: Mapping[str, Any], host: str, become: bool | None
) -> Task:
    found_in = str(action._task.action).rpartition(".")[0]
    name = f"{found_in}.{module}" if found_in else module
    task = Task.load({"name": f"{action._task.name} on {host}", "action": name})
    task._parent = action._task._parent
    task.args = _as_they_are(arguments)
    task.delegate_to = host
    task.check_mode = action._task.check_mode
    task.diff = False
    task.when = []
    if become is not None:
        task.become = become
    return task


def _as_they_are(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return *arguments* so that no template in them is rendered: they were, already."""
    if TaskContext is not None:
        return dict(arguments)  # since 2.19, what came out of a template is none
    from ansible.utils.unsafe_proxy import wrap_var

    wrapped: dict[str, Any] = wrap_var(dict(arguments))
    return wrapped


def _execute(action: Any, task_vars: Mapping[str, Any], task: Task) -> dict[str, Any]:
    mine = worker.current_worker
    given = {
        "host": mine._host,
        "task": task,
        "job_vars": dict(task_vars),
        "play_context": action._play_context.copy(),
        "new_stdin": None,
        "loader": action._loader,
        "shared_loader_obj": action._shared_loader_obj,
        "final_q": _NobodyListens(),
        "variable_manager": mine._variable_manager,
    }
    # Each version of ansible-core takes what it knows of these.
    known = signature(TaskExecutor).parameters
    with _context_of(task, given["job_vars"], mine._host.name):
        executor = TaskExecutor(**{name: given[name] for name in known})
        done = executor.run()
    # Since 2.21 it is an object.
    result: dict[str, Any] = done if isinstance(done, dict) else done.as_result_dict()
    left_out = ("invocation", "warnings", "deprecations", "exception")
    return {key: value for key, value in result.items() if key not in left_out}


def _context_of(task: Task, variables: dict[str, Any], host: str) -> AbstractContextManager[Any]:
    """Return what the executor of this ansible-core wants to be run in."""
    if TaskContext is None:
        return nullcontext()
    create = getattr(TaskContext, "create", None)
    context: AbstractContextManager[Any] = (
        create(task=task, task_vars=variables, host_name=host) if create else TaskContext(task)
    )
    return context
