"""Which documents a command is about, and every reason why that can't be said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mongo_migration.document import catalogue
from mongo_migration.document.catalogue import Catalogue

from .command_line import CommandLine

# Ansible splits what -e is given at its spaces, and keeps the rest where nobody looks.
_LOOSE = (
    "-e: '{}' belongs to no variable. A value with a space needs quotes of its own inside those of "
    "the shell: -e \"reason='an index was repaired'\""
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a command needs to be given.

    Args:
        migration: whether it needs ``-e migration=``.
        several: whether it needs ``-e migrations=``.
        repairs: whether ``-e repair=`` may name several.
    """

    migration: bool = False
    several: bool = False
    repairs: bool = False


def problems(
    wanted: Wanted,
    given: Mapping[str, Any],
    *,
    typed: Mapping[str, Any],
    line: CommandLine,
    migrations: Catalogue,
    repairs: Catalogue,
) -> list[str]:
    """Return what is wrong with what was selected, one sentence each.

    Args:
        wanted: what the command needs.
        given: the variables ``migration``, ``migrations``, ``repair``, ``state``, as they are.
        typed: those that the command line set.
        line: the command line.
        migrations: the documents of migrations.
        repairs: those of repairs.
    """
    if loose := typed.get("_raw_params"):
        return [_LOOSE.format(loose)]
    if found := _of_repair(given, repairs, several=wanted.repairs):
        return [found]
    found_all = list(_of_file_name(line, typed))
    if wanted.several and (given.get("migrations") is not None or given.get("migration") is None):
        found_all += _of_several(given.get("migrations", ""), migrations)
    elif wanted.migration and given.get("migration") is None:
        found_all.append(
            f"Which migration? Pass -e migration=NNN, one of {', '.join(migrations.names)}"
        )
    if not found_all and given.get("migration") is not None:
        found_all += _of_one(given["migration"], migrations, repairs)
    return found_all


def of_inventory(given: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """Return what is wrong with the inventory's variables that name migrations."""
    found = []
    if given.get("migration_variables") is not None:
        found += catalogue.check_variables(given["migration_variables"], known)
    if given.get("migrations_assumed_applied") is not None:
        found += catalogue.check_assumed(given["migrations_assumed_applied"])
    if (names := given.get("mongo_collections")) is not None:
        found += _of_collections(names)
    return found


def _of_collections(names: Any) -> list[str]:
    if not isinstance(names, Mapping):
        return [
            "mongo_collections: must be a mapping from the names in documents to those in the "
            f"database, such as {{journalEntries: journalentries}}, not {names!r}"
        ]
    return [
        f"mongo_collections: '{key}': must be the name of a collection, or null where there is "
        f"none, not {value!r}"
        for key, value in names.items()
        if not (isinstance(key, str) and (value is None or (isinstance(value, str) and value)))
    ]


def _of_repair(given: Mapping[str, Any], repairs: Catalogue, *, several: bool) -> str | None:
    repair = given.get("repair")
    if repair is None:
        return None
    known = catalogue.repair_names(repairs)
    for name in catalogue.several(repair) if several else [repair]:
        if name not in known:
            return f"There is no repair '{name}'. Known repairs: {', '.join(known)}"
    if given.get("state", "done") not in ("done", "undone"):
        return (
            f"Pass -e state=done (which is the default) or -e state=undone, not '{given['state']}'"
        )
    return None


def _of_file_name(line: CommandLine, typed: Mapping[str, Any]) -> Iterable[str]:
    """Yield where migrate-004.yml is told to be about another migration."""
    said = typed.get("migration")
    if said is None:
        return
    for number in line.migrations:
        if catalogue.normal_id(str(said)) != number:
            yield (
                f"migrate-{number}.yml carries out migration {number}, and -e migration={said} "
                f"asks for another. Leave -e migration out, or run the playbook of {said}"
            )


def _of_several(given: Any, migrations: Catalogue) -> list[str]:
    ids, wrong = catalogue.ids_of(given, place="migrations")
    if wrong:
        return wrong
    if not ids:
        names = ", ".join(migrations.names)
        return [f"Which migrations? Pass -e migrations=NNN,NNN, of {names}"]
    unknown = [number for number in ids if number not in {*migrations.files, *migrations.doubled}]
    if not unknown:
        return []
    shown = given if isinstance(given, str) else ",".join(given)
    missing = "', '".join(unknown)
    return [
        f"There is no migration '{missing}' (-e migrations={shown}). "
        f"Known migrations: {', '.join(migrations.names)}"
    ]


def _of_one(given: Any, migrations: Catalogue, repairs: Catalogue) -> list[str]:
    number = catalogue.normal_id(given)
    if number is None:
        return [
            f'migration: {given!r} isn\'t text; write the id in quotes, such as "003" (without '
            "them YAML reads 010 as the number 8)"
        ]
    for kind in (migrations, repairs):
        if number in kind.files:
            return []
        if number in kind.doubled:
            return [problem for problem in kind.problems if f"numbered {number}:" in problem]
    return [f"There is no migration '{given}'. Known migrations: {', '.join(migrations.names)}"]
