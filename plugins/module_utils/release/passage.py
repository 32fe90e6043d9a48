"""That this command passed the gate: what every later phase asks for before it changes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Settings of which each one alone makes an inventory one with a gate.
SETTINGS = (
    *("change_gate_ticket_required", "change_gate_ticket_system"),
    *("change_gate_approver_required", "change_gate_clean_revision_required"),
    *("change_gate_tag_required", "change_gate_windows", "change_gate_freezes"),
    *("change_gate_rehearsal_days", "change_gate_checklist", "change_gate_confirmation_required"),
)


def issue(
    *,
    command: str,
    deployment: str,
    missing: Sequence[str],
    to_confirm: str,
    evidence: str,
    with_evidence: bool,
) -> dict[str, Any]:
    """Return the proof that the gate was asked by this command, and what it said.

    Args:
        command: which process asked; see :mod:`evidence.command`.
        deployment: the inventory host that it is for.
        missing: what the gate refuses for; empty if it doesn't.
        to_confirm: the name that a person still has to confirm; empty for none.
        evidence: the folder of this command.
        with_evidence: whether nothing may begin without that folder.
    """
    return {
        "command": command,
        "deployment": deployment,
        "passed": not missing,
        "missing": list(missing),
        "to_confirm": to_confirm,
        "evidence": evidence,
        "with_evidence": with_evidence,
    }


def refusal(passage: Any, *, command: str, deployment: str) -> str:
    """Return why a phase of *command* may not change *deployment*; empty if it may."""
    if not isinstance(passage, Mapping) or passage.get("command") != command:
        return "this command didn't pass the gate (role change_gate)"
    if passage.get("deployment") != deployment:
        return f"the gate was passed for {passage.get('deployment')}, not for {deployment}"
    if passage.get("passed") is not True:
        return "the gate refuses: " + "; ".join(map(str, passage.get("missing") or ["see above"]))
    if passage.get("with_evidence") and not passage.get("evidence"):
        return "this command has no evidence (role evidence, tasks_from: open)"
    if passage.get("to_confirm"):
        return f"nobody confirmed it: pass -e confirm={passage['to_confirm']}, or type it"
    return ""


def without_evidence(passage: Mapping[str, Any], run: Mapping[str, Any], *, command: str) -> str:
    """Return why the evidence of *command* can't take what it does; empty if it can.

    Args:
        passage: as :func:`issue` made it.
        run: the record of the folder of evidence.
        command: which process asks.
    """
    if not passage.get("with_evidence"):
        return ""
    if run.get("command") != command or run.get("outcome") != "running":
        return "this command's evidence isn't open (role evidence, tasks_from: open)"
    return ""
