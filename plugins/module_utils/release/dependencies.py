"""Whether the libraries that the project pins are the ones that are installed here."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


def problems(project: Path) -> list[str]:
    """Return each pinned library of *project* that is missing or of another version."""
    try:
        pinned = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        return [f"{project / 'pyproject.toml'} can't be read ({error})"]
    return [wrong for pin in pinned if (wrong := _wrong(pin))]


def _wrong(pin: str) -> str | None:
    match = _PIN.fullmatch(pin.strip())
    if not match:
        return None
    name, version = match.groups()
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    return None if installed == version else f"{name} is {installed}, not {version}"
