"""Which of an inventory's variables are secrets, and whether YAML and Jinja left them as they are.

Nothing here knows Ansible: what a template gives is told by a function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from mongo_migration.support.secrets import NAMED, named, parts

Resolve = Callable[[Any], Any]

# By the convention of the examples, whatever stands in the vault.
_VAULT = "vault_"
_MORE_NAMES = re.compile(r"(?:^vault_|_secrets$|_identity$|_signing_key$|cookie$)", re.IGNORECASE)
# Variables that Ansible makes, and that hold all others again.
_ANSIBLE = frozenset({"hostvars", "vars", "groups", "environment", "play_hosts"})
# Headers that say nothing which is worth to be kept.
_OPEN_HEADERS = frozenset(
    {"accept", "accept-language", "cache-control", "content-type", "host", "user-agent"}
)
# Their address is what lets one in.
_SERVICES = frozenset({"announce_webhooks", "maintenance_status_page"})
_TEMPLATE = re.compile(r"\{[{%#]")
_WHOLE_EXPRESSION = re.compile(r"\s*\{\{.*\}\}\s*", re.DOTALL)
_ADDRESS = re.compile(r"(?:uri|url)$", re.IGNORECASE)
# Of a structure's keys and templates, what may lead to a secret.
_TELLING = re.compile(
    r"pass|pwd|secret|token|key|auth|cookie|header|cred|pem|sig|login|dsn|ur[il]|vault|lookup|query",
    re.IGNORECASE,
)
# A shorter one would mask half of what is shown; no password is.
_SHORTEST = 4


def find(variables: Mapping[str, Any], resolve: Resolve) -> set[str]:
    """Return the secrets among *variables*, as they are written and as they are used.

    Args:
        variables: of a host, their templates not resolved.
        resolve: returns what a template gives; may raise anything.
    """
    found: set[str] = set()
    for name, value in variables.items():
        if name not in _ANSIBLE:
            found.update(_of_variable(str(name), value, resolve))
    return {secret for secret in found if len(secret) >= _SHORTEST}


def problems(
    variables: Mapping[str, Any], resolve: Resolve, is_template: Callable[[Any], bool]
) -> list[str]:
    """Return what YAML or Jinja made of secrets in the vault, each with its fix; never a value.

    Args:
        variables: of a host, their templates not resolved.
        resolve: returns what a template gives; may raise anything.
        is_template: whether a text is evaluated where it is used; what is tagged `!unsafe` isn't.
    """
    found = []
    for name, value in variables.items():
        if not str(name).startswith(_VAULT):
            continue
        for place, each in _leaves(str(name), value):
            if wrong := _wrong(place, each, resolve, is_template):
                found.append(wrong)
    return found


def _of_variable(name: str, value: Any, resolve: Resolve) -> Iterator[str]:
    secret = bool(NAMED.search(name) or _MORE_NAMES.search(name))
    for written in _with_resolved(name, value, resolve, secret=secret):
        if secret:
            yield from (str(each) for _place, each in _leaves(name, written) if each is not None)
        yield from named(written, name)
        yield from _headers(written)
        for place, each in _leaves(name, written):
            if isinstance(each, str):
                yield from parts(each) - {each, *(line.strip() for line in each.splitlines())}
                if name in _SERVICES and place.endswith(".url"):
                    yield from {each, each.rstrip("/").rpartition("/")[2].partition("?")[0]}


def _with_resolved(name: str, value: Any, resolve: Resolve, *, secret: bool) -> Iterator[Any]:
    """Yield *value*, and what it gives where that is worth the time: most templates hold none."""
    yield value
    wanted = secret or _ADDRESS.search(name) or not isinstance(value, str)
    if not wanted:
        return
    templates = [
        (place, each) for place, each in _leaves(name, value) if _is_text_with_template(each)
    ]
    # What a structure is made of is known by its own name; only some of them are worth the time.
    if templates and (
        secret or any(_TELLING.search(f"{place} {text}") for place, text in templates)
    ):
        try:
            yield resolve(value)
        except Exception:  # what it lacks is told where it is used
            return


def _headers(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "headers" and isinstance(each, Mapping):
                for header, text in each.items():
                    if str(header).lower() not in _OPEN_HEADERS:
                        yield str(text)
                        yield str(text).rpartition(" ")[2]
            else:
                yield from _headers(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _headers(each)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(f"{place}.{key}", each)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _leaves(f"{place}[{number}]", each)
    else:
        yield place, value


def _wrong(
    place: str, value: Any, resolve: Resolve, is_template: Callable[[Any], bool]
) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return (
            f"{place} isn't text: without quotes, YAML reads it as {_kind(value)} and changes it "
            f"(leading zeros, yes and no, dates). Write {place}: 'the secret' in single quotes"
        )
    if not _is_text_with_template(value) or not is_template(value):
        return None
    try:
        used = resolve(value)
    except Exception:  # whatever it is, it isn't shown: it may repeat the secret
        used = None
    if isinstance(used, str) and (used == value or _is_made_of_others(value)):
        return None
    return (
        f"{place} holds {{{{, {{% or {{#, which Ansible evaluates where it is used. Write "
        f"{place}: !unsafe 'the secret', so that it is taken as it is"
    )


def _is_made_of_others(value: str) -> bool:
    """Return whether *value* is meant as a template: a lookup, or made of other variables."""
    return bool(_WHOLE_EXPRESSION.fullmatch(value)) or "vault_" in value


def _is_text_with_template(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "yes or no"
    return "a number" if isinstance(value, int | float) else "a date"
