"""The list to go through before a migration: items that are looked up, and items to confirm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .errors import SettingError
from .findings import ASK, MISSING, OK, Finding

_KEYS = ("id", "text", "automatic")

# What an automatic item looks up: whether it holds, what was found, what to do about it, and
# whether an emergency override lets it pass.
Answer = tuple[bool, str, str, bool]


def look(
    items: Sequence[Mapping[str, Any]],
    *,
    automatic: Mapping[str, Callable[[], Answer]],
    passed: Collection[str],
    typed: Collection[str],
) -> tuple[list[Finding], list[dict[str, str]]]:
    """Return a finding for each item, and what is recorded of each.

    Args:
        items: the checklist of the inventory.
        automatic: what can be looked up, by name.
        passed: ids that the command confirms.
        typed: ids that a person confirmed in the terminal.

    Raises:
        SettingError: an item can't be understood, or an id is confirmed that isn't there.
    """
    _validate(items, automatic)
    asked = [str(item["id"]) for item in items if not item.get("automatic")]
    unknown = sorted(set(passed) - set(asked))
    # A command that asks for no list, such as a rollback, takes the words of one that does.
    if unknown and items:
        raise SettingError(
            f"-e checklist={unknown[0]} confirms nothing: "
            + (f"the items to confirm are {', '.join(asked)}" if asked else "no item asks for it")
        )
    findings, record = [], []
    for item in items:
        name, text = str(item["id"]), str(item["text"])
        if item.get("automatic"):
            holds, found, fix, overridable = automatic[str(item["automatic"])]()
            how = f"looked up: {found}" if holds else f"missing: {found}"
            finding = Finding(
                check=f"checklist '{name}'",
                state=OK if holds else MISSING,
                text=found if holds else f"{text}: {found}",
                fix=fix,
                overridable=overridable,
            )
        else:
            how = "passed" if name in passed else "typed" if name in typed else "not confirmed"
            finding = Finding(
                check=f"checklist '{name}'",
                state=OK if how != "not confirmed" else ASK,
                text=f"{text} ({how})",
                fix=f"Confirm it: pass -e checklist={','.join(asked)}, or type it in a terminal",
            )
        findings.append(finding)
        record.append({"id": name, "text": text, "how": how})
    return findings, record


def _validate(items: Sequence[Mapping[str, Any]], automatic: Collection[str]) -> None:
    seen = set()
    for number, item in enumerate(items):
        where = f"change_gate_checklist[{number}]"
        unknown = sorted(set(item) - set(_KEYS))
        if unknown:
            raise SettingError(f"{where}: unknown key '{unknown[0]}', known: {', '.join(_KEYS)}")
        if not item.get("id") or not item.get("text"):
            raise SettingError(f"{where} must have an id and a text")
        if item.get("automatic") and str(item["automatic"]) not in automatic:
            raise SettingError(
                f"{where}: nothing looks up '{item['automatic']}', "
                f"known: {', '.join(sorted(automatic))}"
            )
        if item["id"] in seen:
            raise SettingError(f"{where}: the id '{item['id']}' is there twice")
        seen.add(item["id"])
