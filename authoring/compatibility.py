"""Run the demo's migrations on every supported ansible-core and Python, and say what came of it.

Each line of compatibility.yml gets an environment of its own below build/, in which nothing is but
what pyproject.toml asks for, and a database of its own. There both migrations go up, are verified
and rolled back, all by the literal commands; what the database then holds is compared from outside.

python -m authoring.compatibility --short
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from embedded.sandbox import Sandbox
from embedded.seed import seed

ROOT = Path(__file__).resolve().parents[1]
MATRIX = Path(__file__).with_suffix(".yml")
PAGE = ROOT / "docs" / "compatibility.md"
PLACE = ROOT / "build" / "compatibility"
SIZE = 600
# In this order, as on the evening itself; each but the first rests on the ones before it.
COMMANDS = (
    ("migrate-003.yml",),
    ("migrate-004.yml",),
    ("verify.yml", "-e", "migration=004"),
    ("rollback.yml", "-e", "migration=004"),
    ("rollback.yml", "-e", "migration=003"),
)
_OWN = re.compile(r"_migrations")
_ROWS = re.compile(r"(?<=<!-- runs -->\n).*?(?=<!-- end of runs -->)", re.S)


@dataclass(frozen=True)
class Line:
    """One combination of the matrix."""

    ansible: str
    python: str
    libraries: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"ansible-{self.ansible}-python-{self.python}"


@dataclass(frozen=True)
class Outcome:
    """What was really run, and what came of it."""

    ansible: str
    python: str
    libraries: str
    result: str
    passed: bool | None
    date: str

    def row(self) -> str:
        """Return it as a row of the table."""
        cells = (self.ansible, self.python, self.libraries, self.result, self.date)
        return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; the page is written by a run of all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the oldest and the newest alone")
    given = parser.parse_args(arguments)
    lines = [Line(**each) for each in yaml.safe_load(MATRIX.read_text())]
    outcomes = []
    for line in (lines[0], lines[-1]) if given.short else lines:
        print(f"ansible-core {line.ansible}, Python {line.python}, {line.libraries} libraries …")
        began = time.monotonic()
        outcomes.append(_run(line))
        print(f"  {outcomes[-1].result} ({time.monotonic() - began:.0f} s)", flush=True)
    if not given.short:
        _write(outcomes)
    done = sum(outcome.passed is True for outcome in outcomes)
    failed = sum(outcome.passed is False for outcome in outcomes)
    print(f"{done} passed, {failed} failed, {len(outcomes) - done - failed} skipped")
    return 1 if failed or not done else 0


def _run(line: Line) -> Outcome:
    today = datetime.now(UTC).strftime("%Y-%m-%d")

    def outcome(result: str, passed: bool | None, core: str = "", libraries: str = "") -> Outcome:
        shown = core or f"{line.ansible}.x"
        return Outcome(shown, python, libraries or line.libraries, result, passed, today)

    python = line.python
    interpreter = find_python(line.python)
    if interpreter is None:
        return outcome(f"skipped: there is no python{line.python} here", None)
    folder = PLACE / line.name
    try:
        _install(interpreter, line, folder / "venv")
    except subprocess.CalledProcessError as error:
        return outcome(f"failed: {_last_line(error.stderr)}", False)
    python, core, libraries = _versions(folder / "venv")
    problem = _go(folder)
    return outcome(problem or "passed", not problem, core, libraries)


def find_python(version: str) -> Path | None:
    """Return a Python of *version*, on the path or beside the one that runs this."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}*/bin/python{version}"))
    on_path = shutil.which(f"python{version}")
    for found in (*beside, *([Path(on_path)] if on_path else [])):
        done = subprocess.run([found, "-c", "import venv"], capture_output=True, check=False)
        if not done.returncode:
            return Path(found)
    return None


def _requirements(line: Line) -> list[str]:
    """Return what pip installs for *line*: the ranges, or their lower ends."""
    wanted = []
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        one = Requirement(text)
        if one.name == "ansible-core":
            continue
        lowest = [each.version for each in one.specifier if each.operator == ">="]
        wanted.append(f"{one.name}=={lowest[0]}" if line.libraries == "oldest" else text)
    return [f"ansible-core=={line.ansible}.*", *wanted]


