"""Action plugin: everything that can be wrong with a command, before anything connects.

What the command line says, which documents it is about, and every argument of every role that it
is going to include: a role that checks its own would do so when the application is stopped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from invocation import ansible_cli, databases, masking, selection, settings, words
from mongo_migration.document import catalogue

# Ten times as fast where libyaml is there, which is nearly everywhere.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARGUMENTS = {
    "group": {"type": "str", "required": True},
    "migration_required": {"type": "bool", "default": False},
    "several_required": {"type": "bool", "default": False},
    "several_repairs": {"type": "bool", "default": False},
    "documents": {"type": "str", "choices": ["refuse", "warn", "ignore"], "default": "refuse"},
    "way_out": {"type": "bool", "default": False},
    "roles_folder": {"type": "path", "required": True},
    "roles": {"type": "list", "elements": "str", "default": []},
    "aliases": {"type": "dict", "default": {}},
    "words": {"type": "list", "elements": "str", "default": []},
    "own_variables": {"type": "list", "elements": "str", "default": []},
    "migrations_folder": {"type": "path", "required": True},
    "repairs_folder": {"type": "path", "required": True},
    "given": {"type": "raw", "default": {}},
    "databases": {"type": "bool", "default": False},
    "databases_given": {"type": "raw", "default": {}},
    "inventory": {"type": "raw", "default": {}},
    "may_be_default": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """Fails with every problem at once; warns of those that don't concern the command."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Check what the command was given."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(_ARGUMENTS)
        problems = self._of_inventory_source(given, task_vars)
        warnings: list[str] = []
        if not problems:
            documents, inventory = self._of_documents(given)
            if given["documents"] != "ignore":
                (problems if given["documents"] == "refuse" else warnings).extend(documents)
                (warnings if given["way_out"] else problems).extend(inventory)
            problems += self._of_selection(given)
            problems += self._of_words(given, task_vars)
            problems += databases.problems(given["databases_given"], many=given["databases"])
            problems += self._of_roles(given, task_vars)
            secrets = masking.problems(masking.of_hosts(task_vars), self._loader)
            (warnings if given["way_out"] else problems).extend(secrets)
        if warnings:
            result["warnings"] = [f"{warning}." for warning in warnings]
            result["document_problems"] = warnings
        if problems:
            problems = list(dict.fromkeys(problems))
            result.update(failed=True, msg=_told(problems), problems=problems)
        return {**result, "changed": False}

    def _of_inventory_source(
        self, given: dict[str, Any], task_vars: Mapping[str, Any]
    ) -> list[str]:
        line = ansible_cli.read()
        sources = ", ".join(line.inventory)
        if not line.inventory_named and not given["may_be_default"]:
            return [
                "No inventory was named, and the default "
                f"({sources or 'none'}) is none that may be taken unasked: pass -i, such as -i "
                "staging. An inventory for which that is right says inventory_may_be_default: true"
            ]
        if not (task_vars.get("groups") or {}).get(given["group"]):
            return [
                f"The inventory (-i {sources}) has no host in the group '{given['group']}': add "
                "one host per deployment to it, or pass another inventory with -i"
            ]
        return []

    def _of_documents(self, given: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Return what is wrong with the documents, and with what the inventory says of them."""
        self._migrations = catalogue.read(given["migrations_folder"])
        self._repairs = catalogue.read(given["repairs_folder"], catalogue.REPAIR)
        known = [*self._migrations.files, *self._migrations.doubled, *self._repairs.files]
        problems = [*self._migrations.problems, *self._repairs.problems]
        return problems, selection.of_inventory(given["inventory"], known)

    def _of_selection(self, given: dict[str, Any]) -> list[str]:
        return selection.problems(
            selection.Wanted(
                migration=given["migration_required"],
                several=given["several_required"],
                repairs=given["several_repairs"],
            ),
            given["given"],
            typed=load_extra_vars(self._loader),
            line=ansible_cli.read(),
            migrations=self._migrations,
            repairs=self._repairs,
        )

    def _of_words(self, given: dict[str, Any], task_vars: Mapping[str, Any]) -> list[str]:
        """Return which variables of the command line nothing reads."""
        of_command = {*given["words"], *given["aliases"]}
        options = {
            name
            for specs in Path(given["roles_folder"]).glob("*/meta/argument_specs.yml")
            for name, _option in _options(specs.parents[1])
        }
        typed = set(load_extra_vars(self._loader)) - set(given["own_variables"])
        found = words.unknown(sorted(typed), words=of_command, options=options)
        if set(found) - words.OF_COMMANDS:
            # Rarely: only then is the whole inventory looked at.
            hosts = task_vars["hostvars"]
            read = words.read_by([hosts.raw_get(name) for name in task_vars["groups"]["all"]])
            found = [name for name in found if name in words.OF_COMMANDS or name not in read]
        return [words.problem(name, words=of_command, options=options) for name in found]

    def _of_roles(self, given: dict[str, Any], task_vars: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the arguments of the roles, each source of a value once."""
        found: dict[str, str] = {}
        for role in given["roles"]:
            for name, option in _options(Path(given["roles_folder"]) / role):
                for source, value in self._values(name, given["aliases"], task_vars):
                    if wrong := _wrong(name, option, value):
                        found.setdefault(source, f"{source}: {wrong}")
        return list(found.values())

    def _values(
        self, name: str, aliases: Mapping[str, str], task_vars: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        """Yield the values that the option will get, with the name that a person gave it."""
        for alias, option in aliases.items():
            if option == name and alias in task_vars:
                yield f"-e {alias}", self._templar.template(task_vars[alias])
        if name not in task_vars:
            return
        raw = task_vars[name]
        try:
            yield _source(name, raw, task_vars), self._templar.template(raw)
        except AnsibleError:
            return  # it is made from what the run has yet to find out


def _source(name: str, raw: Any, task_vars: Mapping[str, Any]) -> str:
    """Return the inventory's name for what the wiring hands on as *name*."""
    if isinstance(raw, str) and "{{" in raw:
        for word in _WORD.findall(raw):
            if word in task_vars and word != name:
                return word
    return name


@cache
def _options(role: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the arguments of *role*, once for each of its tasks; read once in a command."""
    text = (role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    entries = yaml.load(text, Loader=_LOADER)["argument_specs"].values()
    return [item for entry in entries for item in (entry.get("options") or {}).items()]


def _wrong(name: str, option: Mapping[str, Any], value: Any) -> str | None:
    """Return what is wrong with *value* as the option *name*; no secret is repeated."""
    if value is None:
        return None
    plain = {key: rule for key, rule in option.items() if key not in ("description", "required")}
    checked = ArgumentSpecValidator({name: plain}).validate({name: value})
    if checked.error_messages:
        kind, choices = option.get("type", "str"), option.get("choices")
        wanted = f"one of {', '.join(map(str, choices))}" if choices else f"of type {kind}"
        return f"must be {wanted}" + ("" if option.get("no_log") else f", not {_short(value)}")
    return settings.problem(name, checked.validated_parameters[name])


def _indented(problem: str) -> str:
    return problem.replace("\n", "\n  ")


def _short(value: Any) -> str:
    """Return *value* for a message, without what Ansible knows of where it comes from."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _told(problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{problems[0].rstrip('.')}. Nothing was started."
    lines = "".join(f"\n- {problem}" for problem in map(_indented, problems))
    return f"{len(problems)} things are wrong, and nothing was started:{lines}"
