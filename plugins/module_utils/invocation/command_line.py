"""The command line: options that would skip what protects, and commands that can be pasted."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mongo_migration.support import neutral

# In the texts of the engine and the roles a suggested command stands like this, without the
# options that only the command line at hand knows.
_COMMAND = re.compile(
    r"\bansible-playbook (?P<playbook>[A-Za-z0-9_-]+[.]yml)"
    r"(?P<done> (?:-i|-l|--inventory|--limit)\b)?"
)
_NUMBERED = re.compile(r"(?:.*[/.])?migrate[-_](?P<id>[0-9]{3,})(?:[.]ya?ml)?")
# A cluster such as -vi, an abbreviation such as --inv, or what older Ansibles called it.
_NAMES_INVENTORY = re.compile(r"-[A-Za-z]*i.*|--inv.*")

# They pass the gate again: what it was shown this time is shown again.
_GATED = re.compile(r"(?:migrate-.*|release|repair|rollback|emergency-rollback|restore)[.]yml")

# They go by the values of a migration's variables, and refuse other ones than a run began with.
_VALUED = re.compile(r"(?:migrate-.*|preflight|rehearse|release|repair|verify)[.]yml")
_VALUES = "migration_variables"

# Which databases a command is about: what follows it is about the same.
_PLACE = ("mongo_database", "mongo_databases", "databases")
# How a migration goes through many databases; without ``canary=passed``, the next would stop early.
_WAY = ("canary", "canary_then", "failures_allowed", "lanes")
_CARRIES_OUT = re.compile(r"migrate-.*[.]yml")

# Molecule gives these to every command. No task of ours has them, so that nothing is left out.
_OF_NO_TASK = ("molecule-notest", "molecule-idempotence-notest", "notest")


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """What ansible-playbook was given, in the words of its options.

    Args:
        playbooks: as named.
        inventory: sources, as absolute paths or lists of hosts.
        inventory_named: whether they come from the command line, and not from a configuration.
        limit: of ``--limit``.
        tags: of ``--tags``; ``("all",)`` without.
        skip_tags: of ``--skip-tags``.
        start_at_task: of ``--start-at-task``.
        step: ``--step``.
        more: options that the next command needs as well, such as ``--ask-vault-pass``.
        values: of variables of migrations, given by ``-e``; by them a run goes on.
        place: variables given by ``-e`` that say which databases are meant.
        way: those that say how a migration goes through many databases.
    """

    playbooks: tuple[str, ...] = ()
    inventory: tuple[str, ...] = ()
    inventory_named: bool = True
    limit: str | None = None
    tags: tuple[str, ...] = ("all",)
    skip_tags: tuple[str, ...] = ()
    start_at_task: str | None = None
    step: bool = False
    more: tuple[str, ...] = ()
    values: Any = None
    place: Mapping[str, Any] = field(default_factory=dict)
    way: Mapping[str, Any] = field(default_factory=dict)

    @property
    def migrations(self) -> list[str]:
        """The numbers in the names of the playbooks: migrate-004.yml is about 004."""
        return [match["id"] for name in self.playbooks if (match := _NUMBERED.fullmatch(name))]


def read(
    options: Mapping[str, Any],
    arguments: Sequence[str],
    default_inventory: Iterable[str],
    given: Mapping[str, Any] = {},
) -> CommandLine:
    """Return the command line from what Ansible parsed.

    Args:
        options: Ansible's ``context.CLIARGS``.
        arguments: the words as typed, since Ansible doesn't keep which ones were there.
        default_inventory: what counts where no inventory is named.
        given: the variables that came by ``-e``.
    """
    inventory = tuple(options.get("inventory") or ())
    typed = any(_NAMES_INVENTORY.fullmatch(word) for word in arguments)
    return CommandLine(
        playbooks=tuple(options.get("args") or ()),
        inventory=inventory,
        inventory_named=typed or inventory != tuple(default_inventory),
        limit=options.get("subset") or None,
        tags=tuple(options.get("tags") or ("all",)),
        skip_tags=tuple(options.get("skip_tags") or ()),
        start_at_task=options.get("start_at_task") or None,
        step=bool(options.get("step")),
        more=tuple(_more(options)),
        values=given.get(_VALUES),
        place={name: given[name] for name in _PLACE if name in given},
        way={name: given[name] for name in _WAY if name in given},
    )


def _more(options: Mapping[str, Any]) -> Iterable[str]:
    """Yield the options by which this command reached its secrets and its hosts."""
    for name, flag in (
        ("ask_vault_pass", "--ask-vault-password"),
        ("become_ask_pass", "--ask-become-pass"),
        ("ask_pass", "--ask-pass"),
    ):
        if options.get(name):
            yield flag
    for name, flag in (
        ("vault_ids", "--vault-id"),
        ("vault_password_files", "--vault-password-file"),
    ):
        for value in options.get(name) or ():
            yield f"{flag} {shlex.quote(_shown(str(value)) if name != 'vault_ids' else str(value))}"


def refusals(line: CommandLine) -> list[str]:
    """Return, one sentence each, the options that would leave out what protects."""
    found = []
    if line.start_at_task:
        found.append(
            "--start-at-task leaves out the checks, the gate and the evidence. Run the same "
            "command without it: a run goes on by itself where it stopped"
        )
    skipped = [tag for tag in line.skip_tags if tag not in _OF_NO_TASK]
    if line.tags != ("all",) or skipped:
        given = [f"--tags {','.join(line.tags)}"] if line.tags != ("all",) else []
        given += [f"--skip-tags {','.join(skipped)}"] if skipped else []
        found.append(
            f"{' '.join(given)} would do a part of this command and leave out the rest, its checks "
            "among it; nothing here is tagged. Run it without; --check does nothing but look"
        )
    if line.step:
        found.append(
            "--step lets a person leave out single tasks, the way back among them. Run it without; "
            "--check does nothing but look"
        )
    return found


def target(line: CommandLine, *, host: str = "") -> str:
    """Return the options that name where: ``-i production --limit db1 -e databases=a``.

    Args:
        line: the command line.
        host: the deployment that the suggested command is about, where there are several.
    """
    return " ".join((*_servers(line, host), *_given(line.place)))


def _servers(line: CommandLine, host: str) -> tuple[str, ...]:
    words = [f"-i {shlex.quote(_shown(source))}" for source in line.inventory]
    limit = line.limit or host
    if limit:
        words.append(f"--limit {shlex.quote(limit)}")
    return (*words, *line.more)


def _given(variables: Mapping[str, Any], *, but: str = "") -> Iterator[str]:
    """Yield the options that give *variables*, except for those that a text names already."""
    for name, value in variables.items():
        if _names(but, name):
            continue
        if isinstance(value, str | int | float):
            yield f"-e {neutral.extra_variable(name, value)}"
        else:
            yield f"-e {shlex.quote(json.dumps({name: value}, default=str))}"


def complete(
    text: str,
    line: CommandLine,
    *,
    project: Path,
    collection: str = "",
    host: str = "",
    shown: Mapping[str, str] = {},
) -> str:
    """Return *text* with each suggested command made fit to be pasted.

    Args:
        text: any text; commands stand in it as ``ansible-playbook status.yml …``.
        line: the command line whose inventory and limit they get.
        project: the folder of the playbooks.
        collection: the one that they are installed as; empty for files in *project*.
        host: the deployment that they are about, where there are several.
        shown: what the gate was shown, such as the ticket; for commands that pass it again.
    """
    where = _servers(line, host)
    folder = "" if Path.cwd() == project else f"{_shown(str(project))}/"

    def completed(match: re.Match[str]) -> str:
        playbook, rest = match["playbook"], text[match.end() :].partition("\n")[0]
        numbered = _NUMBERED.fullmatch(playbook)
        # One of a team's own folder need not have a playbook of its own.
        shared = numbered and (collection or not (project / playbook).exists())
        if collection:
            stem = "migrate" if numbered else playbook.removesuffix(".yml").replace("-", "_")
            named = f"{collection}.{stem}"
        else:
            named = f"{folder}{'playbooks/migrate.yml' if shared else playbook}"
        words = ["ansible-playbook", shlex.quote(named)]
        words += [] if match["done"] else where
        if numbered and shared:
            words.append(f"-e migration={numbered['id']}")
        words += _given(line.place, but=rest)
        if _CARRIES_OUT.fullmatch(playbook):
            words += _given(line.way, but=rest)
        if _GATED.fullmatch(playbook):
            words += _given(shown, but=rest)
        if line.values and _VALUED.fullmatch(playbook) and _VALUES not in rest:
            words.append(f"-e {shlex.quote(json.dumps({_VALUES: line.values}, default=str))}")
        return " ".join(filter(None, words)) + (match["done"] or "")

    return _COMMAND.sub(completed, text)


def complete_all(value: Any, **given: Any) -> Any:
    """Return *value*, any structure of plain values, with all its texts completed."""
    if isinstance(value, str):
        return complete(value, **given) if "ansible-playbook " in value else value
    if isinstance(value, Mapping):
        return {key: complete_all(item, **given) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [complete_all(item, **given) for item in value]
    return value


def _names(text: str, variable: str) -> bool:
    return bool(re.search(rf'(?<!\w){re.escape(variable)}(?:=|"?:)', text))


def _shown(source: str) -> str:
    """Return a path as a person in the current folder would type it."""
    path, here = Path(source), Path.cwd()
    below = here != Path(here.anchor) and path.is_relative_to(here)
    return str(path.relative_to(here)) if below else source