def _install(interpreter: Path, line: Line, venv: Path) -> None:
    """Make the environment, unless an earlier run made the same."""
    wanted, note = "\n".join(_requirements(line)), venv / "wanted.txt"
    if note.exists() and note.read_text() == wanted:
        return
    shutil.rmtree(venv, ignore_errors=True)

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True)

    run(interpreter, "-m", "venv", venv)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(venv / "bin" / "python", *install, "--only-binary", ":all:", *wanted.split("\n"))
    note.write_text(wanted)


def _versions(venv: Path) -> tuple[str, str, str]:
    """Return the versions of Python and ansible-core, and those of the libraries in one text."""
    script = (
        "import platform, sys; from importlib.metadata import version as v;"
        "print(platform.python_version(), v('ansible-core'), v('pymongo'), v('jinja2'))"
    )
    done = subprocess.run(
        [venv / "bin" / "python", "-c", script], check=True, capture_output=True, text=True
    )
    python, core, pymongo, jinja = done.stdout.split()
    return python, core, f"pymongo {pymongo}, Jinja {jinja}"


def _go(folder: Path) -> str:
    """Take a fresh database there and back; return what went wrong, empty for nothing."""
    with _sandbox(folder / "sandbox") as sandbox, sandbox.client() as client:
        database = client[sandbox.database]
        seed(database, SIZE)
        sandbox.start_apps()
        before = _digests(database)
        for number, command in enumerate(COMMANDS):
            if problem := _command(folder, sandbox, command, log=f"{number}-{command[0]}.log"):
                return problem
            if number == 1 and _digests(database) == before:
                return "failed: the migrations changed nothing"
        if _digests(database) != before:
            return "failed: after both rollbacks the data isn't as it was before"
    return ""


@contextlib.contextmanager
def _sandbox(folder: Path) -> Iterator[Sandbox]:
    Sandbox(folder, {}).remove()
    sandbox = Sandbox(folder, {})
    try:
        sandbox.start_mongodb()
        yield sandbox
    finally:
        sandbox.remove()


def _digests(database: Any) -> dict[str, str]:
    found = database.command("dbHash")["collections"]
    return {name: digest for name, digest in found.items() if not _OWN.match(name)}


def _command(folder: Path, sandbox: Sandbox, command: tuple[str, ...], *, log: str) -> str:
    """Run one command with nothing of this user's settings; return what went wrong."""
    place, home = folder / "venv" / "bin", folder / "home"
    home.mkdir(exist_ok=True)
    where = ("-i", "sandbox", "-e", f"sandbox_folder={sandbox.folder}")
    done = subprocess.run(
        [place / "ansible-playbook", *command, *where],
        cwd=ROOT,
        env={"HOME": str(home), "PATH": f"{place}:{os.defpath}", "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    (folder / log).write_text(done.stdout)
    if done.returncode:
        return f"failed: {command[0]} exited with {done.returncode}, see {folder / log}"
    # Warnings of ours, of deprecations above all, would be an error one version later.
    if "[DEPRECATION WARNING]" in done.stdout:
        return f"failed: {command[0]} is deprecated, see {folder / log}"
    newest = max((sandbox.folder / "evidence").glob("*/"), key=lambda path: path.name)
    missing = [name for name in ("log.jsonl", "stdout.txt") if not (newest / name).exists()]
    return f"failed: the evidence lacks {', '.join(missing)}" if missing else ""


def _write(outcomes: Sequence[Outcome]) -> None:
    """Put the table into its page."""
    table = "\n".join(
        (
            "| ansible-core | Python | libraries | result | date |",
            "| --- | --- | --- | --- | --- |",
            *(outcome.row() for outcome in outcomes),
        )
    )
    PAGE.write_text(_ROWS.sub(lambda _match: f"\n{table}\n\n", PAGE.read_text()))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"


if __name__ == "__main__":
    sys.exit(main())
