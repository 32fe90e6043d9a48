"""What the flow itself costs: calls and seconds by phase, and for how long writes are refused.

    python -m bench.flow --documents 20000 --hosts 2
    python -m bench.flow --documents 20000 100000 1000000 --hosts 2 10

Each turn has a server of its own with a seeded database, and applications whose restart takes a
second. A user of every application writes all the time; how long its writes are refused is measured
from its first refused write to its last one, over all applications.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench import report
from embedded.app import ROOT, App
from embedded.mongod import DATABASE, ReplicaSet
from embedded.seed import seed
from tests.support.inventories import app_variables, write_inventory

# What decides, shows or includes: no module is sent anywhere for these.
NO_CALL = frozenset(
    {"assert", "debug", "fail", "include_role", "include_tasks", "meta", "pause", "set_fact"}
    | {"set_stats", "validate_argument_spec"}
)
RESTART_SECONDS = 1.0
_WRITE_SECONDS = 10


class User(threading.Thread):
    """Somebody who writes through one application, all the time."""

    def __init__(self, app: App, interval: float):
        super().__init__(daemon=True)
        self._url, self._interval = f"{app.url}/api/items", interval
        self._over = threading.Event()
        self.accepted = 0
        self.refused: list[float] = []

    def run(self) -> None:
        """Write until it is over."""
        while not self._over.wait(self._interval):
            at = time.monotonic()
            if self._write():
                self.accepted += 1
            else:
                self.refused += [at, time.monotonic()]

    def end(self) -> None:
        """Write no more."""
        self._over.set()
        self.join()

    def _write(self) -> bool:
        asked = urllib.request.Request(
            self._url, data=b'{"name": "bench"}', headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=_WRITE_SECONDS) as answer:
                return bool(answer.status == 201)
        except (urllib.error.URLError, OSError):
            return False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One result of a task, as callback/flow_calls.py writes it."""

    phase: str
    task: str
    action: str
    loop: bool
    skipped: bool
    seconds: float


