"""What settles the problems of a plan: a variable of the document, or a repair, by name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
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

    ``settings`` holds the choices, by the variable from which the policy in its way comes, and
    ``answers`` those of a variable that answers it together with others like it.
    """
    document = definitions.document_of(definition.text)
    declared = document.get("variables", {})
    names = variables.named_in(_policy(problem, document))
    choices = _choices(names, declared, definition)
    above = {one for name in choices for one in variables.follows(name, declared)}
    answers = _choices(above, declared, definition)
    ways = [
        f"{name}: {' or '.join(map(str, values))} (migration_variables)"
        for name, values in choices.items()
    ]
    if "repair" in problem:
        ways.insert(0, f"repair={problem['repair']}")
    ways += [
        f"{name}: {' or '.join(map(str, values))}, for all such questions"
        for name, values in answers.items()
    ]
    fix = "; or ".join([str(problem["fix"]), *ways])
    found = {**problem, "fix": fix}
    found |= {"settings": choices} if choices else {}
    return found | ({"answers": answers} if answers else {})


def _choices(
    names: Iterable[str], declared: Mapping[str, Any], definition: Definition
) -> dict[str, list[Any]]:
    """Return what else each of *names* may be, in the order of the document."""
    return {
        name: [value for value in rule["choices"] if value != definition.variables[name]]
        for name, rule in declared.items()
        if name in names and "choices" in rule
    }


def repairs(problems: Iterable[Problem]) -> dict[str, int]:
    """Return how many documents each repair would settle, the one that settles most first."""
    found: dict[str, int] = {}
    for problem in problems:
        if "repair" in problem:
            settled = problem.get("settles", problem["count"])
            found[problem["repair"]] = found.get(problem["repair"], 0) + settled
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def commands(problems: Iterable[Problem], definition: Definition) -> list[str]:
    """Return what gets further than the command that is refused.

    First the repairs, then the plan as it would be with the most careful choice for each setting;
    of several that one answer settles, with each of its choices. Where only a person can correct
    the data, the plan, to see that it is done.
    """
    problems = list(problems)
    again = suggested.carry_out(definition.id, definition.name)
    found = [suggested.command("repair", repair=name) for name in repairs(problems)]
    declared = definitions.document_of(definition.text).get("variables", {})
    for chosen in _settings(problems, declared):
        extra = {"migration_variables": {definition.id: _with(chosen, declared, definition)}}
        found.append(f"{again} --check -e {shlex.quote(json.dumps(extra))}")
    if problems and not found:
        found.append(f"{again} --check")
    return found


def _settings(problems: Iterable[Problem], declared: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield values for variables that settle *problems*, as few as will do."""
    open_ = {name: values for one in problems for name, values in one.get("settings", {}).items()}
    answers = {name: values for one in problems for name, values in one.get("answers", {}).items()}
    alone = {name: _careful(values) for name, values in open_.items()}
    for answer, values in answers.items():
        settled = [name for name in open_ if answer in variables.follows(name, declared)]
        if len(settled) > 1:
            rest = {name: value for name, value in alone.items() if name not in settled}
            ordered = sorted(values, key=lambda value: value != _careful(values))
            yield from ({answer: value, **rest} for value in ordered)
            return
    if alone:
        yield alone


def _careful(values: list[Any]) -> Any:
    return next((value for value in values if value in _CAREFUL), values[0])


def _with(
    chosen: Mapping[str, Any], declared: Mapping[str, Any], definition: Definition
) -> dict[str, Any]:
    """Return *chosen* with what was chosen before, apart from what follows from other choices."""
    given = {
        name: value
        for name, value in definition.variables.items()
        if value != variables.default_of(name, declared, definition.variables, definition.source)
    }
    return dict(ejson.to_plain({**given, **chosen}))


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
