"""Whether the libraries that the product needs are installed here, each within its range."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

# plugins/module_utils/release → the folder of the product: a checkout, or an installed collection.
PRODUCT = Path(__file__).resolve().parents[3]


def problems(product: Path = PRODUCT) -> list[str]:
    """Return each library that *product* needs and that is missing or outside its range.

    Args:
        product: the folder of the playbooks, with pyproject.toml in a checkout and requirements.txt
            in a collection. Not that of a team's own documents.
    """
    try:
        wanted = _wanted(product)
        return [wrong for each in wanted if (wrong := _wrong(Requirement(each)))]
    except (OSError, KeyError, tomllib.TOMLDecodeError, InvalidRequirement) as error:
        return [f"what {product} needs can't be read ({error})"]


def _wanted(product: Path) -> list[str]:
    project = product / "pyproject.toml"
    if project.exists():
        found: list[str] = tomllib.loads(project.read_text())["project"]["dependencies"]
        return found
    lines = (product / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _wrong(wanted: Requirement) -> str | None:
    try:
        installed = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if wanted.specifier.contains(installed, prereleases=True):
        return None
    return f"{wanted.name} is {installed}, not {wanted.specifier}"