@dataclass
class Turn:
    """What one command cost."""

    seconds: float
    refused: float
    refusals: int
    accepted: int
    lines: list[Line] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many calls of a module there were."""
        return sum(map(_is_call, self.lines))

    def by_phase(self) -> Iterator[tuple[str, int, int, float]]:
        """Yield each phase with its calls, its results and its seconds."""
        for phase in dict.fromkeys(line.phase for line in self.lines):
            mine = [line for line in self.lines if line.phase == phase]
            yield phase, sum(map(_is_call, mine)), len(mine), sum(line.seconds for line in mine)


def _is_call(line: Line) -> bool:
    return not (line.skipped or line.loop or line.action in NO_CALL)


@contextmanager
def company(folder: Path, *, documents: int, hosts: int) -> Iterator[tuple[Path, list[App]]]:
    """Give a seeded server with applications, and its inventory."""
    with ExitStack() as stack:
        servers = stack.enter_context(ReplicaSet(folder / "mongodb"))
        with servers.client("admin") as client:
            seed(client[DATABASE], documents)
        uri = servers.uri("app", database=DATABASE)
        uri_file = folder / "app.uri"
        uri_file.write_text(uri)
        apps = []
        for number in range(1, hosts + 1):
            app = App(folder / "apps", f"app{number}", uri_file=uri_file)
            app.set_flag(False)
            stack.callback(app.stop)
            apps.append(app.start())
        inventory = write_inventory(
            folder / "inventory",
            uri=servers.uri("migrator"),
            database=DATABASE,
            app_uri=uri,
            apps=apps,
            variables={
                "backup_dir": str(folder / "backups"),
                "evidence_root": str(folder / "evidence"),
                "monitor_enabled": True,
            },
        )
        _restart_by_signal(inventory, apps)
        yield inventory, apps


def _restart_by_signal(inventory: Path, apps: Sequence[App]) -> None:
    """Let a restart take its second without the processors: there are two for all the hosts."""
    file = inventory / "hosts.yml"
    content = yaml.safe_load(file.read_text())
    for app in apps:
        pid = shlex.quote(str(app.folder / f"{app.name}.pid"))
        variables = {
            **app_variables(app),
            "app_restart_command": f"sh -c 'sleep {RESTART_SECONDS}; kill -HUP $(cat {pid})'",
        }
        content["all"]["children"]["app"]["hosts"][f"test-{app.name}"] = variables
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def _ours(variable: str) -> bool:
    """Return whether *variable* is of the benchmark's environment, and in no user's shell."""
    return "ANSIBLE" in variable or variable == "PYTHONDONTWRITEBYTECODE"


def run(inventory: Path, apps: Sequence[App], *arguments: str) -> Turn:
    """Run one command while users write, and count."""
    users = [User(app, max(0.05, len(apps) * 0.02)) for app in apps]
    with tempfile.TemporaryDirectory(prefix="flow-") as scratch:
        calls = Path(scratch) / "calls.jsonl"
        for user in users:
            user.start()
        began = time.monotonic()
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), *arguments, "-i", inventory],
            cwd=ROOT,
            env={
                **{key: value for key, value in os.environ.items() if not _ours(key)},
                "ANSIBLE_CALLBACK_PLUGINS": f"{ROOT}/plugins/callback:{ROOT}/bench/callback",
                "ANSIBLE_CALLBACKS_ENABLED": "flow_calls",
                "FLOW_CALLS": str(calls),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        for user in users:
            user.end()
        lines = [Line(**json.loads(line)) for line in calls.read_text().splitlines()]
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")
    moments = [moment for user in users for moment in user.refused]
    return Turn(
        seconds=seconds,
        refused=max(moments) - min(moments) if moments else 0.0,
        refusals=len(moments) // 2,
        accepted=sum(user.accepted for user in users),
        lines=lines,
    )


def show(name: str, turn: Turn, *, every: bool) -> None:
    """Print what a command cost, by phase."""
    print(f"\n{name}: {turn.seconds:.1f} s, {turn.calls} calls of {len(turn.lines)} results")
    print(f"  {'phase':<46} {'calls':>5} {'results':>8} {'seconds':>8}")
    for phase, calls, results, seconds in turn.by_phase():
        print(f"  {phase:<46} {calls:>5} {results:>8} {seconds:>8.1f}")
    if every:
        for line in turn.lines:
            if not line.skipped:
                print(f"    {line.seconds:>7} {line.action:<24} {line.task}")
    print(
        f"  writes refused for {turn.refused:.1f} s ({turn.refusals} refused, "
        f"{turn.accepted} accepted)"
    )


def measure(documents: int, hosts: int, *, every: bool) -> dict[str, Turn]:
    """Run the plan, 003, 004 and status on a new company."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-flow-") as folder,
        company(Path(folder), documents=documents, hosts=hosts) as (inventory, apps),
    ):
        turns = {}
        for name, arguments in {
            "003": ("migrate-003.yml",),
            "004 --check": ("migrate-004.yml", "--check"),
            "004": ("migrate-004.yml",),
            "status": ("status.yml",),
        }.items():
            turns[name] = run(inventory, apps, *arguments)
            show(f"{name}, {documents:,} documents, {hosts} hosts", turns[name], every=every)
    return turns


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--every", action="store_true", help="show each task")
    asked = parser.parse_args()
    seen = {
        (documents, hosts): measure(documents, hosts, every=asked.every)
        for number, documents in enumerate(asked.documents)
        for hosts in (asked.hosts if number == 0 else asked.hosts[:1])
    }
    report.publish("flow", _results(seen), note=f"{asked.documents} documents, {asked.hosts} hosts")


def _results(seen: dict[tuple[int, int], dict[str, Turn]]) -> list[report.Result]:
    one = report.Result.of
    (_size, hosts), first = next(iter(seen.items()))
    results = [
        one("calls of a run of 004", [first["004"].calls], at_most=35),
        one("seconds of a run of 004", [first["004"].seconds], at_most=20),
        one("seconds of its --check", [first["004 --check"].seconds], at_most=4),
        one("seconds of status.yml", [first["status"].seconds], at_most=4),
    ]
    for (documents, number), turns in seen.items():
        goal = {"at_most": 5 if documents <= 20_000 else 8} if number <= 2 else {}
        name = f"seconds of refused writes, {documents:,} documents, {number} hosts"
        results.append(one(name, [turns["004"].refused], **goal))
        if number != hosts:
            ratio = turns["004"].refused / first["004"].refused
            results.append(one(f"the same, {number} hosts / {hosts}", [ratio], at_most=1.2))
    return results


if __name__ == "__main__":
    main()
