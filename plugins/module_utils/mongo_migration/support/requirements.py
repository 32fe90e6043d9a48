"""What the engine needs of the Python that runs it, and how a person gets it.

Read by Pythons that are too old for everything else: nothing newer than 3.7 may stand here.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

PYTHON = (3, 11)
# What a module imports → what pip installs, as in pyproject.toml: a test compares both.
LIBRARIES = {
    "pymongo": "pymongo>=4.10,<5",
    "jinja2": "jinja2>=3.1.4,<4",
    "yaml": "PyYAML>=6.0.1,<7",
    "jsonschema": "jsonschema>=4.20,<5",
    "zlib_ng": "zlib-ng>=0.5,<2",
    "xxhash": "xxhash>=3.4,<5",
    "pyrage": "pyrage>=1.2.1,<2",
    "prometheus_client": "prometheus-client>=0.20,<1",
}
# Where a host's own Python is too old, or isn't to be touched.
_ENVIRONMENT = "/opt/migration-playbooks"


def missing() -> list[str]:
    """Return what pip has to install for this Python, all of it at once."""
    return [wanted for name, wanted in LIBRARIES.items() if find_spec(name) is None]


def command(wanted: list[str], *, interpreter: str = "") -> str:
    """Return the one command that installs *wanted*.

    Args:
        wanted: in the words of pip.
        interpreter: that gets them; empty for an environment of a newer Python.
    """
    quoted = " ".join(f"'{each}'" for each in wanted)
    if interpreter:
        return f"{interpreter} -m pip install {quoted}"
    python = f"python{PYTHON[0]}.{PYTHON[1]}"
    return f"{python} -m venv {_ENVIRONMENT} && {_ENVIRONMENT}/bin/pip install {quoted}"


def problem() -> str:
    """Return why this Python can't run the engine, with the fix; empty if it can."""
    here, found = sys.executable, sys.version_info
    if found[:2] < PYTHON:
        return (
            f"{here} is Python {found[0]}.{found[1]}, and the migration engine needs "
            f"{PYTHON[0]}.{PYTHON[1]} or later. Nothing was changed. On that host run: "
            f"{command(list(LIBRARIES.values()))} ; then set ansible_python_interpreter: "
            f"{_ENVIRONMENT}/bin/python for it."
        )
    lacking = missing()
    if not lacking:
        return ""
    names = ", ".join(each.partition(">")[0] for each in lacking)
    return (
        f"{here} lacks {names}. Nothing was changed. On that host run: "
        f"{command(lacking, interpreter=here)} ; or point ansible_python_interpreter at a Python "
        "that has them (make install makes one in .venv)."
    )


def require() -> None:
    """End the module where this Python is too old, in the only way that needs nothing.

    What it lacks of libraries is told later, by a module that runs: its documentation and options
    can be read without them.
    """
    if sys.version_info[:2] < PYTHON:
        sys.stdout.write(json.dumps({"failed": True, "msg": problem()}) + "\n")
        sys.exit(1)
