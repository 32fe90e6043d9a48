"""The documents of a folder: which file is which migration, and where that isn't certain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ..support import neutral
from .other_tools import is_theirs

MIGRATION, REPAIR = "migration", "repair"

_ID = {MIGRATION: re.compile(r"[0-9]{3,}"), REPAIR: re.compile(r"R[0-9]{2}")}
_FILE = re.compile(r"(?P<id>[0-9]{3,}|R[0-9]{2})-(?P<name>.+)[.]ya?ml")
# Meant as a document by its number, and yet found by no playbook.
_ALMOST = re.compile(r"R?[0-9]+.*[.]ya?ml")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What a folder holds.

    Args:
        folder: the folder.
        files: id of each document that is alone with its number → file name, by number.
        doubled: id of several documents → their file names.
        problems: one sentence each, with what to do; of a folder without any, all is certain.
    """

    folder: Path
    files: Mapping[str, str] = field(default_factory=dict)
    doubled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The documents without their endings, as a person types them."""
        return [Path(file).stem for file in self.files.values()]


def read(folder: Path | str, kind: str = MIGRATION) -> Catalogue:
    """Return what *folder* holds of *kind*; a folder that can't be read is a problem of it."""
    folder = Path(folder)
    try:
        present = sorted(path for path in folder.iterdir() if path.suffix in (".yml", ".yaml"))
    except OSError as error:
        return Catalogue(folder=folder, problems=(f"{folder}: {error.strerror}",))
    found: dict[str, list[Path]] = {}
    problems: list[str] = []
    for path in present:
        match = _FILE.fullmatch(path.name)
        meant = match or _ALMOST.fullmatch(path.name)
        # A pipe or a device would be read for ever.
        if meant and path.exists() and not path.is_file():
            problems.append(f"{neutral.line(path)} is no file: move it away")
        elif match and _ID[kind].fullmatch(match["id"]):
            found.setdefault(match["id"], []).append(path)
        elif meant:
            problems.append(_misnamed(path, kind))
    for number, paths in found.items():
        if len(paths) > 1:
            problems.append(_doubled(kind, number, paths))
        for path in paths:
            problems += disagreements(path.name, _head(path), place=str(path))
    return Catalogue(
        folder=folder,
        files={
            number: found[number][0].name for number in in_order(found) if len(found[number]) == 1
        },
        doubled={
            number: tuple(path.name for path in paths)
            for number, paths in found.items()
            if len(paths) > 1
        },
        problems=tuple(problems),
    )


def unknown_after(known: Catalogue) -> list[str]:
    """Return where a document builds on one that isn't there.

    What is numbered below the first of them is taken for another tool's.
    """
    numbers = in_order([*known.files, *known.doubled])
    problems = []
    for number, file in known.files.items():
        after = _head(known.folder / file).get("after")
        for earlier in after if isinstance(after, list) else ():
            text = str(earlier)
            if is_theirs(text):
                continue
            if text not in numbers and in_order([text, numbers[0]])[0] != text:
                problems.append(
                    f"{file}: after: there is no migration {text}; known: {', '.join(numbers)}"
                )
            elif text == number or in_order([text, number])[0] != text:
                problems.append(f"{file}: after: {text} doesn't come before {number}")
    return problems


def repair_names(repairs: Catalogue) -> dict[str, str]:
    """Return what a person calls each repair, such as ``duplicate_periods``, → its id."""
    return {
        name.partition("-")[2].replace("-", "_"): number
        for number, name in zip(repairs.files, repairs.names, strict=True)
    }


def several(given: Any) -> list[str]:
    """Return the names in *given*: a list, or a text that holds some, divided by commas."""
    items = given if isinstance(given, list) else str(given).split(",")
    return [name for name in (str(item).strip() for item in items) if name]


def disagreements(file: str, head: Mapping[str, Any], *, place: str) -> list[str]:
    """Return where a document says other things of itself than its file's name does.

    Args:
        file: the file's name; one that isn't numbered says nothing.
        head: the document, or the part of it with ``id`` and ``name``.
        place: how the file is named in the message.
    """
    match = _FILE.fullmatch(file)
    if match is None:
        return []
    said = head.get("id")
    problems = []
    if said is not None and said != match["id"]:
        problems.append(
            f"{place}: id: is {said!r}, but the file is numbered {match['id']}. Write id: "
            f'"{match["id"]}", or give the file the number of its id'
        )
    name = head.get("name")
    # A repair is asked for by its name: what is printed must be what is found.
    if match["id"].startswith("R") and name is not None and name != match["name"]:
        problems.append(
            f"{place}: name: is {name!r}, but the file is called {match['name']}. Write name: "
            f"{match['name']}, or rename the file"
        )
    return problems


