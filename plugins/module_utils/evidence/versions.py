"""What software wrote the evidence."""

from __future__ import annotations

import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path

_LIBRARIES = {"ansible": "ansible-core", "pymongo": "pymongo"}
_PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"


def here() -> dict[str, str]:
    """Return the versions on this machine."""
    return {
        "project": _project(),
        "python": platform.python_version(),
        **{name: _library(package) for name, package in _LIBRARIES.items()},
        "platform": f"{sys.platform} {platform.machine()}",
    }


def _library(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _project() -> str:
    try:
        return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return ""
