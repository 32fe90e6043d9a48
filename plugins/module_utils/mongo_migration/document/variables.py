"""Variables of a migration document: typed, declared, and put in place by Jinja2.

A string that is one ``{{ expression }}`` becomes the value itself, with its type; text around
expressions makes a string. Only declared variables exist. A default may be such an expression, too,
of the variables above it: one answer then stands for several questions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import Collector, DefinitionError
from ..values import ejson

_WHOLE = re.compile(r"^\s*\{\{((?:(?!\}\}).)*)\}\}\s*$", re.DOTALL)
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def bind(declared: Mapping[str, Any], given: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return a value for every declared variable.

    Args:
        declared: the document's ``variables``.
        given: values from the inventory.
        source: the document's file name, for messages.

    Raises:
        DefinitionError: a value is of another type or not among the choices, or isn't declared.
    """
    problems = Collector(DefinitionError)
    for name in sorted(set(given) - set(declared)):
        near = difflib.get_close_matches(name, declared, n=1)
        hint = (
            f"did you mean '{near[0]}'?" if near else f"it knows: {', '.join(declared) or 'none'}"
        )
        problems.add(f"variable '{name}' is not declared in {source}; {hint}")
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for name, rule in declared.items():
        if name not in given and wrong & follows(name, declared):
            wrong.add(name)
            continue  # what it follows is told
        values[name] = given[name] if name in given else default_of(name, declared, values, source)
        if misfit := _misfit(values[name], rule):
            wrong.add(name)
            problems.add(f"variable '{name}' {misfit}")
    problems.raise_if_any(
        f"Variables for {source} are wrong (inventory: migration_variables):", source=source
    )
    return values


def _misfit(value: Any, rule: Mapping[str, Any]) -> str:
    """Return how *value* breaks its rule; empty where it doesn't."""
    # In Python a bool is an int; in a document it is not.
    fits = isinstance(value, _PYTHON_TYPES[rule["type"]]) and (
        rule["type"] == "boolean" or not isinstance(value, bool)
    )
    if not fits:
        return f"must be of type {rule['type']}, not {value!r}"
    if "choices" in rule and value not in rule["choices"]:
        return f"must be one of {', '.join(map(str, rule['choices']))}, not {value!r}"
    return ""


def default_of(
    name: str, declared: Mapping[str, Any], values: Mapping[str, Any], source: str
) -> Any:
    """Return what a variable is where it isn't given, and others have *values*.

    Raises:
        DefinitionError: the default names a variable that isn't declared above it.
    """
    default = declared[name]["default"]
    if not (isinstance(default, str) and "{{" in default):
        return default
    return _evaluate(default, values, f"{source}: variables.{name}.default")


def follows(name: str, declared: Mapping[str, Any]) -> set[str]:
    """Return the variables from which *name* takes its default."""
    default = declared[name]["default"]
    return named_in([default]) if isinstance(default, str) and "{{" in default else set()


def render(tree: Any, values: Mapping[str, Any], *, source: str, keep: frozenset[str]) -> Any:
    """Return *tree* with every expression replaced by its value.

    Args:
        tree: the document or a part of it.
        values: the variables.
        source: the document's file name, for messages.
        keep: keys whose strings are conditions; they are evaluated later, by :func:`condition`.

    Raises:
        DefinitionError: an expression doesn't parse or names an unknown variable.
    """

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, dict):
            return {
                key: value if key in keep else walk(value, f"{path}.{key}" if path else str(key))
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [walk(value, f"{path}[{index}]") for index, value in enumerate(node)]
        if isinstance(node, str) and "{{" in node:
            return _evaluate(node, values, f"{source}: {path}")
        return node

    return walk(tree, "")


def named_in(templates: Iterable[str]) -> set[str]:
    """Return the variables that *templates* name."""
    found: set[str] = set()
    for text in templates:
        found |= meta.find_undeclared_variables(_ENVIRONMENT.parse(text))
    return found


def condition(when: bool | str, values: Mapping[str, Any], *, where: str) -> bool:
    """Return whether a ``when`` holds.

    Raises:
        DefinitionError: it doesn't parse, names an unknown variable, or isn't a yes or no.
    """
    result = _evaluate(when, values, where) if isinstance(when, str) else when
    if not isinstance(result, bool):
        raise DefinitionError(
            f"{where}: 'when' must be true or false, not {ejson.short(result)}; "
            "write a comparison, such as \"{{ policy == 'default_period' }}\""
        )
    return result


def _evaluate(text: str, values: Mapping[str, Any], where: str) -> Any:
    whole = _WHOLE.match(text)
    evaluate: Callable[..., Any]
    try:
        if whole:
            # Not jinja2's native types: they would turn the string "0012" into a number.
            evaluate = _ENVIRONMENT.compile_expression(whole.group(1), undefined_to_none=False)
        else:
            evaluate = _ENVIRONMENT.from_string(text).render
        result = evaluate(**values)
        if isinstance(result, StrictUndefined):
            str(result)  # raises UndefinedError with the variable's name
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Jinja2 reports its own errors as its own; those of an operation, such as 1 / 0, pass.
        known = ", ".join(sorted(values)) or "none"
        raise DefinitionError(f"{where}: {error} (declared variables: {known})") from error
    return result