def normal_id(given: Any) -> str | None:
    """Return the id that a person means by *given*: 4 typed is 004; None for what isn't text.

    A number that YAML or JSON made is nobody's id: of 010 they make 8.
    """
    if not isinstance(given, str):
        return None
    text = given.strip()
    return text.zfill(3) if text.isdecimal() else text


def ids_of(given: Any, *, place: str) -> tuple[list[str], list[str]]:
    """Return the ids in *given*, a text with commas or a list, and what is wrong with it.

    Args:
        given: what a person wrote.
        place: where, for the message.
    """
    if isinstance(given, str):
        parts: Iterable[Any] = given.split(",")
    elif isinstance(given, list | tuple):
        parts = given
    else:
        return [], [_not_text(place, given)]
    ids, problems = [], []
    for part in parts:
        number = normal_id(part)
        if number is None:
            problems.append(_not_text(place, part))
        elif number:
            ids.append(number)
    return in_order(ids), problems


def in_order(ids: Iterable[str]) -> list[str]:
    """Return *ids* each once, by their numbers: 1000 comes after 999."""
    return sorted(set(ids), key=lambda number: (len(number), number))


def check_variables(given: Any, known: Iterable[str]) -> list[str]:
    """Return what is wrong with the keys of the inventory's ``migration_variables``.

    Args:
        given: its value.
        known: ids of migrations and repairs.
    """
    place, known = "migration_variables", sorted(known)
    if not isinstance(given, Mapping):
        return [f"{place}: must be a mapping from ids to variables, not {given!r}"]
    problems = []
    for key, values in given.items():
        if not isinstance(key, str):
            problems.append(_not_text(place, key))
        elif key not in known:
            if values == {}:
                continue  # nothing was to be given to it
            hint = _hint(key, known)
            problems.append(
                f"{place}: there is no migration or repair '{key}', so nothing would be given to "
                f"one{hint}. Known: {', '.join(known) or 'none'}"
            )
        elif not isinstance(values, Mapping):
            problems.append(
                f"{place}: '{key}': must be a mapping from names to values, not {values!r}"
            )
    return problems


def check_assumed(given: Any) -> list[str]:
    """Return what is wrong with the inventory's ``migrations_assumed_applied``."""
    place = "migrations_assumed_applied"
    if not isinstance(given, list | tuple):
        return [f'{place}: must be a list of ids in quotes, such as ["001", "002"], not {given!r}']
    return [
        _not_text(place, item)
        if not isinstance(item, str)
        else f"{place}: '{item}' is not an id: write its three digits, such as \"003\""
        for item in given
        if not (isinstance(item, str) and _ID[MIGRATION].fullmatch(item))
    ]


def _hint(key: str, known: Iterable[str]) -> str:
    meant = normal_id(key)
    return f': write "{meant}"' if meant is not None and meant in known else ""


def _not_text(place: str, given: Any) -> str:
    return (
        f'{place}: {given!r} isn\'t text; write ids in quotes, such as "003" (without them YAML '
        "reads 010 as the number 8)"
    )


def _doubled(kind: str, number: str, paths: Iterable[Path]) -> str:
    both = " and ".join(str(path) for path in paths)
    return (
        f"More than one {kind} is numbered {number}: {both}. It isn't clear which one is meant: "
        "give all but one another number, in the file's name and in its id"
    )


def _misnamed(path: Path, kind: str) -> str:
    wanted = "NNN-name.yml, such as 005-add-currency.yml"
    if kind == REPAIR:
        wanted = "RNN-name.yml, such as R07-wrong-dates.yml"
    return f"{path}: no playbook finds it: a {kind} is called {wanted}"


def _head(path: Path) -> Mapping[str, Any]:
    try:
        status = path.stat()
        return _parsed(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return {}  # whoever needs it says why it can't be read


@lru_cache(maxsize=256)
def _parsed(path: Path, _modified: int, _size: int) -> Mapping[str, Any]:
    """Return what a document says of itself; of one that isn't valid YAML, nothing."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with path.open("rb") as file:
            raw = yaml.load(file, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}  # the lint, and whoever loads it, name the place
    if not isinstance(raw, dict):
        return {}
    return {key: raw[key] for key in ("id", "name", "after") if key in raw}
