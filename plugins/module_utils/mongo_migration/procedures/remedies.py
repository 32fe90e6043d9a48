"""What settles the problems of a plan: a variable of the document, or a repair, by name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ..document import definition as definitions
from ..document import variables
from ..document.definition import Definition
from ..support import commands as suggested
from ..values import ejson

Problem = Mapping[str, Any]

# Choices that leave documents as they are.
_CAREFUL = ("skip", "leave", "keep")


def explain(problem: Problem, definition: Definition) -> dict[str, Any]:
    """Return *problem* with the settings and the repair that settle it, in its ``fix`` as well.

    ``settings`` holds the choices, by the variable from which the policy in its way comes.
    """
    document = definitions.document_of(definition.text)
    names = variables.named_in(_policy(problem, document))
    choices = {
        name: [value for value in rule["choices"] if value != definition.variables[name]]
        for name, rule in document.get("variables", {}).items()
        if name in names and "choices" in rule
    }
    ways = [
        f"{name}: {' or '.join(map(str, values))} (migration_variables)"
        for name, values in choices.items()
    ]
    if "repair" in problem:
        ways.insert(0, f"repair={problem['repair']}")
    fix = "; or ".join([str(problem["fix"]), *ways])
    return {**problem, "fix": fix, **({"settings": choices} if choices else {})}


def repairs(problems: Iterable[Problem]) -> dict[str, int]:
    """Return how many documents each repair would settle, the one that settles most first."""
    found: dict[str, int] = {}
    for problem in problems:
        if "repair" in problem:
            found[problem["repair"]] = found.get(problem["repair"], 0) + problem["count"]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def commands(problems: Iterable[Problem], definition: Definition) -> list[str]:
    """Return what gets further than the command that is refused.

    First the repairs, then the plan as it would be with the most careful choice for each setting;
    where only a person can correct the data, the plan, to see that it is done.
    """
    problems = list(problems)
    again = suggested.carry_out(definition.id, definition.name)
    found = [suggested.command("repair", repair=name) for name in repairs(problems)]
    careful = {
        name: next((value for value in values if value in _CAREFUL), values[0])
        for problem in problems
        for name, values in problem.get("settings", {}).items()
    }
    if careful:
        declared = definitions.document_of(definition.text).get("variables", {})
        chosen = {
            name: value
            for name, value in definition.variables.items()
            if value != declared[name]["default"]
        }
        extra = json.dumps(
            {"migration_variables": {definition.id: ejson.to_plain({**chosen, **careful})}}
        )
        found.append(f"{again} --check -e {shlex.quote(extra)}")
    elif problems and not found:
        found.append(f"{again} --check")
    return found


def _policy(problem: Problem, document: Mapping[str, Any]) -> list[str]:
    """Return the templates in *document* that the policy of *problem* comes from."""
    policy, step = str(problem["policy"]), problem.get("step")
    if policy in ("precondition", "postcondition"):
        name = problem["what"]
        return [
            str(check.get("severity", ""))
            for check in document.get(f"{policy}s", ())
            if name.startswith(check["name"])
        ]
    if step is None:
        return []
    # Without one of its own, what is unclear is unresolved.
    keys = [policy.partition(":")[0]]
    if keys == ["when_unclear"]:
        keys.append("when_unresolved")
    for key in keys:
        if found := _values(document["steps"][step], key):
            return found
    return []


def _values(tree: Any, key: str) -> list[str]:
    if isinstance(tree, list):
        return [value for item in tree for value in _values(item, key)]
    if not isinstance(tree, dict):
        return []
    found = [str(tree[key])] if key in tree else []
    return found + [value for item in tree.values() for value in _values(item, key)]
